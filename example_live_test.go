package secrets_test

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// Pool stands for a pool of connections, such as a *sql.DB.
type Pool struct{ version string }

func OpenPool(s secrets.Secret) (*Pool, error) { return &Pool{s.Meta().Version}, nil }
func (p *Pool) Query() error                   { fmt.Println("query with version", p.version); return nil }
func (p *Pool) Close()                         { fmt.Println("closed: version", p.version) }

// The old pool is closed when nobody uses it any more.
func ExampleDerive() {
	backend := secretstest.NewBackend(map[string]string{"database": `{"user":"app","password":"correct horse"}`})
	client, err := secrets.New(backend, middleware.Standard())
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	database, err := client.Watch(context.Background(), "database")
	if err != nil {
		log.Panic(err)
	}
	pool, err := secrets.Derive(database, OpenPool, secrets.Closing((*Pool).Close))
	if err != nil {
		log.Panic(err)
	}
	defer pool.Close()

	_ = pool.Use(func(p *Pool) error {
		changed := pool.Changed()
		backend.Set("database", `{"user":"app","password":"battery staple"}`) // somebody rotates the password
		client.Invalidate("database")                                         // without it, it is seen a little later
		<-changed
		return p.Query() // still with the old one
	})
	_ = pool.Use((*Pool).Query)
	// Output:
	// query with version 1
	// closed: version 1
	// query with version 2
	// closed: version 2
}

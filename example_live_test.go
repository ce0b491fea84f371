package secrets_test

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// DB stands for a pool of connections, such as a *sql.DB.
type DB struct{ version string }

func OpenDB(s secrets.Secret) (*DB, error) { return &DB{s.Meta().Version}, nil }
func (db *DB) Query() error                { fmt.Println("query with version", db.version); return nil }
func (db *DB) Close()                      { fmt.Println("close version", db.version) }

// The Live closes the old pool after its last user.
func ExampleDerive() {
	backend := secretstest.NewBackend(map[string]string{"database": "correct horse"})
	client, err := secrets.New(backend)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	credentials, err := client.Watch(context.Background(), "database")
	if err != nil {
		log.Panic(err)
	}
	db, err := secrets.Derive(credentials, OpenDB, secrets.Closing((*DB).Close))
	if err != nil {
		log.Panic(err)
	}
	defer db.Close()

	_ = db.Use(func(old *DB) error {
		changed := db.Changed()
		backend.Set("database", "battery staple") // somebody rotates the password
		client.Invalidate("database")             // without it, the change is seen within 30 s
		<-changed
		return old.Query()
	})
	_ = db.Use((*DB).Query)
	// Output:
	// query with version 1
	// close version 1
	// query with version 2
	// close version 2
}

package bind_test

import (
	"context"
	"fmt"
	"log"
	"net/url"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/bind"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// PoolSettings is the content of a JSON document.
type PoolSettings struct {
	MaxConns int `json:"maxConns"`
}

// Config holds all secrets of a service.
type Config struct {
	DB struct {
		User     string         `secret:"#user"`     // database#user
		Password secrets.Secret `secret:"#password"` // database#password
	} `secret:"database"`
	Token secrets.Secret `secret:"api/token"`
	Proxy *url.URL       `secret:"proxy/url,optional"`
	RPS   int            `secret:"limits#rps,default=100"`
	Pool  PoolSettings   `secret:"pool,json"`
}

// newClient returns the service's client; here, of a fake backend.
func newClient() (*secrets.Client, *secretstest.Backend) {
	backend := secretstest.NewBackend(map[string]string{
		"database":  `{"user":"app","password":"correct horse"}`,
		"api/token": "battery staple",
		"pool":      `{"maxConns":20}`,
	})
	client, err := secrets.New(backend)
	if err != nil {
		log.Panic(err)
	}
	return client, backend
}

func ExampleLoad() {
	client, backend := newClient()
	defer client.Close()

	cfg, err := bind.Load[Config](context.Background(), client)
	fmt.Println(cfg.DB.User, cfg.DB.Password, cfg.Proxy, cfg.RPS, cfg.Pool.MaxConns, err)

	backend.Set("database", `{"user":"app"}`)
	backend.Set("limits", `{"rps":"many"}`)
	_, err = bind.Load[Config](context.Background(), client)
	fmt.Println(err)
	// Output:
	// app [REDACTED] <nil> 100 20 <nil>
	// secrets: bind: Config.DB.Password (database#password): fake: field not found: the document has no field password; its one field is user
	// secrets: bind: Config.RPS (limits#rps): fake: malformed: the value is not a whole number that fits int
}

// Keys lists what a service reads, for example for its Vault policy.
func ExampleKeys() {
	for _, key := range bind.Keys[Config]() {
		fmt.Println(key)
	}
	// Output:
	// database#user
	// database#password
	// api/token
	// proxy/url
	// limits#rps
	// pool
}

func ExampleWatch() {
	client, backend := newClient()
	defer client.Close()

	cfg, err := bind.Watch[Config](context.Background(), client) // the service's ctx
	if err != nil {
		log.Panic(err)
	}
	defer cfg.Close()
	fmt.Println(cfg.Load().DB.User)

	changed := cfg.Changed()
	backend.Set("database", `{"user":"app-2","password":"trombone"}`) // a rotation
	client.Invalidate("database")                                     // otherwise the change arrives within 30 s
	<-changed
	fmt.Println(cfg.Load().DB.User)
	// Output:
	// app
	// app-2
}

package secretspgx_test

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretspgx"
)

// Open returns a pool that survives rotations of its credentials. The connection string has neither user nor password.
func Open(ctx context.Context, client *secrets.Client) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig("host=db.example.com dbname=shop sslmode=verify-full")
	if err != nil {
		return nil, err
	}
	if err := secretspgx.Configure(cfg, client, "database"); err != nil {
		return nil, err
	}
	return pgxpool.NewWithConfig(ctx, cfg)
}

func ExampleConfigure() {
	ctx := context.Background()
	backend := secretstest.NewBackend(map[string]string{"database": `{"username":"shop","password":"correct horse"}`})
	client, err := secrets.New(backend, middleware.Standard())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	pool, err := Open(ctx, client) // makes no connection yet
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	fmt.Println(pool.Stat().TotalConns(), "connections")
	// Output: 0 connections
}

func ExampleConfigure_options() {
	client, err := secrets.New(secretstest.NewBackend(nil), middleware.Standard())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	cfg, err := pgxpool.ParseConfig("host=db.example.com user=shop sslmode=verify-full")
	if err != nil {
		fmt.Println(err)
		return
	}
	err = secretspgx.Configure(cfg, client, "database",
		secretspgx.Grace(2*time.Minute), // the longest transaction
		secretspgx.RetireOnChange(),     // no connection stays with an old password
	)
	fmt.Println(err)
	fmt.Println(secretspgx.Configure(cfg, client, "database", secretspgx.Grace(300)))
	// Output:
	// <nil>
	// secretspgx: Configure: Grace: 300ns; did you mean 300*time.Second?
}

// Minimal is the smallest program around package secrets.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/middleware"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	// The environment needs neither cache nor dedup: of Standard it gets redaction, and other backends all three.
	client, err := secrets.New(env.New(env.WithPrefix("SHOP_")), middleware.Standard())
	if err != nil {
		return err
	}
	defer client.Close()

	password, err := client.Get(ctx, "database#password") // SHOP_DATABASE_PASSWORD, or a field of the JSON in SHOP_DATABASE
	if err != nil {
		return err
	}
	fmt.Println("password:", password) // password: [REDACTED]
	return connect(password.Reveal())
}

func connect(password string) error {
	fmt.Println("connecting with", len(password), "characters")
	return nil
}

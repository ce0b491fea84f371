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
	client, err := secrets.New(env.New(env.WithPrefix("SHOP_")), middleware.Standard())
	if err != nil {
		return err
	}
	defer client.Close()

	password, err := client.Get(ctx, "database#password") // the variable SHOP_DATABASE_PASSWORD
	if err != nil {
		return err
	}
	fmt.Println("password:", password)
	return connect(password.Reveal())
}

func connect(password string) error {
	fmt.Println("connecting with", len(password), "characters")
	return nil
}

// Env reads a secret from the environment with the client and the standard layers.
package main

import (
	"context"
	"errors"
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
	client, err := secrets.New(env.New(), middleware.Standard())
	if err != nil {
		return err
	}
	password, err := client.Get(ctx, "database#password")
	if err == nil {
		_, err = fmt.Fprintln(os.Stdout, len(password.Reveal()))
	}
	return errors.Join(err, client.Close())
}

// Detect reads a secret from the backend that the environment asks for.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/seed-5482dd03/secrets/detect"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	client, _, err := detect.New(ctx)
	if err != nil {
		return err
	}
	password, err := client.Get(ctx, "database#password")
	if err == nil {
		_, err = fmt.Fprintln(os.Stdout, len(password.Reveal()))
	}
	return errors.Join(err, client.Close())
}

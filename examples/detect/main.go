// Detect is a program that finds out by itself where its secrets are. It prints what it has found, and why, and reads one
// secret, which it does not print.
//
//	go run ./examples/detect
//	DATABASE_PASSWORD=hunter2 go run ./examples/detect
//	SECRET_MANAGER_PATH=/etc/secrets go run ./examples/detect database/password
//	VAULT_ADDR=https://vault.example:8200 go run ./examples/detect
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/seed-5482dd03/secrets/detect"
)

func main() {
	key := "database#password"
	if len(os.Args) > 1 {
		key = os.Args[1]
	}
	if err := run(context.Background(), os.Stdout, key); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, key string, opts ...detect.Option) (err error) {
	client, detection, err := detect.New(ctx, opts...)
	// What was seen is worth most where it did not do.
	if err := errors.Join(err, detection.Explain(out)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()

	secret, err := client.Get(ctx, key)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\n%s is %v, from %s\n", key, secret, secret.Meta().Backend)
	return err
}

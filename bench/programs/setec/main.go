// Setec reads a secret with the client of setec.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/tailscale/setec/client/setec"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	store, err := setec.NewStore(ctx, setec.StoreConfig{
		Client:  setec.Client{Server: os.Getenv("SETEC_SERVER")},
		Secrets: []string{"database/password"},
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stdout, len(store.Secret("database/password").Get()))
	return errors.Join(err, store.Close())
}

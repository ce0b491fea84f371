// Vault-raw reads a secret from HashiCorp Vault with its own client alone.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/hashicorp/vault/api"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	client, err := api.NewClient(nil)
	if err != nil {
		return err
	}
	found, err := client.KVv2("secret").Get(ctx, "database")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stdout, len(fmt.Sprint(found.Data["password"])))
	return err
}

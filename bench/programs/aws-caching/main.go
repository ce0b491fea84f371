// Aws-caching reads a secret from AWS Secrets Manager with the caching client of AWS.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-secretsmanager-caching-go/secretcache"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	cache, err := secretcache.New()
	if err != nil {
		return err
	}
	document, err := cache.GetSecretStringWithContext(ctx, "database")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stdout, len(document))
	return err
}

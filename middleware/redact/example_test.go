package redact_test

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// A backend explains its failures, and one day an explanation quotes a value.
func Example() {
	backend := secretstest.NewBackend(map[string]string{"database": `{"user":"app","password":"s3cr3t/pa55"}`})
	client, err := secrets.New(backend, secrets.WithRedaction(redact.New()))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close() //nolint:errcheck // nothing is left to do

	ctx := context.Background()
	if _, err := client.Get(ctx, "database#password"); err != nil {
		log.Fatal(err)
	}
	backend.Fail(&secrets.Error{
		Err:    secrets.ErrUnavailable,
		Detail: "no route to postgres://app:s3cr3t%2Fpa55@db/orders",
	})
	_, err = client.Get(ctx, "database#password")
	fmt.Println(err)
	// Output: secrets: fake: database#password: unavailable: no route to postgres://app:[REDACTED]@db/orders
}

package env_test

import (
	"context"
	"fmt"
	"log"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
)

func Example() {
	// A program leaves WithLookup out, and reads its environment.
	environment := map[string]string{"MYAPP_DATABASE_PASSWORD": "correct horse"}
	lookup := func(name string) (string, bool) { value, ok := environment[name]; return value, ok }

	client, err := secrets.New(env.New(env.WithPrefix("MYAPP_"), env.WithLookup(lookup)))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	password, err := client.Get(context.Background(), "database#password")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(password, "has", len(password.Reveal()), "characters")

	_, err = client.Get(context.Background(), "database/user")
	fmt.Println(err)
	// Output:
	// [REDACTED] has 13 characters
	// secrets: env: database/user: not found: neither MYAPP_database/user nor MYAPP_DATABASE_USER is set
}

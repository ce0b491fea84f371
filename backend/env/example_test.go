package env_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
)

func Example() {
	// Without WithLookup, the backend reads the environment of the process.
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

// DATABASE_PASSWORD_FILE names a file, as for the official Docker images. The same key also reads DATABASE_PASSWORD.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "secrets")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	mounted := filepath.Join(dir, "database_password") // in a container: /run/secrets/database_password
	if err := errors.Join(os.WriteFile(mounted, []byte("correct horse\n"), 0o600), os.Setenv("DATABASE_PASSWORD_FILE", mounted)); err != nil {
		log.Fatal(err)
	}

	client, err := secrets.New(env.New(env.WithFiles()))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	password, err := client.Get(context.Background(), "database/password")
	fmt.Println(len(password.Reveal()), "characters", err)
	// Output: 13 characters <nil>
}

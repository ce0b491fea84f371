package file_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/file"
)

func Example() {
	// A program gives the directory that is mounted for it: "/run/secrets", or os.Getenv("CREDENTIALS_DIRECTORY").
	dir, err := os.MkdirTemp("", "secrets")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	document := []byte(`{"user":"app","password":"correct horse"}`)
	if err := os.WriteFile(filepath.Join(dir, "database"), document, 0o600); err != nil {
		log.Fatal(err)
	}

	mounted, err := file.New(dir)
	if err != nil {
		log.Fatal(err)
	}
	client, err := secrets.New(mounted)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	found, err := client.GetMany(context.Background(), "database#user", "database#password")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(found["database#user"].Reveal(), found["database#password"])
	// Output: app [REDACTED]
}

package file_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"testing/fstest"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/file"
)

func Example() {
	// In a program, dir is the mounted directory: "/run/secrets", or os.Getenv("CREDENTIALS_DIRECTORY").
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

// A volume of a Kubernetes Secret has one file per field.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "secrets") // in a pod: the mountPath of the volume "database" is dir/database
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(filepath.Join(dir, "database"), fstest.MapFS{"password": {Data: []byte("correct horse\n")}}); err != nil {
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
	_, err = client.Get(context.Background(), "database#user")
	fmt.Println(err)
	// Output: secrets: file: database#user: field not found: the document has no field user; its one field is password
}

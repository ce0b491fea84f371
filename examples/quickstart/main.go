// Quickstart is a complete program around package secrets: it builds a Client in main, gives it to a service, and shows
// what happens when secrets rotate, are missing, are denied, or cannot be reached.
//
//	go run ./examples/quickstart
//
// It needs nothing else set up: the remote store is remote.go, the files lie in a directory that it makes for itself, and
// the environment is a map. The service is service.go, and tour.go tells the story.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
)

func main() {
	// The values are new in each run, so that this program holds no secret, and what it prints can be searched for them.
	if err := run(context.Background(), os.Stdout, rand.Text); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run makes a world for the program to live in, builds the Client, and gives it to the service.
func run(ctx context.Context, out io.Writer, newValue func() string) (err error) {
	// A store across the network: the documents "database" and "payroll", of which the second is not ours to read.
	remote := NewRemote(newValue)
	remote.Rotate("database")

	// A directory of files, as Docker and Kubernetes mount them.
	dir, err := os.MkdirTemp("", "quickstart-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	mailToken := filepath.Join(dir, "mail-token")
	if err := os.WriteFile(mailToken, []byte(newValue()+"\n"), 0o600); err != nil {
		return err
	}
	mounted, err := file.New(dir)
	if err != nil {
		return err
	}

	// An environment. Without WithLookup it would be that of the process.
	environment := map[string]string{"SHOP_PAYMENT_KEY": newValue()}
	variables := env.New(env.WithPrefix("SHOP_"), env.WithLookup(func(name string) (string, bool) {
		value, set := environment[name]
		return value, set
	}))

	// One client: the remote store first, then the files, then the environment. The ages are short, so that the tour is.
	client, err := secrets.New(remote,
		secrets.WithFallback(fallback.To(mounted, variables)),
		middleware.Standard(cache.WithTTL(ttl), cache.WithMaxStale(time.Minute)),
	)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()

	t := &tour{out: out, client: client, shop: NewShop(client), remote: remote}
	t.rotateFile = func() error { return replaceFile(mailToken, newValue()+"\n") }
	return t.walk(ctx)
}

// replaceFile renames a complete file into place, so that nobody reads half of it.
func replaceFile(name, content string) error {
	next := name + ".next"
	if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(next, name)
}

// Quickstart shows what package secrets does, in seven short scenes: each call, and what it returns.
//
//	go run ./examples/quickstart
//
// Everything runs in this process: store.go stands for a store over the network, and the files are in a directory that the program makes.
// The scenes are in scenes.go.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/middleware/redact"
)

// ttl is for how long the cache serves a value without a call to the store. A program has minutes.
const ttl = time.Second

func main() {
	// The values are new in each run, so that this program holds no secret, and what it prints can be searched for them.
	if err := run(context.Background(), os.Stdout, hasColour(os.Stdout), rand.Text); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run builds the Client, and plays the scenes.
func run(ctx context.Context, out io.Writer, colour bool, newValue func() string) (err error) {
	store := NewStore(newValue)
	store.Rotate("database")

	// A directory of files, as Docker and Kubernetes mount them.
	dir, err := os.MkdirTemp("", "quickstart-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.WriteFile(filepath.Join(dir, "mail-token"), []byte(newValue()+"\n"), 0o600); err != nil {
		return err
	}
	files, err := file.New(dir)
	if err != nil {
		return err
	}

	lines := make(logLines, 16)
	redaction := redact.New()
	logger := slog.New(redaction.Handler(slog.NewTextHandler(lines, &slog.HandlerOptions{ReplaceAttr: withoutTimes})))
	client, err := secrets.New(store,
		secrets.WithFallback(fallback.To(files)),
		secrets.WithRedaction(redaction),
		secrets.WithLogger(logger),
		middleware.Standard(cache.WithTTL(ttl)),
	)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()

	show := &show{screen: &screen{out: out, colour: colour}, client: client, store: store, logger: logger, lines: lines}
	if err := show.play(ctx); err != nil {
		return err
	}
	return show.err
}

// logLines are the lines of a logger.
type logLines chan string

// Write takes one line.
func (l logLines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

// withoutTimes leaves out what is different in each run.
func withoutTimes(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindTime || a.Value.Kind() == slog.KindDuration {
		return slog.Attr{}
	}
	return a
}

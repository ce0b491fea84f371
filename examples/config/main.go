// Config is a program whose secrets are the fields of a struct. It prints the struct, and again after each change.
//
//	mkdir -p shop/database
//	echo app > shop/database/user; echo s3cret > shop/database/password; echo t0ken > shop/mail-token
//	SECRET_MANAGER_PATH=shop go run ./examples/config
//
// In another shell, change a file: the program prints the new struct within a second.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/bind"
	"github.com/seed-5482dd03/secrets/detect"
)

// Settings are all secrets of the program. A field of type secrets.Secret prints as [REDACTED].
type Settings struct {
	Database struct {
		User     string         `secret:"#user"`
		Password secrets.Secret `secret:"#password"`
	} `secret:"database"`
	MailToken secrets.Secret `secret:"mail-token"`
	Timeout   time.Duration  `secret:"timeout,default=30s"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // stop only frees a signal handler
	}
}

// run prints the settings, and each later version of them, until ctx ends.
func run(ctx context.Context, out io.Writer) (err error) {
	client, _, err := detect.New(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()

	settings, err := bind.Watch[Settings](ctx, client) // names every key that is missing or malformed
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		changed := settings.Changed() // before Load, so that no change is missed
		if _, err := fmt.Fprintf(out, "%+v\n", settings.Load()); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return nil
}

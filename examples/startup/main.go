// Startup is a service that reads all its secrets from AWS Secrets Manager before it serves. If some are missing, one error names them
// all, and the process ends. It needs AWS credentials and a region, as every program with the SDK.
//
//	go run ./examples/startup
//	go run ./examples/startup -keys    # the keys, for a policy
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/bind"
	"github.com/seed-5482dd03/secrets/middleware"
)

// Config holds all secrets of the service. In AWS, they are the documents prod/shop/database, prod/shop/mail and prod/shop/limits.
type Config struct {
	DB struct {
		User     string         `secret:"#user"`
		Password secrets.Secret `secret:"#password"`
	} `secret:"database"`
	MailToken secrets.Secret `secret:"mail#token"`
	RPS       int            `secret:"limits#rps,default=100"`
}

func main() {
	if slices.Contains(os.Args[1:], "-keys") {
		for _, key := range bind.Keys[Config]() {
			fmt.Println(key)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, serve); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // stop only frees a signal handler
	}
}

// run reads the secrets and serves until ctx ends.
func run(ctx context.Context, out io.Writer, serve func(context.Context, io.Writer, *secrets.Live[Config]) error) (err error) {
	backend, err := awssm.New(ctx, awssm.WithPrefix("prod/shop/"))
	if err != nil {
		return err
	}
	client, err := secrets.New(backend, middleware.Standard())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()

	// A deployment that lacks a secret should fail now, and not at the first request that needs it.
	starting, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := bind.Load[Config](starting, client); err != nil {
		return fmt.Errorf("cannot start:\n%w", err)
	}
	config, err := bind.Watch[Config](ctx, client) // from the cache
	if err != nil {
		return err
	}
	return serve(ctx, out, config)
}

// serve stands for the service. It reads the config at each use, since its secrets may change.
func serve(ctx context.Context, out io.Writer, config *secrets.Live[Config]) error {
	now := config.Load()
	_, err := fmt.Fprintf(out, "serving as %s with password %v, %d requests a second\n", now.DB.User, now.DB.Password, now.RPS)
	if err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

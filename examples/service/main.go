// Service is an HTTP service with a pool of PostgreSQL connections, whose password may change at any time. The secret "database" has the
// fields username and password; package detect finds where it is.
//
//	SECRET_MANAGER_PATH=/run/secrets DATABASE_DSN="host=db.example.com dbname=shop" go run .
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/detect"
	"github.com/seed-5482dd03/secrets/use/secretsql"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(ctx, logger, os.Getenv("DATABASE_DSN"), ":8080"); err != nil {
		logger.ErrorContext(ctx, "stopped", "error", err)
		os.Exit(1) //nolint:gocritic // stop only frees a signal handler
	}
}

// run serves at addr until ctx ends.
func run(ctx context.Context, logger *slog.Logger, dsn, addr string) (err error) {
	client, detection, err := detect.New(ctx, detect.WithClientOptions(secrets.WithLogger(logger)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	logger.InfoContext(ctx, "secrets", "from", detection)

	db, err := openDatabase(client, dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.PingContext(ctx); err != nil {
		return fmt.Errorf("cannot start: %w", err)
	}

	server := &http.Server{Addr: addr, Handler: handler(db), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() {
		last, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = server.Shutdown(last)
	})
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// openDatabase returns a pool that logs in with the current user and password, which the DSN does not have.
func openDatabase(client *secrets.Client, dsn string) (*sql.DB, error) {
	base, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	open := func(_ context.Context, s secrets.Secret) (driver.Connector, error) {
		user, err := s.Field("username")
		if err != nil {
			return nil, err
		}
		password, err := s.Field("password")
		if err != nil {
			return nil, err
		}
		cfg := base.Copy()
		cfg.User, cfg.Password = user.Reveal(), password.Reveal()
		return stdlib.GetConnector(*cfg), nil
	}
	return sql.OpenDB(secretsql.Connector(client, "database", open, secretsql.Bridge(30*time.Second))), nil
}

// handler answers a request with a query.
func handler(db *sql.DB) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /time", func(w http.ResponseWriter, r *http.Request) {
		var now time.Time
		if err := db.QueryRowContext(r.Context(), "SELECT now()").Scan(&now); err != nil {
			http.Error(w, "try again later", http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, now.Format(time.RFC3339))
	})
	return mux
}

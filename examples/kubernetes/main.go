// Kubernetes is a service in a pod that reads its secrets from Vault. It logs in with the token of its service account, so that nothing
// secret is in the manifest.
//
// Beside this file are what an operator applies once: policy.hcl and setup.sh for Vault, deployment.yaml for the cluster. On a laptop, the
// same program runs with VAULT_ADDR and VAULT_TOKEN.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/redact"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	redaction := redact.New()
	logger := slog.New(redaction.Handler(slog.NewJSONHandler(os.Stdout, nil)))
	if err := run(ctx, logger, redaction, ":8080"); err != nil {
		logger.ErrorContext(ctx, "stopped", "error", err)
		os.Exit(1) //nolint:gocritic // stop only frees a signal handler
	}
}

// run serves at addr until ctx ends.
func run(ctx context.Context, logger *slog.Logger, redaction *redact.Redactor, addr string) (err error) {
	backend, err := vault.New() // VAULT_ADDR, VAULT_AUTH_METHOD, VAULT_ROLE and VAULT_CACERT of deployment.yaml
	if err != nil {
		return err
	}
	client, err := secrets.New(backend, secrets.WithRedaction(redaction), secrets.WithLogger(logger), middleware.Standard())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }() // it revokes the token

	// The whole document. Watch fails if Vault is down: the process ends, and the pod starts it again.
	database, err := client.Watch(ctx, "shop/database#")
	if err != nil {
		return fmt.Errorf("cannot start: %w", err)
	}
	server := &http.Server{Addr: addr, Handler: handler(client, database), ReadHeaderTimeout: 10 * time.Second}
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

// ready returns nil while h holds a credential that works.
func ready(h *secrets.Handle) error {
	err := h.Err()
	ends := h.Secret().Meta().ExpiresAt
	if errors.Is(err, secrets.ErrUnavailable) && (ends.IsZero() || time.Now().Before(ends)) {
		return nil // an outage of the store; the credential still works
	}
	return err
}

// handler answers the probe of the pod, and one request that needs a secret.
func handler(client *secrets.Client, database *secrets.Handle) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(database); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable) // it names the key, and never a value
		}
	})
	mux.HandleFunc("GET /pay", func(w http.ResponseWriter, r *http.Request) {
		token, err := client.Get(r.Context(), "shop/api#token") // at each use: a hit costs 20 to 50 ns
		if err != nil {
			http.Error(w, "try again later", http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintf(w, "paid with a token of %d characters\n", len(token.Reveal()))
	})
	return mux
}

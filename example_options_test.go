package secrets_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace/noop"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/middleware/tracing"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// A policy: this program may read only the secrets below shop/.
func ExampleWithMiddleware() {
	onlyShop := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
		if !strings.HasPrefix(ref.Path, "shop/") {
			return secrets.Secret{}, secrets.NewError(secrets.ErrPermissionDenied, "only shop/ is allowed")
		}
		return next.Fetch(ctx, ref)
	})
	client, err := secrets.New(secretstest.NewBackend(map[string]string{"payroll": "correct horse"}), secrets.WithMiddleware(onlyShop))
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	_, err = client.Get(context.Background(), "payroll")
	fmt.Println(err)
	// Output:
	// secrets: payroll: permission denied: only shop/ is allowed
}

// Below the cache, the layer sees only real fetches.
func ExampleWithBackendMiddleware() {
	fetches := 0
	count := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
		fetches++
		return next.Fetch(ctx, ref)
	})
	backend := secretstest.NewBackend(map[string]string{"api/token": "correct horse"})
	client, err := secrets.New(backend, secrets.WithBackendMiddleware(count), middleware.Standard())
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	for range 10 {
		_, _ = client.Get(context.Background(), "api/token")
	}
	fmt.Println("fetches:", fetches)
	// Output:
	// fetches: 1
}

// A backend that does not answer costs a caller at most this time.
func ExampleWithTimeout() {
	backend := secretstest.NewBackend(map[string]string{"api/token": "correct horse"}, secretstest.WithLatency(time.Hour))
	client, err := secrets.New(backend, secrets.WithTimeout(10*time.Millisecond))
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	_, err = client.Get(context.Background(), "api/token")
	fmt.Println(err)
	// Output:
	// secrets: fake: api/token: unavailable: no answer within 10ms
}

// A company's own stack: a program may replace each of its layers.
func ExampleWithDefaults() {
	house := secrets.WithDefaults(
		secrets.WithCache(cache.New()),
		secrets.WithRedaction(redact.New()),
		secrets.WithTimeout(2*time.Second),
	)
	own := cache.New(cache.WithTTL(time.Minute))
	client, err := secrets.New(secretstest.NewBackend(map[string]string{"api/token": "correct horse"}), house, secrets.WithCache(own))
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	_, _ = client.Get(context.Background(), "api/token")
	fmt.Println("entries in own:", own.Stats().Entries)
	// Output:
	// entries in own: 1
}

// Each fetch is a span of the provider.
func ExampleWithTracing() {
	provider := noop.NewTracerProvider() // in a program: the provider of the OpenTelemetry SDK
	client, err := secrets.New(secretstest.NewBackend(map[string]string{"api/token": "correct horse"}),
		secrets.WithTracing(tracing.New(provider)),
		middleware.Standard(),
	)
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	token, err := client.Get(context.Background(), "api/token")
	fmt.Println(token, err)
	// Output:
	// [REDACTED] <nil>
}

// The key is that of the fetch that showed the outage.
func ExampleWithLoggedKeys() {
	backend := secretstest.NewBackend(nil)
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTimes}))
	client, err := secrets.New(backend, secrets.WithLogger(logger), secrets.WithLoggedKeys())
	if err != nil {
		log.Panic(err)
	}
	backend.Fail(secrets.NewError(secrets.ErrUnavailable, "connection refused"))
	_, _ = client.Get(context.Background(), "api/token")
	_ = client.Close() // waits for the log
	// Output:
	// level=WARN msg="secrets: backend unavailable" backend=fake class=unavailable detail="connection refused" key=api/token
}

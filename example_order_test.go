package secrets_test

import (
	"context"
	"fmt"
	"log"
	"slices"

	"go.opentelemetry.io/otel/trace/noop"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/middleware/tracing"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// says prints a line for each call, and passes it on.
func says(line string) secrets.Middleware {
	return secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
		fmt.Println(line)
		return next.Fetch(ctx, ref)
	})
}

// The layers of this module, wrapped: each prints when a call passes it.
type (
	loudCache     struct{ *cache.Cache }
	loudDedup     struct{ *dedup.Dedup }
	loudTracing   struct{ *tracing.Tracing }
	loudRedaction struct{ *redact.Redactor }
)

func (l loudCache) NewCache(
	info secrets.Info, below secrets.Fetcher, share func(fill secrets.Fetcher) secrets.Fetcher,
) secrets.Cache {
	made := l.Cache.NewCache(info, below, func(fill secrets.Fetcher) secrets.Fetcher {
		return share(says("cache, fill").Wrap(fill))
	})
	return cacheWith{made, says("cache, read").Wrap(made)}
}

// cacheWith is a Cache whose Fetch is that of fetch, as the types below are for the other slots.
type cacheWith struct {
	secrets.Cache
	fetch secrets.Fetcher
}

func (c cacheWith) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return c.fetch.Fetch(ctx, ref)
}

func (l loudDedup) NewDedup(info secrets.Info, next secrets.Fetcher) secrets.Dedup {
	made := l.Dedup.NewDedup(info, next)
	return dedupWith{made, says("dedup").Wrap(made)}
}

type dedupWith struct {
	secrets.Dedup
	fetch secrets.Fetcher
}

func (d dedupWith) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return d.fetch.Fetch(ctx, ref)
}

func (l loudTracing) NewTracing(info secrets.Info, next secrets.Fetcher) secrets.Fetcher {
	return says("tracing").Wrap(l.Tracing.NewTracing(info, next))
}

func (l loudRedaction) NewRedaction(info secrets.Info, next secrets.Fetcher) secrets.Redaction {
	made := l.Redactor.NewRedaction(info, next)
	return redactionWith{made, says("redaction").Wrap(made)}
}

type redactionWith struct {
	secrets.Redaction
	fetch secrets.Fetcher
}

func (r redactionWith) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return r.fetch.Fetch(ctx, ref)
}

// A miss passes every layer, in an order that does not depend on the order of the options.
func ExampleNew_order() {
	opts := []secrets.Option{
		secrets.WithBackendMiddleware(says("backend middleware")),
		secrets.WithRedaction(loudRedaction{redact.New()}),
		secrets.WithTracing(loudTracing{tracing.New(noop.NewTracerProvider())}),
		secrets.WithDedup(loudDedup{dedup.New()}),
		secrets.WithCache(loudCache{cache.New()}),
		secrets.WithMiddleware(says("first middleware"), says("second middleware")),
	}
	for range 2 {
		client, err := secrets.New(secretstest.NewBackend(map[string]string{"api/token": "correct horse"}), opts...)
		if err != nil {
			log.Panic(err)
		}
		defer client.Close()
		if _, err := client.Get(context.Background(), "api/token"); err != nil {
			log.Panic(err)
		}
		fmt.Println()
		slices.Reverse(opts)
	}
	// Output:
	// first middleware
	// second middleware
	// cache, read
	// dedup
	// cache, fill
	// tracing
	// redaction
	// backend middleware
	//
	// first middleware
	// second middleware
	// cache, read
	// dedup
	// cache, fill
	// tracing
	// redaction
	// backend middleware
}

// Package middleware holds the recommended stack of layers. The layers are packages of their own below it, and there is one
// more, tracing, which a program adds itself:
//
//	client, err := secrets.New(backend, middleware.Standard())
package middleware

import (
	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
	"github.com/seed-5482dd03/secrets/middleware/redact"
)

// Standard is the recommended stack: a cache with the options opts, dedup and redaction, each with its defaults. It fills
// the slots that no other option does, in whatever order they stand, so that a layer given beside it takes the place of
// the one in it:
//
//	memory := cache.New(cache.WithTTL(time.Minute))
//	secrets.New(backend, middleware.Standard(), secrets.WithCache(memory))
//
// Faults of opts are returned by secrets.New, also where another cache takes the place of this one. Standard is given once;
// a second one beside it is a fault. Several Clients may be made with one Standard: they share the capacity of its cache,
// and see nothing of each other's secrets.
func Standard(opts ...cache.Option) secrets.Option {
	return secrets.WithDefaults(
		secrets.WithCache(cache.New(opts...)),
		secrets.WithDedup(dedup.New()),
		secrets.WithRedaction(redact.New()),
	)
}

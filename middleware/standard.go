// Package middleware provides the recommended layers of a Client, a cache, dedup and redaction, as one option:
//
//	client, err := secrets.New(backend, middleware.Standard())
//
// Each layer is a package below this one. So are tracing and fallback, which a program adds itself.
package middleware

import (
	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
	"github.com/seed-5482dd03/secrets/middleware/redact"
)

// Standard installs a cache with the options opts, dedup and redaction. Another option for one of these layers replaces that of Standard,
// in any order of the options:
//
//	memory := cache.New(cache.WithTTL(time.Minute))
//	secrets.New(backend, middleware.Standard(), secrets.WithCache(memory))
//
// secrets.New returns the faults of opts, even if another cache replaces this one. Passing Standard twice is an error. Several Clients may
// share one Standard: they share the capacity of its cache, but not their secrets.
func Standard(opts ...cache.Option) secrets.Option {
	return secrets.WithDefaults(
		secrets.WithCache(cache.New(opts...)),
		secrets.WithDedup(dedup.New()),
		secrets.WithRedaction(redact.New()),
	)
}

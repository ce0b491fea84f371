package main

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	is := is.New(t)
	var values []string
	var out strings.Builder
	is.NoErr(run(t.Context(), &out, func() string {
		values = append(values, rand.Text())
		return values[len(values)-1]
	}))

	is.Equal(out.String(), shown)

	is.Equal(len(values), 2) // there is something to hide
	for _, value := range values {
		secretstest.AssertNoLeak(t, value, out.String())
		is.True(len(secretstest.Leaks(value, out.String()+value)) > 0) // the search can find one
	}
}

// A program must not look well when it is not.
func TestRunFails(t *testing.T) {
	is := is.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out strings.Builder
	is.True(run(ctx, &out, rand.Text) != nil)
}

const shown = `What the outside sees of package secrets. No line of it holds a secret.

A miss: one fetch, within the span of the request
   database: [REDACTED], from remote
   span GET /pay (server)
      span secrets.fetch (client) secrets.backend=remote secrets.outcome=ok

A hit: no fetch, so that there is no span of one
   database: [REDACTED], from remote
   span GET /pay (server)

A stale read: the store is down, and the old value helps
   database: [REDACTED], from remote, stale
   span GET /pay (server)
      span secrets.fetch (client) secrets.backend=remote secrets.outcome=unavailable error.type=unavailable; an error: unavailable

A fallback: a span for each backend that is asked
   payment/key: [REDACTED], from env
   span GET /pay (server)
      span secrets.fetch (client) secrets.backend=remote secrets.outcome=unavailable error.type=unavailable; an error: unavailable
      span secrets.fetch (internal) secrets.backend=env secrets.outcome=ok

The metrics, of which those of the cache are its own counters
   secrets.cache.entries secrets.backend=remote = 1 {entry}
   secrets.cache.hits secrets.backend=remote = 1 {hit}
   secrets.cache.misses secrets.backend=remote = 3 {miss}
   secrets.cache.stale secrets.backend=remote = 1 {answer}
   secrets.fetch.duration error.type=unavailable secrets.backend=remote secrets.outcome=unavailable: 2 recorded, in s
   secrets.fetch.duration secrets.backend=env secrets.outcome=ok: 1 recorded, in s
   secrets.fetch.duration secrets.backend=remote secrets.outcome=ok: 1 recorded, in s
`

package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// A fallback answers at once in an outage of the first backend, and the log tells of the outage once.
func TestFallbackInAnOutage(t *testing.T) {
	const timeout = 5 * time.Second // the default
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var log bytes.Buffer
		remote := secretstest.NewBackend(map[string]string{"key-7": "remote"}, secretstest.WithName("remote"))
		local := env.New(env.WithLookup(func(name string) (string, bool) { return "local", strings.HasPrefix(name, "KEY_") }))
		c := client(t, remote, secrets.WithFallback(fallback.To(local)), middleware.Standard(),
			secrets.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		get := func(ctx context.Context, i int, want string, wait time.Duration) {
			t.Helper()
			began := time.Now()
			s, err := c.Get(ctx, fmt.Sprintf("key-%d", i))
			is.NoErr(err)
			is.Equal(s.Reveal(), want)
			is.Equal(time.Since(began), wait)
		}
		release := remote.Block()
		for i := range 3 {
			get(t.Context(), i, "local", timeout)
		}
		for i := range 20 {
			get(t.Context(), i, "local", 0)
		}
		is.Equal(remote.Calls(), 3)
		_, err := c.Get(t.Context(), "nowhere")
		is.True(errors.Is(err, secrets.ErrUnavailable)) // an outage never reads as absence

		time.Sleep(480 * time.Millisecond) // the longest that the first step takes
		hasty, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		get(hasty, 7, "local", 50*time.Millisecond) // the probe leaves its caller the time for the fallback
		time.Sleep(2 * timeout)
		get(t.Context(), 7, "local", time.Second) // and so does the next one, after its patience
		release()
		synctest.Wait()
		get(t.Context(), 7, "remote", 0)
		for line, times := range map[string]int{"backend unavailable": 1, "fallback answering": 1, "available again": 1} {
			is.Equal(strings.Count(log.String(), line), times)
		}
	})
}

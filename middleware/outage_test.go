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

// A fallback answers at once in an outage of the first backend, and the outage is logged once.
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
		is.True(errors.Is(err, secrets.ErrUnavailable)) // an outage is never a not-found

		time.Sleep(480 * time.Millisecond) // the longest first step
		hasty, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		get(hasty, 7, "local", 50*time.Millisecond) // the probe leaves its caller time for the fallback
		time.Sleep(2 * timeout)
		get(t.Context(), 7, "local", time.Second) // and so does the next one, after its wait
		release()
		synctest.Wait()
		get(t.Context(), 7, "remote", 0)
		synctest.Wait() // for the events
		for line, times := range map[string]int{"backend unavailable": 1, "fallback answering": 1, "available again": 1} {
			is.Equal(strings.Count(log.String(), line), times)
		}
	})
}

// A failed batch is one failure of the backend, not one for each of its documents.
func TestAFailedBatchIsOneFailure(t *testing.T) {
	for name, c := range map[string]struct {
		batch, cold, renewed int
		open                 bool
	}{
		"a batch of cold keys":                        {batch: 20, cold: 20},
		"two batches":                                 {batch: 20, cold: 40},
		"a batch of renewals":                         {batch: 20, renewed: 20},
		"control: three batches of cold keys":         {batch: 20, cold: 60, open: true},
		"control: three batches of renewals":          {batch: 20, renewed: 60, open: true},
		"control: calls of their own for cold keys":   {cold: 3, open: true},
		"control: calls of their own for renewed one": {renewed: 3, open: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				b := secretstest.NewBackend(nil, secretstest.WithBatch(c.batch))
				client := client(t, b, middleware.Standard())
				var renewed, keys []string
				for i := range c.renewed {
					renewed = append(renewed, fmt.Sprintf("renewed-%d", i))
					b.Set(renewed[i], "value")
				}
				for i := range c.cold {
					keys = append(keys, fmt.Sprintf("cold-%d", i))
				}
				keys = append(keys, renewed...)
				_, err := client.GetMany(t.Context(), renewed...)
				is.NoErr(err)
				time.Sleep(10 * time.Minute)
				b.Set("other", "value")
				b.ResetCounts()

				b.Fail(secrets.ErrUnavailable)
				found, _ := client.GetMany(t.Context(), keys...)
				is.Equal(len(found), c.renewed) // stale
				is.Equal(b.Calls(), (len(keys)+max(1, c.batch)-1)/max(1, c.batch))
				b.Recover()
				s, err := client.Get(t.Context(), "other")
				is.Equal(errors.Is(err, secrets.ErrUnavailable), c.open)
				is.Equal(s.Reveal() == "value", !c.open)
			})
		})
	}
}

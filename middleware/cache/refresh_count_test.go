package cache_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// TestCallsOfManyRefreshes counts the backend's calls for 100 callers of Refresh, or of Get after an invalidation.
func TestCallsOfManyRefreshes(t *testing.T) {
	const latency = 50 * time.Millisecond
	refresh := func(ctx context.Context, c *secrets.Client) (secrets.Secret, error) { return c.Refresh(ctx, "db") }
	invalidate := func(ctx context.Context, c *secrets.Client) (secrets.Secret, error) {
		c.Invalidate("db")
		return c.Get(ctx, "db")
	}
	for name, c := range map[string]struct {
		ask   func(ctx context.Context, c *secrets.Client) (secrets.Secret, error)
		apart time.Duration // between two callers
		calls int
		takes time.Duration // for one of them, at most
	}{
		"refreshes at once":           {ask: refresh, calls: 2, takes: 2 * latency},
		"refreshes one by one":        {ask: refresh, apart: 1100 * time.Microsecond, calls: 4, takes: 2 * latency},
		"invalidations at once":       {ask: invalidate, calls: 2, takes: 2 * latency},
		"invalidations one by one":    {ask: invalidate, apart: 1100 * time.Microsecond, calls: 4, takes: 2 * latency},
		"control: each after another": {ask: refresh, apart: latency + 1, calls: 100, takes: latency},
	} {
		for _, warm := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					backend := secretstest.NewBackend(map[string]string{"db": "v1"}, secretstest.WithLatency(latency))
					client := newClient(t, backend, middleware.Standard())
					if warm {
						_, err := client.Get(t.Context(), "db")
						is.NoErr(err)
						backend.ResetCounts()
					}
					var callers sync.WaitGroup
					for n := range 100 {
						callers.Go(func() {
							time.Sleep(time.Duration(n) * c.apart)
							began := time.Now()
							if n == 50 {
								backend.Set("db", "v2")
							}
							s, err := c.ask(t.Context(), client)
							is.NoErr(err)
							if n >= 50 && c.apart > 0 { // no caller gets the answer of an earlier fetch
								is.Equal(s.Reveal(), "v2")
							}
							is.True(time.Since(began) <= c.takes)
						})
					}
					callers.Wait()
					is.Equal(backend.Calls(), c.calls)
					backend.SetLatency(0)
					s, err := client.Get(t.Context(), "db")
					is.NoErr(err)
					is.Equal(s.Reveal(), "v2")
				})
			})
		}
	}
}

package secretstest

import (
	"context"
	"slices"
	"sync"

	"github.com/seed-5482dd03/secrets"
)

func concurrencyCases() []testCase {
	const why = "all goroutines of a program share one Client, and so one backend"
	const single, many = 64, 16 // goroutines; each GetMany has several fetches of its own
	const rounds = 8
	crowd := func(c *check, goroutines int, what string, ask func(i int)) {
		var mu sync.Mutex
		var faults []string
		c.do(what, func() {
			var wg sync.WaitGroup
			for g := range goroutines {
				wg.Go(func() {
					for round := range rounds {
						if fault := c.bounded(func() { ask(g + round) }); fault != "" {
							mu.Lock()
							faults = append(faults, fault)
							mu.Unlock()
							return
						}
					}
				})
			}
			wg.Wait()
		})
		for _, fault := range faults {
			c.errorf("%s, concurrently: %s", what, fault)
		}
	}
	keys := []string{"database", "text/plain", "missing", "fields", "text/other"}
	verdict := func(c *check, what, key string, s secrets.Secret, err error) {
		if key == "missing" {
			c.wantClass(what, err, secrets.ErrNotFound)
		} else {
			c.wantValue(what+" of "+key, s, err, stored(key))
		}
	}
	return []testCase{
		{"concurrency/fetch", why, func(c *check) {
			b := c.backend(nil)
			crowd(c, single, "Fetch", func(i int) {
				key := keys[i%len(keys)]
				doc, field := locate(b, parse(key))
				s, err := b.Fetch(c.t.Context(), doc)
				r := choose(c.checkResult(c.t.Context(), "Fetch, concurrently,", secrets.Result{Secret: s, Err: err}), field)
				verdict(c, "Fetch, concurrently,", key, r.Secret, r.Err)
			})
		}},
		{"concurrency/get-many", why, func(c *check) {
			client := c.client(c.backend(nil))
			crowd(c, many, "Client.GetMany", func(i int) {
				requested := slices.Concat(keys[i%len(keys):], keys[:i%len(keys)])
				found, err := client.GetMany(c.t.Context(), requested...)
				for key, r := range c.answers(c.t.Context(), requested, found, err) {
					verdict(c, "Client.GetMany, concurrently,", key, r.Secret, r.Err)
				}
			})
		}},
		{"concurrency/client", why, func(c *check) {
			client := c.client(c.backend(nil))
			crowd(c, single, "Client.Get", func(i int) {
				key := keys[i%len(keys)]
				s, err := client.Get(c.t.Context(), key)
				verdict(c, "Client.Get, concurrently,", key, s, err)
			})
		}},
		{"concurrency/cancellation", "a caller whose ctx ends must not fail another caller", func(c *check) {
			b := c.backend(nil)
			crowd(c, single, "Fetch", func(i int) {
				ctx, cancel := context.WithCancel(c.t.Context())
				defer cancel()
				doc, _ := locate(b, parse("database"))
				if i%2 == 0 {
					cancel()
					_, _ = b.Fetch(ctx, doc)
					return
				}
				s, err := b.Fetch(ctx, doc)
				c.wantValue("Fetch during others whose ctx is done", s, err, database)
			})
		}},
		{"concurrency/cancellation-many", "a caller whose ctx ends must not fail another caller", func(c *check) {
			client := c.client(c.backend(nil))
			requested := []string{"database", "text/plain"}
			crowd(c, many, "Client.GetMany", func(i int) {
				ctx, cancel := context.WithCancel(c.t.Context())
				defer cancel()
				if i%2 == 0 {
					go cancel()
					_, _ = client.GetMany(ctx, requested...)
					return
				}
				found, err := client.GetMany(ctx, requested...)
				for key, r := range c.answers(ctx, requested, found, err) {
					c.wantValue("Client.GetMany during others whose ctx is done, "+key, r.Secret, r.Err, stored(key))
				}
			})
		}},
	}
}

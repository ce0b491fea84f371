package secretstest

import (
	"context"
	"sync"

	"github.com/seed-5482dd03/secrets"
)

func concurrencyCases() []testCase {
	const why = "one Client, and so one backend, serves all goroutines of a program"
	const goroutines, rounds = 64, 8
	crowd := func(c *check, what string, ask func(i int)) {
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
		{"concurrency/fetch-and-fetch-many", why, func(c *check) {
			b := c.backend(nil)
			crowd(c, "Fetch and FetchMany", func(i int) {
				if i%2 == 0 {
					key := keys[i%len(keys)]
					doc, field := locate(b, parse(key))
					s, err := b.Fetch(c.t.Context(), doc)
					r := choose(c.sound(c.t.Context(), "Fetch, concurrently,", secrets.Result{Secret: s, Err: err}), field)
					verdict(c, "Fetch, concurrently,", key, r.Secret, r.Err)
					return
				}
				docs, parts := make([]secrets.Ref, len(keys)), make([]string, len(keys))
				for k, key := range keys {
					docs[k], parts[k] = locate(b, parse(key))
				}
				results := b.FetchMany(c.t.Context(), docs)
				if len(results) != len(keys) {
					c.errorf("FetchMany, concurrently: %d results for %d refs", len(results), len(keys))
					return
				}
				for k, r := range results {
					r = choose(c.sound(c.t.Context(), "FetchMany, concurrently,", r), parts[k])
					verdict(c, "FetchMany, concurrently,", keys[k], r.Secret, r.Err)
				}
			})
		}},
		{"concurrency/client", why, func(c *check) {
			client := c.client(c.backend(nil))
			crowd(c, "Client.Get", func(i int) {
				key := keys[i%len(keys)]
				s, err := client.Get(c.t.Context(), key)
				verdict(c, "Client.Get, concurrently,", key, s, err)
			})
		}},
		{"concurrency/cancellation", "one caller's end must not fail another", func(c *check) {
			b := c.backend(nil)
			crowd(c, "Fetch", func(i int) {
				ctx, cancel := context.WithCancel(c.t.Context())
				defer cancel()
				doc, _ := locate(b, parse("database"))
				if i%2 == 0 {
					cancel()
					_, _ = b.Fetch(ctx, doc)
					return
				}
				s, err := b.Fetch(ctx, doc)
				c.wantValue("Fetch beside some whose ctx is done", s, err, database)
			})
		}},
	}
}

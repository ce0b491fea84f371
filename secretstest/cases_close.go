package secretstest

import (
	"errors"
	"sync"

	"github.com/seed-5482dd03/secrets"
)

func closeCases() []testCase {
	const why = "a Client closes its backend, and a program may close both"
	return []testCase{
		{"close/twice", why, func(c *check) {
			b := c.backend(nil)
			_, _ = c.fetch(c.t.Context(), b, "database")
			for i := range 3 {
				c.do("Close", func() {
					if err := b.Close(); err != nil {
						c.errorf("call %d of Close: %v", i+1, c.safe(err))
					}
				})
			}
		}},
		{"close/unused", why, func(c *check) {
			b := c.backend(nil)
			c.do("Close", func() {
				if err := b.Close(); err != nil {
					c.errorf("Close of an unused backend: %v", c.safe(err))
				}
			})
		}},
		{"close/concurrently", why, func(c *check) {
			b := c.backend(nil)
			c.do("Close during Fetch", func() {
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() {
						if fault := c.bounded(func() {
							doc, _ := locate(b, parse("database"))
							s, err := b.Fetch(c.t.Context(), doc)
							if r := c.checkResult(c.t.Context(), "Fetch during Close", secrets.Result{Secret: s, Err: err}); r.Err == nil {
								c.wantValue("Fetch during Close", r.Secret, nil, database)
							} else if errors.Is(r.Err, secrets.ErrNotFound) {
								c.errorf("Fetch during Close: %v; a closed backend cannot report a secret as missing", c.safe(r.Err))
							}
						}); fault != "" {
							c.errorf("Fetch during Close: %s", fault)
						}
					})
					wg.Go(func() {
						if fault := c.bounded(func() { _ = b.Close() }); fault != "" {
							c.errorf("Close, concurrently: %s", fault)
						}
					})
				}
				wg.Wait()
			})
		}},
		{"close/calls-after", "a late call must return an error or the value, and must not panic", func(c *check) {
			b := c.backend(nil)
			client := c.client(b)
			c.do("Close", func() { _ = b.Close() })
			s, err := c.fetch(c.t.Context(), b, "database")
			results := c.getMany(c.t.Context(), client, "text/plain", "database")
			results["Fetch"] = secrets.Result{Secret: s, Err: err}
			for _, r := range results {
				if errors.Is(r.Err, secrets.ErrNotFound) {
					c.errorf("a call after Close: %v; a closed backend cannot report a secret as missing", c.safe(r.Err))
				}
			}
			c.wantOptional("Fetch after Close", s, err, database)
		}},
		{"close/client", why, func(c *check) {
			client := c.client(c.backend(nil))
			_, err := c.get(c.t.Context(), client, "database")
			if err != nil {
				c.errorf("Client.Get: %v", c.safe(err))
			}
			for range 2 {
				c.do("Client.Close", func() {
					if err := client.Close(); err != nil {
						c.errorf("Client.Close: %v", c.safe(err))
					}
				})
			}
			_, err = c.get(c.t.Context(), client, "database")
			c.wantClass("Client.Get after Close", err, secrets.ErrClosed)
		}},
	}
}

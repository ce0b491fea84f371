package secretstest

import (
	"errors"
	"strings"

	"github.com/seed-5482dd03/secrets"
)

func (s *suite) failureCases() []testCase {
	const why = "the class of the error decides what a Client does next: default, fallback, stale value, or stop"
	var all []testCase
	for _, f := range s.failures {
		name := "failure/" + strings.ReplaceAll(strings.TrimPrefix(f.class.Error(), "secrets: "), " ", "-")
		with := func(part string, run func(c *check, b secrets.Backend, key string)) testCase {
			return testCase{name + "/" + part, why, func(c *check) {
				b, key := f.setup(c.t, canary)
				run(c, c.own(b), key)
			}}
		}
		absent := errors.Is(f.class, secrets.ErrNotFound)
		all = append(all,
			with("fetch", func(c *check, b secrets.Backend, key string) {
				if _, err := secrets.ParseRef(key); err != nil {
					return // a Client refuses it without a call
				}
				_, err := c.fetch(c.t.Context(), b, key)
				c.wantClass("Fetch", err, f.class)
			}),
			with("client", func(c *check, b secrets.Backend, key string) {
				_, err := c.get(c.t.Context(), c.client(b), key)
				c.wantError(b, key, err, f.class)
			}),
			with("client-many", func(c *check, b secrets.Backend, key string) {
				c.wantError(b, key, c.getMany(c.t.Context(), c.client(b), key, key)[key].Err, f.class)
			}),
			with("fallback", func(c *check, b secrets.Backend, key string) {
				ref, err := secrets.ParseRef(key)
				if err != nil {
					return
				}
				client := c.client(b, secrets.WithFallback(spare{ref.Field}))
				s, err := c.get(c.t.Context(), client, key)
				r := c.getMany(c.t.Context(), client, key)[key]
				if f.class == secrets.ErrNotFound {
					c.wantBackend("Client.Get", s, err, spareName)
					c.wantBackend(c.many(key), r.Secret, r.Err, spareName)
					return
				}
				c.wantClass("Client.Get, with a fallback on not found", err, f.class)
				c.wantClass("Client.GetMany, with a fallback on not found", r.Err, f.class)
			}),
			with("has-and-get-or", func(c *check, b secrets.Backend, key string) {
				client := c.client(b)
				has, err := client.Has(c.t.Context(), key)
				c.checkError(c.t.Context(), "Client.Has", err)
				if has || (err == nil) != absent {
					c.errorf("Client.Has is %v with error %v", has, c.safe(err))
				}
				s, err := client.GetOr(c.t.Context(), key, "default")
				c.checkError(c.t.Context(), "Client.GetOr", err)
				if absent {
					c.wantValue("Client.GetOr", s, err, "default")
				} else {
					c.wantClass("Client.GetOr", err, f.class)
				}
			}))
	}
	return all
}

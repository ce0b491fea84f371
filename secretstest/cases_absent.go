package secretstest

import (
	"fmt"

	"github.com/seed-5482dd03/secrets"
)

func absentCases() []testCase {
	const why = "GetOr returns the default, Has returns false and a fallback goes on only if the error is ErrNotFound"
	missing := []string{"missing", "missing/value", "database-2", "databas", "DATABASE-MISSING", "missing.json"}
	return []testCase{
		{"absent/fetch", why, func(c *check) {
			b := c.backend(nil)
			for _, key := range missing {
				_, err := c.fetch(c.t.Context(), b, key)
				c.wantClass(fmt.Sprintf("Fetch of %q", key), err, secrets.ErrNotFound)
			}
		}},
		{"absent/get-many", why, func(c *check) {
			for key, r := range c.getMany(c.t.Context(), c.client(c.backend(nil)), missing...) {
				c.wantClass(c.many(key), r.Err, secrets.ErrNotFound)
			}
		}},
		{"absent/client", "an error must name the backend and the key that failed", func(c *check) {
			b := c.backend(nil)
			client := c.client(b)
			for _, key := range missing {
				_, err := c.get(c.t.Context(), client, key)
				c.wantError(b, key, err, secrets.ErrNotFound)
			}
		}},
		{"absent/has", why, func(c *check) {
			has, err := c.client(c.backend(nil)).Has(c.t.Context(), "missing")
			if has || err != nil {
				c.errorf("Client.Has is %v with error %v", has, c.safe(err))
			}
		}},
		{"absent/get-or", why, func(c *check) {
			client := c.client(c.backend(nil))
			s, err := client.GetOr(c.t.Context(), "missing", "default")
			c.wantValue("Client.GetOr of a missing secret", s, err, "default")
			s, err = client.GetOr(c.t.Context(), "text/plain", "default")
			c.wantValue("Client.GetOr of a secret", s, err, plain)
		}},
		{"absent/empty-backend", why, func(c *check) {
			b := c.own(c.newBackend(c.t, map[string]string{}))
			_, err := c.fetch(c.t.Context(), b, "database")
			c.wantClass("Fetch", err, secrets.ErrNotFound)
		}},
		{"absent/version", "a pinned version that does not exist must not return the current value", func(c *check) {
			b := c.backend(nil)
			client := c.client(b)
			for _, key := range []string{"database?version=no-such-version", "text/plain?version=no-such-version"} {
				_, err := c.fetch(c.t.Context(), b, key)
				c.wantAbsent("Fetch of "+key, err, secrets.ErrNotFound, secrets.ErrInvalidKey)
				r := c.getMany(c.t.Context(), client, "text/other", key)[key]
				c.wantAbsent(c.many(key), r.Err, secrets.ErrNotFound, secrets.ErrInvalidKey)
			}
		}},
		{"absent/after-found", "an earlier answer must not replace a missing one", func(c *check) {
			b := c.backend(nil)
			s, err := c.fetch(c.t.Context(), b, "database")
			c.wantValue("Fetch", s, err, database)
			_, err = c.fetch(c.t.Context(), b, "missing")
			c.wantClass("Fetch", err, secrets.ErrNotFound)
		}},
	}
}

package secretstest

import (
	"fmt"
	"maps"
	"slices"

	"github.com/seed-5482dd03/secrets"
)

func manyCases() []testCase {
	const why = "reading several secrets at once must return the same as reading them one by one"
	stored := standard()
	many := func(name string, keys ...string) testCase {
		return testCase{"get-many/" + name, why, func(c *check) {
			for key, r := range c.getMany(c.t.Context(), c.client(c.backend(nil)), keys...) {
				if want, there := stored[key]; there {
					c.wantValue(c.many(key), r.Secret, r.Err, want)
				} else {
					c.wantClass(c.many(key), r.Err, secrets.ErrNotFound)
				}
			}
		}}
	}
	distinct := make(map[string]string)
	for i := range 45 { // AWS Secrets Manager takes 20 in a call
		distinct[fmt.Sprintf("many-%02d/value", i)] = fmt.Sprintf("%s-%02d", canary, i)
	}
	return []testCase{
		many("one", "database"),
		many("order", "text/other", "database", "text/plain", "fields"),
		many("order-reversed", "fields", "text/plain", "database", "text/other"),
		many("one-missing", "database", "missing", "text/plain"),
		many("first-missing", "missing", "database"),
		many("last-missing", "database", "missing"),
		many("all-missing", "missing", "missing-2", "missing-3/value"),
		many("duplicates", "database", "text/plain", "database", "missing", "missing", "text/plain"),
		{"get-many/many-documents", why, func(c *check) {
			client := c.client(c.backend(distinct))
			keys := append(slices.Sorted(maps.Keys(distinct)), "missing")
			slices.Reverse(keys)
			for key, r := range c.getMany(c.t.Context(), client, keys...) {
				if want, there := distinct[key]; there {
					c.wantValue(c.many(key), r.Secret, r.Err, want)
				} else {
					c.wantClass(c.many(key), r.Err, secrets.ErrNotFound)
				}
			}
		}},
		{"get-many/fields-of-a-document", "each field has its own answer, and all have one version", func(c *check) {
			want := map[string]string{"database#user": user, "database#password": password, "database#port": "5432", "database#": database}
			keys := append(slices.Sorted(maps.Keys(want)), "database#missing", "missing#user", "database#user")
			results := c.getMany(c.t.Context(), c.client(c.backend(nil)), keys...)
			for key, value := range want {
				c.wantValue(c.many(key), results[key].Secret, results[key].Err, value)
				if results[key].Secret.Meta().Version != results["database#"].Secret.Meta().Version {
					c.errorf("%s: the version differs from that of its document", c.many(key))
				}
			}
			c.wantClass(c.many("database#missing"), results["database#missing"].Err, secrets.ErrFieldNotFound)
			c.wantClass(c.many("missing#user"), results["missing#user"].Err, secrets.ErrNotFound)
		}},
		{"get-many/empty", why, func(c *check) {
			c.getMany(c.t.Context(), c.client(c.backend(nil))) // answers checks that nothing is returned
		}},
		{"get-many/agrees-with-fetch", why, func(c *check) {
			b := c.backend(nil)
			keys := []string{"database", "missing", "text/plain", "fields#null", "database#port", "missing/x", "database?version=no-such-version"}
			for key, r := range c.getMany(c.t.Context(), c.client(b), keys...) {
				s, err := c.fetch(c.t.Context(), b, key)
				c.wantSame(c.many(key), r, secrets.Result{Secret: s, Err: err})
			}
		}},
		{"get-many/mixed", "found secrets must be returned, with one error for each of the others", func(c *check) {
			client := c.client(c.backend(nil))
			keys := []string{"missing", "database#user", "text/plain", "missing/x", "database#missing", ".."}
			results := c.getMany(c.t.Context(), client, keys...)
			c.wantValue("database#user", results["database#user"].Secret, results["database#user"].Err, user)
			c.wantValue("text/plain", results["text/plain"].Secret, results["text/plain"].Err, plain)
			for key, class := range map[string]error{
				"missing": secrets.ErrNotFound, "missing/x": secrets.ErrNotFound, "database#missing": secrets.ErrFieldNotFound,
				"..": secrets.ErrInvalidKey,
			} {
				c.wantClass(c.many(key), results[key].Err, class)
			}
		}},
	}
}

// wantSame records a failure unless got has the same value and version as want, or an error of the same class.
func (c *check) wantSame(what string, got, want secrets.Result) {
	if secrets.Class(got.Err) != secrets.Class(want.Err) {
		c.errorf("%s: %v; a direct Fetch returns %v", what, c.safe(got.Err), c.safe(want.Err))
		return
	}
	if !got.Secret.Equal(want.Secret) || got.Secret.Meta().Version != want.Secret.Meta().Version {
		c.errorf("%s: the value or version differs from that of a direct Fetch", what)
	}
}

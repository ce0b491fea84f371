package secretstest

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/seed-5482dd03/secrets"
)

func batchCases() []testCase {
	const why = "a batch is a way to ask, and changes no answer"
	stored := standard()
	compare := func(c *check, keys []string, results []secrets.Result) {
		for i, key := range keys {
			what := fmt.Sprintf("FetchMany, answer %d, to %q", i, key)
			if want, there := stored[key]; there {
				c.wantValue(what, results[i].Secret, results[i].Err, want)
			} else {
				c.wantClass(what, results[i].Err, secrets.ErrNotFound)
			}
		}
	}
	many := func(name string, keys ...string) testCase {
		return testCase{"batch/" + name, why, func(c *check) {
			compare(c, keys, c.fetchMany(c.t.Context(), c.backend(nil), keys...))
		}}
	}
	var long []string
	for i := range 45 { // AWS Secrets Manager takes 20 in a call
		long = append(long, []string{"database", "text/plain", "missing", "text/other", "fields"}[i%5])
	}
	distinct := make(map[string]string)
	for i := range 45 {
		distinct[fmt.Sprintf("batch-%02d/value", i)] = fmt.Sprintf("%s-%02d", canary, i)
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
		many("more-than-a-page", long...),
		{"batch/many-documents", why, func(c *check) {
			b := c.backend(distinct)
			keys := slices.Sorted(maps.Keys(distinct))
			slices.Reverse(keys)
			for i, r := range c.fetchMany(c.t.Context(), b, keys...) {
				c.wantValue("FetchMany of "+keys[i], r.Secret, r.Err, distinct[keys[i]])
			}
		}},
		{"batch/empty", why, func(c *check) {
			b := c.backend(nil)
			for _, refs := range [][]secrets.Ref{nil, {}} {
				c.do("FetchMany of no refs", func() {
					if n := len(b.FetchMany(c.t.Context(), refs)); n != 0 {
						c.errorf("FetchMany: %d results for no refs", n)
					}
				})
			}
		}},
		{"batch/refs-are-not-changed", "the slice belongs to the caller", func(c *check) {
			b := c.backend(nil)
			var refs []secrets.Ref
			for _, key := range []string{"text/plain", "database", "missing", "database"} {
				doc, _ := locate(b, parse(key))
				refs = append(refs, doc)
			}
			before := slices.Clone(refs)
			c.do("FetchMany", func() { b.FetchMany(c.t.Context(), refs) })
			if !slices.Equal(refs, before) {
				c.errorf("FetchMany changed the refs")
			}
		}},
		{"batch/agrees-with-fetch", why, func(c *check) {
			b := c.backend(nil)
			keys := []string{"database", "missing", "text/plain", "fields#null", "database#port", "missing/x", "database?version=no-such-version"}
			for i, r := range c.fetchMany(c.t.Context(), b, keys...) {
				s, err := c.fetch(c.t.Context(), b, keys[i])
				if secrets.Class(err) != secrets.Class(r.Err) {
					c.errorf("%q: Fetch says %v, and FetchMany %v", keys[i], c.safe(err), c.safe(r.Err))
				}
				if !s.Equal(r.Secret) || s.Meta().Version != r.Secret.Meta().Version {
					c.errorf("%q: Fetch and FetchMany differ in value or version", keys[i])
				}
			}
		}},
		{"batch/client", "what was found is returned, and one error for each that was not", func(c *check) {
			b := c.backend(nil)
			client := c.client(b)
			found, err := client.GetMany(c.t.Context(), "missing", "database#user", "text/plain", "missing/x", "database#missing", "..")
			c.soundMany(err)
			c.wantValue("database#user", found["database#user"], nil, user)
			c.wantValue("text/plain", found["text/plain"], nil, plain)
			if len(found) != 2 {
				c.errorf("Client.GetMany found %d, not 2", len(found))
			}
			all, ok := errors.AsType[secrets.Errors](err)
			if !ok || len(all) != 4 {
				c.fatalf("Client.GetMany: %v; want Errors of 4", c.safe(err))
			}
			for i, class := range []error{secrets.ErrNotFound, secrets.ErrNotFound, secrets.ErrFieldNotFound, secrets.ErrInvalidKey} {
				c.wantClass(fmt.Sprintf("Client.GetMany, error %d", i), all[i], class)
			}
		}},
	}
}

func (c *check) soundMany(err error) {
	if all, ok := errors.AsType[secrets.Errors](err); ok {
		for _, e := range all {
			c.soundError(c.t.Context(), fmt.Sprintf("Client.GetMany, the error of %q", e.Key), e)
		}
	}
}

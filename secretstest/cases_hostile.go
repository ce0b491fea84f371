package secretstest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-5482dd03/secrets"
)

func hostileCases() []testCase {
	const why = "keys come from configuration and requests: none may lead out of what the backend was told to serve"
	clean := []error{secrets.ErrInvalidKey, secrets.ErrNotFound, secrets.ErrFieldNotFound, secrets.ErrDeleted}
	outcome := func(c *check, what, path string, r secrets.Result) {
		if r.Err == nil {
			c.wantKnown(what, r.Secret)
			if document := unescaped(path); document != "" {
				c.errorf("%s: it is the document %q: a path is a name as it is, whose ?, # and %% must be escaped in a URL", what, document)
			}
			return
		}
		c.wantAbsent(what, r.Err, clean...)
	}
	return []testCase{
		{"keys/client", why, func(c *check) {
			asked := 0
			client := c.client(c.backend(nil), secrets.WithBackendMiddleware(secrets.Intercept(
				func(ctx context.Context, refs []secrets.Ref, next func(context.Context, []secrets.Ref) []secrets.Result) []secrets.Result {
					asked += len(refs)
					return next(ctx, refs)
				})))
			for _, key := range hostilePaths() {
				before := asked
				s, err := c.get(c.t.Context(), client, key)
				what := "Client.Get of " + short(key)
				if ref, invalid := secrets.ParseRef(key); invalid == nil {
					outcome(c, what, ref.Path, secrets.Result{Secret: s, Err: err})
					continue
				}
				c.wantClass(what, err, secrets.ErrInvalidKey)
				if asked != before {
					c.errorf("%s: the backend was asked for an invalid key", what)
				}
			}
		}},
		{"keys/fetch", why, func(c *check) {
			b := c.backend(nil)
			for _, ref := range hostileRefs() {
				what := "Fetch of " + shortRef(ref)
				c.do(what, func() {
					s, err := b.Fetch(c.t.Context(), ref)
					outcome(c, what, ref.Path, c.sound(c.t.Context(), what, secrets.Result{Secret: s, Err: err}))
				})
			}
		}},
		{"keys/fetch-resolved", why, func(c *check) {
			b := c.backend(nil)
			for _, ref := range hostileRefs() {
				what := "Fetch of the resolved " + shortRef(ref)
				c.do(what, func() {
					doc, field := locate(b, ref)
					s, err := b.Fetch(c.t.Context(), doc)
					r := c.sound(c.t.Context(), what, secrets.Result{Secret: s, Err: err})
					if field == "" {
						outcome(c, what, ref.Path, r)
					} else if r.Err == nil {
						c.wantKnown(what, r.Secret)
					}
				})
			}
		}},
		{"keys/fetch-many", why, func(c *check) {
			b := c.backend(nil)
			refs := hostileRefs()
			var results []secrets.Result
			c.do("FetchMany", func() { results = b.FetchMany(c.t.Context(), refs) })
			if len(results) != len(refs) {
				c.fatalf("FetchMany: %d results for %d refs", len(results), len(refs))
			}
			for i, r := range results {
				what := "FetchMany of " + shortRef(refs[i])
				outcome(c, what, refs[i].Path, c.sound(c.t.Context(), what, r))
			}
		}},
		{"keys/good-one-among-hostile", "one bad key must not fail the good ones", func(c *check) {
			b := c.backend(nil)
			for _, path := range []string{"..", "../database", "\x00", "a//b", "", strings.Repeat("a", 600), "\xff"} {
				good, _ := locate(b, parse("database"))
				var results []secrets.Result
				c.do("FetchMany", func() { results = b.FetchMany(c.t.Context(), []secrets.Ref{{Path: path}, good}) })
				if len(results) != 2 {
					c.fatalf("FetchMany: %d results for 2 refs", len(results))
				}
				c.wantValue("FetchMany of a document beside "+short(path), results[1].Secret, results[1].Err, database)
			}
		}},
		{"keys/after-hostile", "a hostile key must not disturb the next call", func(c *check) {
			b := c.backend(nil)
			for _, ref := range hostileRefs()[:200] {
				c.do("Fetch of "+shortRef(ref), func() { _, _ = b.Fetch(c.t.Context(), ref) })
			}
			s, err := c.fetch(c.t.Context(), b, "database")
			c.wantValue("Fetch", s, err, database)
		}},
	}
}

// wantKnown notes a failure unless s is made of the documents that the backend was given, and of nothing else.
func (c *check) wantKnown(what string, s secrets.Secret) {
	known := slices.Collect(maps.Values(standard()))
	if s.IsZero() || slices.Contains(known, s.Reveal()) {
		return
	}
	var object map[string]string // a backend may answer for a directory, or a prefix, with what is in it
	if json.Unmarshal([]byte(s.Reveal()), &object) == nil && len(object) > 0 {
		inside := true
		for _, v := range object {
			inside = inside && slices.Contains(known, v)
		}
		if inside {
			return
		}
	}
	c.errorf("%s: a value of %d bytes that the backend was not given", what, len(s.Reveal()))
}

func short(key string) string {
	const most = 40
	if len(key) > most {
		return fmt.Sprintf("%q… of %d bytes", key[:most], len(key))
	}
	return fmt.Sprintf("%q", key)
}

func shortRef(ref secrets.Ref) string {
	if ref.Version != "" {
		return short(ref.Path) + " in version " + short(ref.Version)
	}
	return short(ref.Path)
}

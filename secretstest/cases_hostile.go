package secretstest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/seed-5482dd03/secrets"
)

func hostileCases() []testCase {
	const why = "keys come from configuration and requests: none may reach anything but the backend's own secrets"
	clean := []error{secrets.ErrInvalidKey, secrets.ErrNotFound, secrets.ErrFieldNotFound, secrets.ErrDeleted}
	outcome := func(c *check, what, path string, r secrets.Result) {
		if r.Err == nil {
			c.wantKnown(what, r.Secret)
			if document := unescaped(path); document != "" {
				c.errorf("%s: it returns the document %q; a path is a literal name, so escape ?, # and %% when you put it in a URL", what, document)
			}
			return
		}
		c.wantAbsent(what, r.Err, clean...)
	}
	return []testCase{
		{"keys/client", why, func(c *check) {
			calls := 0
			client := c.client(c.backend(nil), secrets.WithBackendMiddleware(secrets.Intercept(
				func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
					calls++
					return next.Fetch(ctx, ref)
				})))
			for _, key := range hostilePaths() {
				before := calls
				s, err := c.get(c.t.Context(), client, key)
				what := "Client.Get of " + short(key)
				if ref, invalid := secrets.ParseRef(key); invalid == nil {
					outcome(c, what, ref.Path, secrets.Result{Secret: s, Err: err})
					continue
				}
				c.wantClass(what, err, secrets.ErrInvalidKey)
				if calls != before {
					c.errorf("%s: the backend was called with an invalid key", what)
				}
			}
		}},
		{"keys/fetch", why, func(c *check) {
			b := c.backend(nil)
			for _, ref := range hostileRefs() {
				what := "Fetch of " + shortRef(ref)
				c.do(what, func() {
					s, err := b.Fetch(c.t.Context(), ref)
					outcome(c, what, ref.Path, c.checkResult(c.t.Context(), what, secrets.Result{Secret: s, Err: err}))
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
					r := c.checkResult(c.t.Context(), what, secrets.Result{Secret: s, Err: err})
					if field == "" {
						outcome(c, what, ref.Path, r)
					} else if r.Err == nil {
						c.wantKnown(what, r.Secret)
					}
				})
			}
		}},
		{"keys/get-many", why, func(c *check) {
			keys := []string{"database"}
			for _, ref := range hostileRefs() {
				keys = append(keys, ref.String())
			}
			results := c.getMany(c.t.Context(), c.client(c.backend(nil)), keys...)
			for key, r := range results {
				ref, invalid := secrets.ParseRef(key)
				switch {
				case key == "database":
					c.wantValue("Client.GetMany of a document among hostile keys", r.Secret, r.Err, database)
				case invalid != nil:
					c.wantClass(c.many(key), r.Err, secrets.ErrInvalidKey)
				case ref.Field == "":
					outcome(c, c.many(key), ref.Path, r)
				case r.Err == nil:
					c.wantKnown(c.many(key), r.Secret)
				}
			}
		}},
		{"keys/good-one-among-hostile", "one bad key must not fail the good ones", func(c *check) {
			client := c.client(c.backend(nil))
			for _, path := range []string{"..", "../database", "..data", "a*", "%2e%2e", "{{.}}", "$(id)", "database%00", "\xff"} {
				r := c.getMany(c.t.Context(), client, path, "database")["database"]
				c.wantValue("Client.GetMany of a document together with "+short(path), r.Secret, r.Err, database)
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

// wantKnown records a failure unless s consists only of documents that the backend was given.
func (c *check) wantKnown(what string, s secrets.Secret) {
	known := slices.Collect(maps.Values(standard()))
	if s.IsZero() || slices.Contains(known, s.Reveal()) {
		return
	}
	var object map[string]string // a backend may return a directory or prefix as an object of its documents
	if json.Unmarshal([]byte(s.Reveal()), &object) == nil && len(object) > 0 {
		inside := true
		for _, v := range object {
			inside = inside && slices.Contains(known, v)
		}
		if inside {
			return
		}
	}
	c.errorf("%s: the backend returns a value of %d bytes that it was not given", what, len(s.Reveal()))
}

func short(key string) string {
	const maxShown = 40
	if len(key) > maxShown {
		return fmt.Sprintf("%q… of %d bytes", key[:maxShown], len(key))
	}
	return fmt.Sprintf("%q", key)
}

func shortRef(ref secrets.Ref) string {
	if ref.Version != "" {
		return short(ref.Path) + " in version " + short(ref.Version)
	}
	return short(ref.Path)
}

package secretstest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-5482dd03/secrets"
)

func infoCases() []testCase {
	return []testCase{
		{"info/name", "the name identifies the backend in errors, spans and Meta", func(c *check) {
			name := c.info(c.backend(nil)).Name
			if name == "" {
				c.errorf("Info.Name is empty")
			}
			if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
				c.errorf("Info.Name %q has spaces or control characters", name)
			}
		}},
		{"info/constant", "New reads Info once: a later change is missed, or seen only in part", func(c *check) {
			b := c.backend(nil)
			before := summary(c.info(b))
			_, _ = c.fetch(c.t.Context(), b, "database")
			if after := summary(c.info(b)); after != before {
				c.errorf("Info was %s and is %s after a Fetch", before, after)
			}
			c.do("Close", func() { _ = b.Close() })
			if after := summary(c.info(b)); after != before {
				c.errorf("Info was %s and is %s after Close", before, after)
			}
		}},
		{"info/plausible", "Info decides whether the Client caches, which goroutine it uses, and how far it fans out", func(c *check) {
			info := c.info(c.backend(nil))
			if info.Fault != nil {
				c.errorf("Info.Fault of a backend that works: %v", c.safe(info.Fault))
			}
			if info.Batch < 0 {
				c.errorf("Info.Batch is %d", info.Batch)
			}
			if info.Nonblocking && info.Batch > 1 {
				c.errorf("Info.Batch is %d, but a Nonblocking backend is called one key at a time, without batches", info.Batch)
			}
		}},
		{"info/hint", "a hint is for a person: it must name places, never values, and must not panic", func(c *check) {
			b := c.backend(nil)
			hint := c.info(b).Hint
			if hint == nil {
				return
			}
			for _, ref := range fieldRefs() {
				c.do("Info.Hint of "+shortRef(ref), func() {
					text := hint(ref)
					if leaks := c.detector.search(func(emit func(how, text string)) { emit("the hint", text) }); len(leaks) > 0 {
						c.errorf("Info.Hint of %s shows a value", shortRef(ref))
					}
				})
			}
		}},
		{"info/endpoint", "the Client groups failures by endpoint, so it must be the same each time", func(c *check) {
			endpoint := c.info(c.backend(nil)).Endpoint
			if endpoint == nil {
				return
			}
			for _, ref := range fieldRefs() {
				c.do("Info.Endpoint of "+shortRef(ref), func() {
					if first, second := endpoint(ref), endpoint(ref); first != second {
						c.errorf("Info.Endpoint of %s returns different results", shortRef(ref))
					}
				})
			}
		}},
		{"info/alternates", "Client.Do tries them when a consumer has refused the current version", func(c *check) {
			b := c.backend(nil)
			alternates := c.info(b).Alternates
			if alternates == nil {
				return
			}
			s, err := c.fetch(c.t.Context(), b, "database")
			c.wantValue("Fetch", s, err, database)
			refused, _ := locate(b, parse("database"))
			refused.Version = s.Meta().Version
			for _, ref := range slices.Concat(goodRefs(), fieldRefs(), []secrets.Ref{refused}) {
				c.do("Info.Alternates of "+shortRef(ref), func() {
					others := alternates(ref)
					for _, other := range others {
						if other.Path != ref.Path || other.Field != ref.Field || other.Version == ref.Version {
							c.errorf("Info.Alternates of %s returns %s, which is not another version of it", shortRef(ref), shortRef(other))
						}
					}
					if !slices.Equal(others, alternates(ref)) {
						c.errorf("Info.Alternates of %s returns different results", shortRef(ref))
					}
				})
			}
		}},
		{"info/on-change", "the Client calls it once, in New or at the first Watch, and it must not break the backend", func(c *check) {
			for before := range 2 {
				b := c.backend(nil)
				onChange := c.info(b).OnChange
				if onChange == nil {
					return
				}
				for range before {
					s, err := c.fetch(c.t.Context(), b, "database")
					c.wantValue("Fetch before Info.OnChange", s, err, database)
				}
				c.do("Info.OnChange", func() { onChange(func(...secrets.Ref) {}) })
				s, err := c.fetch(c.t.Context(), b, "database")
				c.wantValue("Fetch after Info.OnChange", s, err, database)
			}
		}},
	}
}

// info calls b.Info.
func (c *check) info(b secrets.Backend) (info secrets.Info) {
	c.t.Helper()
	c.do("Info", func() { info = b.Info() })
	return info
}

// summary returns the comparable part of info.
func summary(info secrets.Info) string {
	return fmt.Sprintf("{Name: %q, Local: %v, Nonblocking: %v, Leases: %v, Batch: %d, Resolve, Hint, Endpoint, Alternates, OnChange: %v}",
		info.Name, info.Local, info.Nonblocking, info.Leases, info.Batch,
		[]bool{info.Resolve != nil, info.Hint != nil, info.Endpoint != nil, info.Alternates != nil, info.OnChange != nil})
}

// fieldRefs returns refs with fields, good and hostile.
func fieldRefs() []secrets.Ref {
	refs := []secrets.Ref{
		{Path: "database", Field: "missing"},
		{Path: "database", Field: "Password"},
		{Path: "text/plain", Field: "field"},
		{Path: "text", Field: "missing"},
		{Path: "missing", Field: "x"},
	}
	for _, ref := range hostileRefs() {
		refs = append(refs, secrets.Ref{Path: ref.Path, Field: "field", Version: ref.Version})
	}
	return refs
}

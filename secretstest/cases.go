package secretstest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// canary is part of every document's content: any output that shows a value shows it.
const canary = "c4naRy-9fQ2xZ7mKvW3"

const (
	password = canary + "-password"
	user     = canary + "-user"
	database = `{"password":"` + password + `","port":5432,"user":"` + user + `"}`
	plain    = canary + "-plain"
	other    = canary + "-other"
	// fields has a field of each kind, in the order in which encoding/json writes a map.
	fields = `{"array":["` + canary + `-0","` + canary + `-1"],"dotted.key":"` + canary + `-dotted","empty":"",` +
		`"escaped":"` + canary + `\n\"\\é","false":false,` +
		`"nested":{"deep":{"value":"` + canary + `-deep"}},"null":null,"true":true,"ключ":"` + canary + `-ключ"}`
	// numbers has numbers that a float64 would round or reformat.
	numbers = `{"decimal":1.50,"integer":9007199254740993,"large":123456789012345678901234567890}`
)

// standard returns the documents that every backend under test holds.
func standard() map[string]string {
	return map[string]string{"database": database, "fields": fields, "numbers": numbers, "text/plain": plain, "text/other": other}
}

// values returns contents that software between a store and a program tends to change.
func values() []struct{ name, value string } {
	return []struct{ name, value string }{
		{"text", canary},
		{"one-byte", "x"},
		{"spaces-around", "  \t" + canary + "\t  "},
		{"lines", canary + "\nsecond\n\n fourth"},
		{"crlf", canary + "\r\nsecond\r\n\r\nfourth"},
		{"pem", "-----BEGIN PRIVATE KEY-----\n" + canary + "\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----"},
		{"quotes", canary + `'"` + "`" + `\'\"`},
		{"backslashes", canary + `\n\t\\\u0041\x41`},
		{"markup", canary + `<a href="x">&amp;</a>]]>`},
		{"percent", canary + "%s%d%n%41%00"},
		{"shell", canary + "$(id)${HOME}`id`$HOME !! # comment"},
		{"key-like", canary + "?version=1#field"},
		{"assignment", canary + "=x; y = z"},
		{"controls", canary + "\x01\x02\x1b[0m\x7f"},
		{"unicode-composed", canary + "é日本語😀"},
		{"unicode-decomposed", canary + "e\u0301"},
		{"unicode-invisible", canary + "\u200b\u202e\ufeff\u00ad"},
		{"replacement-character", canary + "\ufffd"},
		{"number-leading-zero", "007"},
		{"number-large", "123456789012345678901234567890"},
		{"number-exponent", "1e400"},
		{"number-decimal", "1.50"},
		{"true", "true"},
		{"null", "null"},
		{"json-string", `"` + canary + `"`},
		{"json-array", `[ "` + canary + `" ]`},
		{"json-object", `{ "b" : "` + canary + `" , "a":1.0 }`},
		{"json-broken", `{"password":"` + canary + `"`},
		{"base64", "aGVsbG8gd29ybGQ="},
		{"large", canary + strings.Repeat("0123456789abcdef", 1<<12)[len(canary):]},
	}
}

// cases returns all cases, including those that options add.
func (s *suite) cases() []testCase {
	all := slices.Concat(
		basicCases(), s.valueCases(), s.fieldCases(), absentCases(), manyCases(), contextCases(),
		concurrencyCases(), hostileCases(), closeCases(), infoCases(), resolveCases(), composeCases())
	if s.versions != nil {
		all = append(all, versionCases()...)
	}
	if s.stall != nil {
		all = append(all, stallCases()...)
	}
	return append(all, s.failureCases()...)
}

func basicCases() []testCase {
	return []testCase{
		{"meta/backend", "a program with a fallback must see which backend answered", func(c *check) {
			b := c.backend(nil)
			s, err := c.fetch(c.t.Context(), b, "database")
			c.wantValue("Fetch", s, err, database)
			if got := s.Meta().Backend; got != "" && got != b.Info().Name {
				c.errorf("Meta.Backend is %q; want Info.Name, %q", got, b.Info().Name)
			}
			s, err = c.get(c.t.Context(), c.client(b), "database")
			c.wantValue("Client.Get", s, err, database)
			if got := s.Meta().Backend; got != b.Info().Name {
				c.errorf("through a Client, Meta.Backend is %q; want Info.Name, %q", got, b.Info().Name)
			}
		}},
		{"meta/times", "the age of a cache entry, and what an operator sees, depend on them", func(c *check) {
			before := time.Now()
			s, err := c.get(c.t.Context(), c.client(c.backend(nil)), "database")
			c.wantValue("Client.Get", s, err, database)
			m := s.Meta()
			if m.FetchedAt.Before(before) || m.FetchedAt.After(time.Now()) {
				c.errorf("FetchedAt is not between the start and the end of the call")
			}
			if !m.ExpiresAt.IsZero() && m.ExpiresAt.Before(m.FetchedAt) {
				c.errorf("ExpiresAt is before FetchedAt")
			}
			if m.Stale {
				c.errorf("Stale is set; only a cache may set it")
			}
		}},
		{"meta/version-is-stable", "if the version changes and the value does not, it looks like a rotation", func(c *check) {
			b := c.backend(nil)
			first, err := c.fetch(c.t.Context(), b, "database")
			c.wantValue("the first Fetch", first, err, database)
			second, err := c.fetch(c.t.Context(), b, "database")
			c.wantValue("the second Fetch", second, err, database)
			if first.Meta().Version != second.Meta().Version {
				c.errorf("the version changed, but the value did not")
			}
		}},
		{"value-is-not-shared", "a caller that wipes its copy must not wipe the copies of others", func(c *check) {
			b := c.backend(nil)
			s, err := c.fetch(c.t.Context(), b, "text/plain")
			c.wantValue("Fetch", s, err, plain)
			clear(s.Bytes())
			s, err = c.fetch(c.t.Context(), b, "text/plain")
			c.wantValue("Fetch after the bytes of the first were cleared", s, err, plain)
		}},
	}
}

func stored(key string) string { return standard()[key] }

// wantError records a failure unless err is a Client's error of that class for key.
func (c *check) wantError(b secrets.Backend, key string, err, class error) {
	what := fmt.Sprintf("Client.Get of %q", key)
	c.wantClass(what, err, class)
	if err == nil {
		return
	}
	e, ok := errors.AsType[*secrets.Error](err)
	switch {
	case !ok:
		c.errorf("%s: the error is a %T", what, err)
	case e.Key != key:
		c.errorf("%s: the error has the key %q", what, e.Key)
	case e.Backend != b.Info().Name && class != secrets.ErrInvalidKey:
		c.errorf("%s: the error has the backend %q; want Info.Name, %q", what, e.Backend, b.Info().Name)
	}
}

func (c *check) wantOptional(what string, s secrets.Secret, err error, want string) {
	if err == nil {
		c.wantValue(what, s, nil, want)
	}
}

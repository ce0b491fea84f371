package secretstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// canary is in the content of every document, so that a value is known wherever it shows.
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
	// numbers has those that a float64 can not keep, or not in that form.
	numbers = `{"decimal":1.50,"integer":9007199254740993,"large":123456789012345678901234567890}`
)

// standard returns the documents that every backend under test holds.
func standard() map[string]string {
	return map[string]string{"database": database, "fields": fields, "numbers": numbers, "text/plain": plain, "text/other": other}
}

// values are contents that something between a store and a program likes to change.
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

// cases returns all cases, those that options add included.
func (s *suite) cases() []testCase {
	all := slices.Concat(
		basicCases(), s.valueCases(), s.fieldCases(), absentCases(), batchCases(), contextCases(), concurrencyCases(),
		hostileCases(), closeCases(), resolveCases())
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
		{"name", "errors, spans and Meta tell backends apart by their names", func(c *check) {
			b := c.backend(nil)
			name, local := b.Name(), isLocal(b)
			if name == "" {
				c.errorf("Name is empty")
			}
			if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
				c.errorf("Name %q has spaces or control characters", name)
			}
			_, _ = c.fetch(c.t.Context(), b, "database")
			if again := b.Name(); again != name {
				c.errorf("Name was %q and is %q", name, again)
			}
			if isLocal(b) != local {
				c.errorf("Local was %v and is not any more", local)
			}
		}},
		{"meta/backend", "a program that falls back must see which backend answered", func(c *check) {
			b := c.backend(nil)
			s, err := c.fetch(c.t.Context(), b, "database")
			c.wantValue("Fetch", s, err, database)
			if got := s.Meta().Backend; got != "" && got != b.Name() {
				c.errorf("Meta.Backend is %q, and Name is %q", got, b.Name())
			}
			s, err = c.get(c.t.Context(), c.client(b), "database")
			c.wantValue("Client.Get", s, err, database)
			if got := s.Meta().Backend; got != b.Name() {
				c.errorf("through a Client, Meta.Backend is %q, and Name is %q", got, b.Name())
			}
		}},
		{"meta/times", "the ages of a cache entry, and what an operator sees, come from them", func(c *check) {
			before := time.Now()
			s, err := c.get(c.t.Context(), c.client(c.backend(nil)), "database")
			c.wantValue("Client.Get", s, err, database)
			m := s.Meta()
			if m.FetchedAt.Before(before) || m.FetchedAt.After(time.Now()) {
				c.errorf("FetchedAt is not within the time of the call")
			}
			if !m.ExpiresAt.IsZero() && m.ExpiresAt.Before(m.FetchedAt) {
				c.errorf("ExpiresAt is before FetchedAt")
			}
			if m.Stale {
				c.errorf("Stale is set, which only a cache does")
			}
		}},
		{"meta/version-is-stable", "a version that changes without the value looks like a rotation", func(c *check) {
			b := c.backend(nil)
			first, err := c.fetch(c.t.Context(), b, "database")
			c.wantValue("the first Fetch", first, err, database)
			second, err := c.fetch(c.t.Context(), b, "database")
			c.wantValue("the second Fetch", second, err, database)
			if first.Meta().Version != second.Meta().Version {
				c.errorf("the version changed though the value did not")
			}
		}},
		{"value-is-not-shared", "a caller that wipes its copy must not wipe that of others", func(c *check) {
			b := c.backend(nil)
			s, err := c.fetch(c.t.Context(), b, "text/plain")
			c.wantValue("Fetch", s, err, plain)
			clear(s.Bytes())
			s, err = c.fetch(c.t.Context(), b, "text/plain")
			c.wantValue("Fetch after the bytes of the first were cleared", s, err, plain)
		}},
	}
}

func (s *suite) valueCases() []testCase {
	const why = "a secret that is changed on its way does not open what it should, and nobody sees why"
	value := func(name, path, content string) testCase {
		return testCase{"value/" + name, why, func(c *check) {
			b := c.backend(map[string]string{path: content})
			s, err := c.fetch(c.t.Context(), b, path)
			c.wantValue("Fetch", s, err, content)
			results := c.fetchMany(c.t.Context(), b, "text/other", path)
			c.wantValue("FetchMany", results[1].Secret, results[1].Err, content)
			client := c.client(b)
			s, err = c.get(c.t.Context(), client, path)
			c.wantValue("Client.Get", s, err, content)
			found, err := client.GetMany(c.t.Context(), path)
			c.soundMany(err)
			c.wantValue("Client.GetMany", found[path], err, content)
			has, err := client.Has(c.t.Context(), path)
			if !has || err != nil {
				c.errorf("Client.Has is %v with error %v", has, c.safe(err))
			}
		}}
	}
	all := []testCase{value("object", "database", database), value("object-of-all-kinds", "fields", fields)}
	for _, v := range values() {
		all = append(all, value(v.name, "value-"+v.name+"/value", v.value))
	}
	if !s.floatNumbers {
		all = append(all, value("numbers", "numbers", numbers))
	}
	if !s.withoutEmpty {
		all = append(all, value("empty", "value-empty/value", ""))
	}
	if !s.objectsOnly {
		for _, v := range values() {
			all = append(all, value("document-"+v.name, "document-"+v.name, v.value))
		}
		all = append(all, value("document-key-twice", "document-twice", `{"a":"`+canary+`","a":"second"}`))
	}
	if s.binary {
		every := make([]byte, 256)
		for i := range every {
			every[i] = byte(i)
		}
		binary := canary + "\x00\xff\xfe\xc3\x28\r\n\x00" + string(every)
		all = append(all, value("binary", "document-binary", binary+"\n"), value("binary-newline", "document-newline", canary+"\n\n"))
	}
	return all
}

func (s *suite) fieldCases() []testCase {
	const why = "a field is the exact text that is stored, or an error: a number that went through a float64 is another number"
	found := func(name, key, want string) testCase {
		return testCase{"field/" + name, why, func(c *check) {
			b := c.backend(nil)
			s, err := c.fetch(c.t.Context(), b, key)
			c.wantValue("a direct call", s, err, want)
			s, err = c.get(c.t.Context(), c.client(b), key)
			c.wantValue("Client.Get", s, err, want)
			if s.Meta().Backend != b.Name() {
				c.errorf("Meta.Backend of a field is %q", s.Meta().Backend)
			}
		}}
	}
	absent := func(name, key string, classes ...error) testCase {
		return testCase{"field/" + name, why, func(c *check) {
			b := c.backend(nil)
			_, err := c.fetch(c.t.Context(), b, key)
			c.wantAbsent("a direct call", err, classes...)
			_, err = c.get(c.t.Context(), c.client(b), key)
			c.wantAbsent("Client.Get", err, classes...)
		}}
	}
	var exact []testCase
	if !s.floatNumbers {
		exact = []testCase{
			found("integer-beyond-float64", "numbers#integer", "9007199254740993"),
			found("integer-beyond-64-bits", "numbers#large", "123456789012345678901234567890"),
			found("decimal-with-zero", "numbers#decimal", "1.50"),
		}
	}
	return append(exact, []testCase{
		found("string", "database#password", password),
		found("number", "database#port", "5432"),
		found("true", "fields#true", "true"),
		found("false", "fields#false", "false"),
		found("empty-string", "fields#empty", ""),
		found("escapes", "fields#escaped", canary+"\n\"\\é"),
		found("object", "fields#nested", `{"deep":{"value":"`+canary+`-deep"}}`),
		found("array", "fields#array", `["`+canary+`-0","`+canary+`-1"]`),
		found("path-into-object", "fields#nested.deep.value", canary+"-deep"),
		found("path-into-array", "fields#array.1", canary+"-1"),
		found("key-with-dot", "fields#dotted.key", canary+"-dotted"),
		found("unicode-key", "fields#ключ", canary+"-ключ"),
		found("whole", "database#", database),
		absent("null", "fields#null", secrets.ErrFieldNotFound),
		absent("missing", "database#missing", secrets.ErrFieldNotFound),
		absent("missing-in-path", "fields#nested.deep.missing", secrets.ErrFieldNotFound),
		absent("beyond-array", "fields#array.2", secrets.ErrFieldNotFound),
		absent("other-case", "database#Password", secrets.ErrFieldNotFound),
		// A backend may take the path of a text for a secret and a field of it, and then finds no such secret.
		absent("of-text", "text/plain#field", secrets.ErrMalformed, secrets.ErrNotFound, secrets.ErrFieldNotFound),
		absent("of-missing-document", "missing#field", secrets.ErrNotFound),
		{"field/one-document", "a user and a password must come from one version", func(c *check) {
			client := c.client(c.backend(nil))
			got, err := client.GetMany(c.t.Context(), "database#user", "database#password", "database")
			c.wantValue("database#user", got["database#user"], err, user)
			c.wantValue("database#password", got["database#password"], err, password)
			c.wantValue("database", got["database"], err, database)
			if got["database#user"].Meta().Version != got["database#password"].Meta().Version {
				c.errorf("two fields of one document have two versions")
			}
		}},
		{"field/document-of-its-own", "where a#b is stored as a/b, it is that value or not found, and never another", func(c *check) {
			s, err := c.get(c.t.Context(), c.client(c.backend(nil)), "text#plain")
			if err == nil {
				c.wantValue("text#plain", s, nil, plain)
			} else {
				c.wantAbsent("text#plain", err, secrets.ErrNotFound)
			}
		}},
		{"field/whole-of-text", "a/b# is the document a/b, or there is none: never a field of another one", func(c *check) {
			s, err := c.get(c.t.Context(), c.client(c.backend(nil)), "text/plain#")
			if err == nil {
				c.wantValue("text/plain#", s, nil, plain)
			} else {
				c.wantAbsent("text/plain#", err, secrets.ErrNotFound)
			}
		}},
	}...)
}

func absentCases() []testCase {
	const why = "GetOr takes the default, Has says no and a fallback goes on if an error is ErrNotFound, and only then"
	missing := []string{"missing", "missing/value", "database-2", "databas", "DATABASE-MISSING", "missing.json"}
	return []testCase{
		{"absent/fetch", why, func(c *check) {
			b := c.backend(nil)
			for _, key := range missing {
				_, err := c.fetch(c.t.Context(), b, key)
				c.wantClass(fmt.Sprintf("Fetch of %q", key), err, secrets.ErrNotFound)
			}
		}},
		{"absent/fetch-many", why, func(c *check) {
			for i, r := range c.fetchMany(c.t.Context(), c.backend(nil), missing...) {
				c.wantClass(fmt.Sprintf("FetchMany, the answer to %q", missing[i]), r.Err, secrets.ErrNotFound)
			}
		}},
		{"absent/client", "an error says which backend failed on which key", func(c *check) {
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
		{"absent/version", "a pinned version that does not exist must not be answered with the current value", func(c *check) {
			b := c.backend(nil)
			for _, key := range []string{"database?version=no-such-version", "text/plain?version=no-such-version"} {
				_, err := c.fetch(c.t.Context(), b, key)
				c.wantAbsent("Fetch of "+key, err, secrets.ErrNotFound, secrets.ErrInvalidKey)
				r := c.fetchMany(c.t.Context(), b, "text/other", key)
				c.wantAbsent("FetchMany of "+key, r[1].Err, secrets.ErrNotFound, secrets.ErrInvalidKey)
			}
		}},
		{"absent/after-found", "an answer of before must not stand in", func(c *check) {
			b := c.backend(nil)
			s, err := c.fetch(c.t.Context(), b, "database")
			c.wantValue("Fetch", s, err, database)
			_, err = c.fetch(c.t.Context(), b, "missing")
			c.wantClass("Fetch", err, secrets.ErrNotFound)
		}},
	}
}

// wantError notes a failure unless err is a Client's error of that class for key.
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
	case e.Backend != b.Name() && class != secrets.ErrInvalidKey: //nolint:errorlint // the sentinel itself is meant
		c.errorf("%s: the error has the backend %q, and Name is %q", what, e.Backend, b.Name())
	}
}

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
				if secrets.Class(err) != secrets.Class(r.Err) { //nolint:errorlint // Class returns the sentinels themselves
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

// wantEnded notes a failure unless an answer under a ctx that is done is right: the value, or an error that the Client
// takes for the end of ctx.
func (c *check) wantEnded(what string, b secrets.Backend, s secrets.Secret, err error, want string) {
	if err == nil {
		if !isLocal(b) {
			c.errorf("%s: an answer although ctx is done; only a backend that is Local may give one", what)
		}
		c.wantValue(what, s, nil, want)
		return
	}
	if class := secrets.Class(err); class != secrets.ErrUnavailable && class != secrets.ErrUnknown { //nolint:errorlint // as above
		c.errorf("%s: ctx is done, and the error is %v; want the error of ctx", what, c.safe(err))
	}
}

func contextCases() []testCase {
	const why = "a caller that gave up must be let go, and its end must not be told as a fact about the secret"
	ended := func(name string, want error, end func(ctx context.Context) (context.Context, context.CancelFunc)) []testCase {
		return []testCase{
			{"context/" + name + "/fetch", why, func(c *check) {
				b := c.backend(nil)
				ctx, cancel := end(c.t.Context())
				defer cancel()
				for _, key := range []string{"database", "text/plain"} {
					s, err := c.fetch(ctx, b, key)
					c.wantEnded("Fetch of "+key, b, s, err, stored(key))
				}
			}},
			{"context/" + name + "/fetch-many", why, func(c *check) {
				b := c.backend(nil)
				ctx, cancel := end(c.t.Context())
				defer cancel()
				keys := []string{"database", "text/plain", "text/other"}
				for i, r := range c.fetchMany(ctx, b, keys...) {
					c.wantEnded("FetchMany of "+keys[i], b, r.Secret, r.Err, stored(keys[i]))
				}
			}},
			{"context/" + name + "/client", why, func(c *check) {
				client := c.client(c.backend(nil))
				ctx, cancel := end(c.t.Context())
				defer cancel()
				_, err := c.get(ctx, client, "database")
				if err != want { //nolint:errorlint // the error itself is promised
					c.errorf("Client.Get: %v; want %v itself", c.safe(err), want)
				}
			}},
			{"context/" + name + "/next-call", "one caller's end must not fail another", func(c *check) {
				b := c.backend(nil)
				for range 3 {
					ctx, cancel := end(c.t.Context())
					_, _ = c.fetch(ctx, b, "database")
					_ = c.fetchMany(ctx, b, "database", "text/plain")
					cancel()
					s, err := c.fetch(c.t.Context(), b, "database")
					c.wantValue("Fetch after one whose ctx was done", s, err, database)
					r := c.fetchMany(c.t.Context(), b, "text/plain")
					c.wantValue("FetchMany after one whose ctx was done", r[0].Secret, r[0].Err, plain)
				}
			}},
		}
	}
	return slices.Concat(
		ended("cancelled", context.Canceled, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		}),
		ended("deadline-past", context.DeadlineExceeded, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithDeadline(ctx, time.Now().Add(-time.Second))
		}),
		[]testCase{{"context/cancelled-on-the-way", why, func(c *check) {
			client := c.client(c.backend(nil), secrets.WithBackendMiddleware(secrets.Intercept(
				func(ctx context.Context, refs []secrets.Ref, next func(context.Context, []secrets.Ref) []secrets.Result) []secrets.Result {
					cancel, _ := ctx.Value(cancelKey{}).(context.CancelFunc)
					cancel()
					return next(ctx, refs)
				})))
			for range 10 { // whether the answer or the end of ctx is seen first is left to chance
				ctx, cancel := context.WithCancel(c.t.Context())
				s, err := c.get(context.WithValue(ctx, cancelKey{}, cancel), client, "database")
				cancel()
				if err == nil {
					c.wantValue("Client.Get", s, nil, database)
				} else if err != context.Canceled { //nolint:errorlint // the error itself is promised
					c.errorf("Client.Get: %v; want %v itself", c.safe(err), context.Canceled)
				}
			}
		}}})
}

func isLocal(b secrets.Backend) bool {
	l, ok := b.(interface{ Local() bool })
	return ok && l.Local()
}

type cancelKey struct{}

func stored(key string) string { return standard()[key] }

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

func closeCases() []testCase {
	const why = "a Client closes its backend, and a program may close both"
	return []testCase{
		{"close/twice", why, func(c *check) {
			b := c.backend(nil)
			_, _ = c.fetch(c.t.Context(), b, "database")
			if closer, ok := b.(io.Closer); ok {
				for i := range 3 {
					c.do("Close", func() {
						if err := closer.Close(); err != nil {
							c.errorf("call %d of Close: %v", i+1, c.safe(err))
						}
					})
				}
			}
		}},
		{"close/unused", why, func(c *check) {
			if closer, ok := c.backend(nil).(io.Closer); ok {
				c.do("Close", func() {
					if err := closer.Close(); err != nil {
						c.errorf("Close of a backend that was not used: %v", c.safe(err))
					}
				})
			}
		}},
		{"close/concurrently", why, func(c *check) {
			b := c.backend(nil)
			c.do("Close beside Fetch", func() {
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() {
						if fault := c.bounded(func() {
							doc, _ := locate(b, parse("database"))
							s, err := b.Fetch(c.t.Context(), doc)
							if r := c.sound(c.t.Context(), "Fetch beside Close", secrets.Result{Secret: s, Err: err}); r.Err == nil {
								c.wantValue("Fetch beside Close", r.Secret, nil, database)
							} else if errors.Is(r.Err, secrets.ErrNotFound) {
								c.errorf("Fetch beside Close: %v; a backend that is closed knows nothing of absence", c.safe(r.Err))
							}
						}); fault != "" {
							c.errorf("Fetch beside Close: %s", fault)
						}
					})
					if closer, ok := b.(io.Closer); ok {
						wg.Go(func() {
							if fault := c.bounded(func() { _ = closer.Close() }); fault != "" {
								c.errorf("Close, concurrently: %s", fault)
							}
						})
					}
				}
				wg.Wait()
			})
		}},
		{"close/calls-after", "a late call gets an error or the value, and no panic", func(c *check) {
			b := c.backend(nil)
			closer, ok := b.(io.Closer)
			if !ok {
				return
			}
			c.do("Close", func() { _ = closer.Close() })
			s, err := c.fetch(c.t.Context(), b, "database")
			results := append(c.fetchMany(c.t.Context(), b, "text/plain", "database"), secrets.Result{Secret: s, Err: err})
			for _, r := range results {
				if errors.Is(r.Err, secrets.ErrNotFound) {
					c.errorf("a call after Close: %v; a backend that is closed knows nothing of absence", c.safe(r.Err))
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

func (c *check) wantOptional(what string, s secrets.Secret, err error, want string) {
	if err == nil {
		c.wantValue(what, s, nil, want)
	}
}

func resolveCases() []testCase {
	const why = "Resolve decides which document a key means, and the cache and Invalidate go by it"
	with := func(name string, run func(c *check, b secrets.Backend, resolve func(secrets.Ref) secrets.Ref)) testCase {
		return testCase{"resolve/" + name, why, func(c *check) {
			b := c.backend(nil)
			if r, ok := b.(secrets.Resolver); ok {
				run(c, b, r.Resolve)
			}
		}}
	}
	good := []secrets.Ref{
		{Path: "database"},
		{Path: "database", Field: "password"},
		{Path: "database", Field: "missing"},
		{Path: "database", Version: "1"},
		{Path: "database", Field: "password", Version: "1"},
		{Path: "text/plain"},
		{Path: "text", Field: "plain"},
		{Path: "text/plain", Field: "x"},
		{Path: "missing/value", Version: "v"},
		{Path: "a/b/c/d"},
	}
	return []testCase{
		with("idempotent", func(c *check, _ secrets.Backend, resolve func(secrets.Ref) secrets.Ref) {
			for _, ref := range good {
				c.do("Resolve", func() {
					once := resolve(ref)
					if twice := resolve(once); twice != once {
						c.errorf("Resolve of %q is %q, and Resolve of that is %q", ref, once, twice)
					}
				})
			}
		}),
		with("keeps-version", func(c *check, _ secrets.Backend, resolve func(secrets.Ref) secrets.Ref) {
			for _, ref := range good {
				c.do("Resolve", func() {
					if got := resolve(ref).Version; got != ref.Version {
						c.errorf("Resolve of %q changes the version to %q", ref, got)
					}
				})
			}
		}),
		with("stays-valid", func(c *check, _ secrets.Backend, resolve func(secrets.Ref) secrets.Ref) {
			for _, ref := range good {
				c.do("Resolve", func() {
					got := resolve(ref)
					if _, err := secrets.ParseRef(got.String()); err != nil {
						c.errorf("Resolve makes of %q what is no valid key: %v", ref, err)
					}
				})
			}
		}),
		with("whole", func(c *check, _ secrets.Backend, resolve func(secrets.Ref) secrets.Ref) {
			for _, path := range []string{"database", "text/plain", "a/b/c"} {
				c.do("Resolve", func() {
					if got := resolve(secrets.Ref{Path: path, Whole: true}); got.Field != "" {
						c.errorf("Resolve of %q, a whole document, selects the field %q", path+"#", got.Field)
					}
				})
			}
		}),
		with("hostile", func(c *check, _ secrets.Backend, resolve func(secrets.Ref) secrets.Ref) {
			for _, ref := range hostileRefs() {
				c.do("Resolve of "+shortRef(ref), func() {
					resolve(ref)
					resolve(secrets.Ref{Path: ref.Path, Field: ref.Path, Version: ref.Version})
					resolve(secrets.Ref{Path: ref.Path, Field: ref.Path, Whole: true})
				})
			}
		}),
	}
}

func versionCases() []testCase {
	const why = "who pins a version gets that version, or an error"
	with := func(name string, run func(c *check, b secrets.Backend, path string, versions map[string]string)) testCase {
		return testCase{"version/" + name, why, func(c *check) {
			b, path, versions := c.versions(c.t)
			if len(versions) < 2 { //nolint:mnd // one version can not be told from the current one
				c.fatalf("the setup of WithVersions has %d versions; want several", len(versions))
			}
			run(c, c.own(b), path, versions)
		}}
	}
	pin := func(path, version string) string { return path + "?version=" + version }
	return []testCase{
		with("pinned", func(c *check, b secrets.Backend, path string, versions map[string]string) {
			for version, content := range versions {
				s, err := c.fetch(c.t.Context(), b, pin(path, version))
				c.wantValue("Fetch of "+pin(path, version), s, err, content)
			}
		}),
		with("batch", func(c *check, b secrets.Backend, path string, versions map[string]string) {
			var keys []string
			for version := range versions {
				keys = append(keys, pin(path, version))
			}
			for i, r := range c.fetchMany(c.t.Context(), b, keys...) {
				c.wantValue("FetchMany of "+keys[i], r.Secret, r.Err, versions[strings.TrimPrefix(keys[i], path+"?version=")])
			}
		}),
		with("client", func(c *check, b secrets.Backend, path string, versions map[string]string) {
			client := c.client(b)
			for version, content := range versions {
				s, err := c.get(c.t.Context(), client, pin(path, version))
				c.wantValue("Client.Get of "+pin(path, version), s, err, content)
			}
		}),
		with("meta", func(c *check, b secrets.Backend, path string, versions map[string]string) {
			names := make(map[string]string)
			for version := range versions {
				s, err := c.fetch(c.t.Context(), b, pin(path, version))
				if err != nil {
					c.errorf("Fetch of %s: %v", pin(path, version), c.safe(err))
					continue
				}
				name := s.Meta().Version
				if name == "" {
					c.errorf("Fetch of %s: Meta.Version is empty", pin(path, version))
				} else if was, twice := names[name]; twice {
					c.errorf("two versions, %s and %s, have the same Meta.Version", was, version)
				}
				names[name] = version
			}
		}),
		with("current", func(c *check, b secrets.Backend, path string, versions map[string]string) {
			s, err := c.fetch(c.t.Context(), b, path)
			if err != nil {
				c.fatalf("Fetch of the current version: %v", c.safe(err))
			}
			if s.Meta().Version == "" {
				c.errorf("Meta.Version of the current version is empty")
			}
			if !slices.Contains(slices.Collect(maps.Values(versions)), s.Reveal()) {
				c.errorf("the current value is none of the versions")
			}
		}),
		with("unknown", func(c *check, b secrets.Backend, path string, _ map[string]string) {
			_, err := c.fetch(c.t.Context(), b, pin(path, "999999"))
			c.wantAbsent("Fetch of a version that is not there", err, secrets.ErrNotFound, secrets.ErrDeleted, secrets.ErrInvalidKey)
		}),
	}
}

func stallCases() []testCase {
	const why = "a backend that hangs must not hang its callers"
	const soon = 20 * time.Millisecond
	with := func(name string, run func(c *check, ctx context.Context, b secrets.Backend, key string)) testCase {
		return testCase{"stall/" + name, why, func(c *check) {
			b, key := c.stall(c.t)
			ctx, cancel := context.WithTimeout(c.t.Context(), soon)
			defer cancel()
			run(c, ctx, c.own(b), key)
			if ctx.Err() == nil {
				c.errorf("the setup of WithStall has a backend that answers")
			}
		}}
	}
	return []testCase{
		with("fetch", func(c *check, ctx context.Context, b secrets.Backend, key string) {
			_, err := c.fetch(ctx, b, key)
			c.wantAbsent("Fetch", err, secrets.ErrUnavailable)
		}),
		with("fetch-many", func(c *check, ctx context.Context, b secrets.Backend, key string) {
			for _, r := range c.fetchMany(ctx, b, key, key) {
				c.wantAbsent("FetchMany", r.Err, secrets.ErrUnavailable)
			}
		}),
		with("client", func(c *check, ctx context.Context, b secrets.Backend, key string) {
			_, err := c.get(ctx, c.client(b), key)
			if err != context.DeadlineExceeded { //nolint:errorlint // the error itself is promised
				c.errorf("Client.Get: %v; want %v itself", c.safe(err), context.DeadlineExceeded)
			}
		}),
		with("timeout", func(c *check, ctx context.Context, b secrets.Backend, key string) {
			_, err := c.get(c.t.Context(), c.client(b, secrets.WithTimeout(soon)), key)
			c.wantClass("Client.Get beyond the Client's own timeout", err, secrets.ErrUnavailable)
			<-ctx.Done()
		}),
	}
}

func (s *suite) failureCases() []testCase {
	const why = "what a Client does next (default, fallback, stale value, or stop) goes by the class of the error"
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
					return // only a Client answers for it
				}
				_, err := c.fetch(c.t.Context(), b, key)
				c.wantClass("Fetch", err, f.class)
			}),
			with("fetch-many", func(c *check, b secrets.Backend, key string) {
				if _, err := secrets.ParseRef(key); err != nil {
					return
				}
				for _, r := range c.fetchMany(c.t.Context(), b, key, key) {
					c.wantClass("FetchMany", r.Err, f.class)
				}
			}),
			with("client", func(c *check, b secrets.Backend, key string) {
				_, err := c.get(c.t.Context(), c.client(b), key)
				c.wantError(b, key, err, f.class)
			}),
			with("client-many", func(c *check, b secrets.Backend, key string) {
				found, err := c.client(b).GetMany(c.t.Context(), key)
				c.soundMany(err)
				c.wantClass("Client.GetMany", err, f.class)
				if len(found) != 0 {
					c.errorf("Client.GetMany found %d", len(found))
				}
			}),
			with("has-and-get-or", func(c *check, b secrets.Backend, key string) {
				client := c.client(b)
				has, err := client.Has(c.t.Context(), key)
				c.soundError(c.t.Context(), "Client.Has", err)
				if has || (err == nil) != absent {
					c.errorf("Client.Has is %v with error %v", has, c.safe(err))
				}
				s, err := client.GetOr(c.t.Context(), key, "default")
				c.soundError(c.t.Context(), "Client.GetOr", err)
				if absent {
					c.wantValue("Client.GetOr", s, err, "default")
				} else {
					c.wantClass("Client.GetOr", err, f.class)
				}
			}))
	}
	return all
}

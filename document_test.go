package secrets_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

func TestResolve(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	backend := newFake("m/a", `{"b":"1","c":"2"}`, "m/a/b", "file").resolvedBy(func(ref secrets.Ref) secrets.Ref {
		dir, last, found := strings.Cut(ref.Path, "/")
		if ref.Field != "" || ref.Whole || !found {
			ref.Path = "m/" + ref.Path
			return ref
		}
		return secrets.Ref{Path: "m/" + dir, Field: last, Version: ref.Version, Whole: true} // Whole has no effect here
	})
	client := open(t, backend, secrets.WithMiddleware(tr.middleware("user")), secrets.WithCache(tr.cache()))
	for key, want := range map[string]string{
		"a": `{"b":"1","c":"2"}`, "a/b": "1", "a#b": "1", "a/b#": "file", "a/c?version=9": "2",
	} {
		s, err := client.Get(t.Context(), key)
		is.NoErr(err)
		is.Equal(s.Reveal(), want)
	}
	tr.take()
	// Keys that mean the same document share it, however they are written.
	found, err := client.GetMany(t.Context(), "a", "a/b", "a#b", "a/c", "a#")
	is.NoErr(err)
	is.Equal(len(found), 5)
	is.Equal(tr.count(), map[string]int{"user": 5, "read": 1, "fill": 1})
	client.Invalidate("a/b", "a#c", "a/b#", "bad//key", "a?version=3")
	is.Equal(tr.take(), "forget [m/a m/a m/a/b m/a?version=3]")
}

// The texts that a caller sees from end to end.
func TestErrorTextOfAClient(t *testing.T) {
	backend := named("vault", "doc", `{"a":null}`, "text", "no JSON", "mount/in", "{}")
	client := open(t, backend.resolvedBy(func(ref secrets.Ref) secrets.Ref {
		switch {
		case ref.Path == "elsewhere" && ref.Field != "":
			return secrets.Ref{Path: "elsewhere_" + ref.Field}
		case ref.Field == "" && !ref.Whole && strings.Contains(ref.Path, "/"):
			dir, last, _ := strings.Cut(ref.Path, "/")
			return secrets.Ref{Path: "mount/" + dir, Field: last, Version: ref.Version}
		}
		return ref
	}))
	for key, want := range map[string]string{
		"none":   "secrets: vault: none: not found",
		"doc#b":  "secrets: vault: doc#b: field not found: the document has no field b; its one field is a",
		"doc#a":  "secrets: vault: doc#a: field not found: the field a is null",
		"text#a": "secrets: vault: text#a: malformed: the document is not JSON, or not JSON alone",
		"a//b": "secrets: a//b: invalid key: the path has an empty segment; " +
			"if that is a name in AWS, use its ARN or awssm.WithPrefix, which may hold the slashes",
		"a\nb":      `secrets: "a\nb": invalid key: the key has a control, format or line-separator character`,
		"team/db":   "secrets: vault: team/db: not found: field db of mount/team; the whole secret is team/db#",
		"team/db#":  "secrets: vault: team/db#: not found",
		"team/db#f": "secrets: vault: team/db#f: not found",
		"in/x": "secrets: vault: in/x: field not found: the document has no field x; it has none; " +
			"field x of mount/in; the whole secret is in/x#",
		"t/x?version=3":  "secrets: vault: t/x?version=3: not found: field x of mount/t; the whole secret is t/x?version=3#",
		"elsewhere#pass": "secrets: vault: elsewhere#pass: not found: it looked for elsewhere_pass",
	} {
		t.Run(key, func(t *testing.T) {
			is := is.New(t)
			_, err := client.Get(t.Context(), key)
			is.Equal(err.Error(), want)
			_, err = client.GetMany(t.Context(), key)
			is.Equal(err.Error(), want)
		})
	}
}

// The error of a missing or denied secret says where the backend looked. In an outage
// that would mislead.
func TestErrorsNameThePlaceOfASecret(t *testing.T) {
	for class, want := range map[error]string{
		secrets.ErrNotFound:         "secrets: fake: a/b: not found: why; field y of x; the whole secret is a/b#",
		secrets.ErrPermissionDenied: "secrets: fake: a/b: permission denied: why; field y of x; the whole secret is a/b#",
		secrets.ErrUnauthenticated:  "secrets: fake: a/b: not authenticated: why",
		secrets.ErrUnavailable:      "secrets: fake: a/b: unavailable: why",
		secrets.ErrUnknown:          "secrets: fake: a/b: unknown failure: why",
	} {
		is := is.New(t)
		backend := failing(returns(&secrets.Error{Err: class, Detail: "why"}))
		client := open(t, backend.resolvedBy(func(secrets.Ref) secrets.Ref { return secrets.Ref{Path: "x", Field: "y"} }))
		_, err := client.Get(t.Context(), "a/b")
		is.Equal(err.Error(), want)
	}
}

// hinting returns b with an Info.Hint.
func hinting(b *fake, hint func(secrets.Ref) string) *fake {
	b.info.Hint = hint
	return b
}

func TestHintIsCalledForMissingFields(t *testing.T) {
	is := is.New(t)
	hint := func(ref secrets.Ref) string { return ref.Field + " could be elsewhere" }
	client := open(t, hinting(newFake("doc", "{}", "text", "no JSON"), hint))
	for key, want := range map[string]string{
		"none":   "secrets: fake: none: not found",
		"none#a": "secrets: fake: none#a: not found: a could be elsewhere",
		"doc#a":  "secrets: fake: doc#a: field not found: the document has no field a; it has none; a could be elsewhere",
		"text#a": "secrets: fake: text#a: malformed: the document is not JSON, or not JSON alone; a could be elsewhere",
	} {
		_, err := client.Get(t.Context(), key)
		is.Equal(err.Error(), want)
	}

	client = open(t, hinting(failing(returns(secrets.ErrPermissionDenied)), hint))
	_, err := client.Get(t.Context(), "doc#a")
	is.Equal(err.Error(), "secrets: fake: doc#a: permission denied")

	client = open(t, hinting(newFake(), func(secrets.Ref) string { panic("s3cr3t") }))
	_, err = client.Get(t.Context(), "doc#a")
	is.Equal(err.Error(), "secrets: fake: doc#a: not found") // the failure without the hint
}

// Many fields of one large document are parsed once.
func TestManyFieldsOfALargeDocument(t *testing.T) {
	is := is.New(t)
	var document strings.Builder
	var keys []string
	for i := range 2000 {
		name := "f" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26)
		document.WriteString(`,"` + name + `":{"in":["` + name + `"]}`)
		if len(name) < 400 {
			keys = append(keys, "db#"+name+".in.0")
		}
	}
	client := open(t, newFake("db", "{"+document.String()[1:]+"}"))
	found, err := client.GetMany(t.Context(), keys...)
	is.NoErr(err)
	is.Equal(len(found), len(keys))
	for key, s := range found {
		is.Equal("db#"+s.Reveal()+".in.0", key)
	}
}

// Fields of a document in memory are parsed once, also by Memorize.
func TestManyFieldsOfALargeDocumentInMemory(t *testing.T) {
	is := is.New(t)
	var document strings.Builder
	var fields []string
	for i := range 20_000 {
		fmt.Fprintf(&document, `,"f%d":"%s"`, i, strings.Repeat("x", 40))
		if i%25 == 0 {
			fields = append(fields, fmt.Sprintf("db#f%d", i))
		}
	}
	backend := newFake("db", "{"+document.String()[1:]+"}")
	client := open(t, backend, secrets.WithCache(cache.New()))
	allocated := func(keys ...string) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		found, err := client.GetMany(t.Context(), keys...)
		runtime.ReadMemStats(&after)
		is.NoErr(err)
		is.Equal(len(found), len(keys))
		return after.TotalAlloc - before.TotalAlloc
	}
	allocated("db") // in memory from here on
	one, many := allocated("db#f1", "db#f2"), allocated(fields...)
	is.Equal(backend.calls.Load(), int64(1))
	is.True(one > 100_000) // the control: a parse shows in the numbers
	if many > 8*one {
		t.Errorf("%d fields took %d bytes, and two %d", len(fields), many, one)
	}
}

package secrets

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// wide returns a document with that many fields of size bytes each.
func wide(fields, size int) string {
	members := make([]string, fields)
	for i := range members {
		members[i] = fmt.Sprintf(`"field-%d":"%s"`, i, strings.Repeat("x", size))
	}
	return "{" + strings.Join(members, ",") + "}"
}

func TestALargeDocumentIsParsedOnceForAllFields(t *testing.T) {
	is := is.New(t)
	s := NewSecret(wide(800, 1024), Meta{Version: "1"})
	first := s.parse()
	is.True(s.parse() == first)
	field, err := s.Field("field-7")
	is.NoErr(err)
	is.True(s.parse() == first)
	is.True(field.parse() != first) // it has the Meta of the document, and a text of its own
	is.True(s.parse() != first)     // it replaces the shared parse, which is of one text
	other := s.withMeta(Meta{})
	is.True(other.parse() != s.parse())
	runtime.KeepAlive(first)

	small := NewSecret(`{"user":"app"}`, Meta{}) // the control: a small document is not shared
	once := small.parse()
	is.True(small.parse() != once)
}

// A parsed document may take more memory than its text. It is collected when it is not in use.
func TestParsedDocumentsAreNotKept(t *testing.T) {
	is := is.New(t)
	s := NewSecret(wide(800, 1024), Meta{})
	first := s.parse()
	is.True(s.meta.parsed.Load().Value() == first)
	runtime.KeepAlive(first)
	first = nil
	for range 10 {
		runtime.GC()
	}
	is.True(s.meta.parsed.Load().Value() == first)
}

// A GetMany of many fields of one document checks its context between fields.
func TestFieldsObeyTheContext(t *testing.T) {
	is := is.New(t)
	s := NewSecret(wide(800, 1024), Meta{})
	ctx, cancel := context.WithCancel(t.Context())
	client, err := New(NewBackend(Info{Name: "wide", Nonblocking: true, Local: true, Resolve: func(ref Ref) Ref {
		if ref.Field == "field-400" {
			cancel()
		}
		return ref
	}}, func(context.Context, Ref) (Secret, error) { return s, nil }))
	is.NoErr(err)
	var keys []string
	for i := range 800 {
		keys = append(keys, fmt.Sprintf("db#field-%d", i))
	}
	found, err := client.GetMany(ctx, keys...)
	is.Equal(len(found), 400)
	all, ok := errors.AsType[Errors](err)
	is.True(ok)
	is.Equal(len(all), 400)
	for _, e := range all {
		is.Equal(Class(e), context.Canceled)
	}
	found, err = client.GetMany(t.Context(), keys...) // the control
	is.NoErr(err)
	is.Equal(len(found), 800)
	is.NoErr(client.Close())
}

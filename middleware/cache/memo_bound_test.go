package cache_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
)

// wide returns a document of that many fields, f0 to f<fields-1>, each with a value of that many bytes.
func wide(fields, size int) string {
	var b strings.Builder
	for i := range fields {
		fmt.Fprintf(&b, `,"f%d":%q`, i, strings.Repeat("x", size)+fmt.Sprint(i))
	}
	return "{" + b.String()[1:] + "}"
}

// Recall has the fields of a large document, and of one with a lease.
func TestMemosOfFields(t *testing.T) {
	for name, c := range map[string]struct {
		info  secrets.Info
		lease time.Duration
		size  int // of a field
		ends  time.Duration
	}{
		"small":                           {size: 10, ends: 5 * time.Minute},
		"1 MB":                            {size: 10_000, ends: 5 * time.Minute},
		"with a lease":                    {size: 10, lease: time.Minute, ends: time.Minute},
		"1 MB with a lease":               {size: 10_000, lease: time.Minute, ends: time.Minute},
		"of a backend that makes leases":  {size: 10, lease: time.Hour, ends: time.Hour, info: secrets.Info{Leases: true}},
		"1 MB of one that makes leases":   {size: 10_000, lease: time.Hour, ends: time.Hour, info: secrets.Info{Leases: true}},
		"of a lease longer than the TTL":  {size: 10, lease: time.Hour, ends: 5 * time.Minute},
		"of one that makes none, forever": {size: 10, info: secrets.Info{Leases: true}, ends: 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				document := wide(100, c.size)
				calls := 0
				c.info.Name = "wide"
				backend := secrets.NewBackend(c.info, func(context.Context, secrets.Ref) (secrets.Secret, error) {
					calls++
					var meta secrets.Meta
					if c.lease > 0 {
						meta.ExpiresAt = time.Now().Add(c.lease)
					}
					return secrets.NewSecret(document, meta), nil
				})
				client := newClient(t, backend, secrets.WithCache(cache.New(exact, cache.WithRefreshAhead(0))),
					secrets.WithDedup(dedup.New()))
				read := func(field int) {
					s, err := client.Get(t.Context(), fmt.Sprintf("db#f%d", field))
					is.NoErr(err)
					is.True(strings.HasSuffix(s.Reveal(), "x"+fmt.Sprint(field)))
				}
				began := time.Now()
				for field := range 60 {
					read(field)
				}
				is.True(testing.AllocsPerRun(10, func() { read(7) }) <= 10) // of the format: no search in the document
				until(began, c.ends-1)
				before := calls
				for field := range 60 {
					read(field)
				}
				is.Equal(calls, before)
				is.Equal(calls, 1)
				until(began, c.ends)
				read(7) // never from memory
				is.Equal(calls, 2)
			})
		})
	}
}

// TestMemosAreBounded makes more memos than the limit of 64 for each document that the cache may hold.
func TestMemosAreBounded(t *testing.T) {
	const size, bound = 3, 3 * 64
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := cache.New(exact, cache.WithSize(size))
		document := fetchFunc(func(context.Context, secrets.Ref) (secrets.Secret, error) {
			return secrets.NewSecret(wide(500, 1), secrets.Meta{ExpiresAt: time.Now().Add(time.Minute)}), nil
		})
		layer, other := newLayer(memory, document), newLayer(memory, document)
		// known makes a memo of each field, and returns how many memos there are.
		known := func(l secrets.Cache, path string) (n int) {
			_, err := l.Fetch(t.Context(), secrets.Ref{Path: path})
			is.NoErr(err)
			for i := range 500 {
				field := fmt.Sprintf("f%d", i)
				for range 2 { // the second changes nothing
					l.Memorize(path+"#"+field, secrets.Ref{Path: path}, field)
				}
			}
			for i := range 500 {
				if _, ok := l.Recall(fmt.Sprintf("%s#f%d", path, i)); ok {
					n++
				}
			}
			return n
		}
		is.Equal(known(layer, "a"), bound)
		is.Equal(known(layer, "b"), 0) // one document may take all
		is.Equal(known(other, "a"), 0) // of all that share the cache
		layer.Invalidate(secrets.Ref{Path: "a"})
		is.Equal(known(other, "a"), bound) // they are released: when it is invalidated,
		memory.Purge()
		is.Equal(known(layer, "a"), bound) // purged,
		_, err := layer.Fetch(withFresh(t.Context()), secrets.Ref{Path: "a"})
		is.NoErr(err)
		is.Equal(known(layer, "b"), bound) // renewed,
		time.Sleep(time.Minute)
		is.Equal(known(layer, "b"), bound) // past its lease,
		for _, path := range []string{"c", "d", "e", "g", "h", "i"} {
			_, err := layer.Fetch(t.Context(), secrets.Ref{Path: path})
			is.NoErr(err)
		}
		is.Equal(known(layer, "f"), bound) // evicted,
		is.NoErr(layer.Close())
		is.Equal(known(other, "a"), bound) // and closed
		is.NoErr(other.Close())
	})
}

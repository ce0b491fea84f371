package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// A fetch gets ErrMalformed. A value whose fetch began before it, and ended after it, is not served stale.
func TestValueOlderThanAMalformedAnswer(t *testing.T) {
	for class, want := range map[error]bool{
		secrets.ErrMalformed: false, secrets.ErrUnknown: false,
		secrets.ErrUnavailable: true, // control
	} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			var calls atomic.Int64
			var down atomic.Bool
			layer := newLayer(cache.New(exact, cache.WithTTL(10*time.Second)),
				fetchFunc(func(context.Context, secrets.Ref) (secrets.Secret, error) {
					n := calls.Add(1)
					switch {
					case down.Load():
						return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, "")
					case n == 1:
						time.Sleep(3 * time.Second)
						return secrets.NewSecret("old", secrets.Meta{}), nil
					default:
						return secrets.Secret{}, secrets.NewError(class, "")
					}
				}))
			go func() { _, _ = layer.Fetch(context.Background(), db) }()
			time.Sleep(time.Second)
			_, err := layer.Fetch(withFresh(t.Context()), db) // it begins after a second, and ends at once
			is.True(errors.Is(err, class))
			time.Sleep(3 * time.Second)
			down.Store(true)
			time.Sleep(time.Minute)
			_, err = layer.Fetch(t.Context(), db)
			is.Equal(err == nil, want)
			is.NoErr(layer.Close())
		})
	}
}

// Keys with any number of fields of a missing document do not evict memos of values.
func TestFieldsOfAMissingDocumentTakeNoMemos(t *testing.T) {
	is := is.New(t)
	layer := newLayer(cache.New(exact, cache.WithSize(2)), fetchFunc(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		if ref.Path == "missing" {
			return secrets.Secret{}, secrets.NewError(secrets.ErrNotFound, "")
		}
		return secrets.NewSecret(`{"user":"app"}`, secrets.Meta{}), nil
	}))
	_, _ = layer.Fetch(t.Context(), secrets.Ref{Path: "missing"})
	for i := range 1000 {
		layer.Memorize(fmt.Sprintf("missing#field-%d", i), secrets.Ref{Path: "missing"}, fmt.Sprintf("field-%d", i))
	}
	_, err := layer.Fetch(t.Context(), db)
	is.NoErr(err)
	layer.Memorize("db#user", db, "user")
	s, known := layer.Recall("db#user")
	is.True(known)
	is.Equal(s.Reveal(), "app")
	_, known = layer.Recall("missing#field-0") // control
	is.True(known)
	_, known = layer.Recall("missing#field-999")
	is.True(!known)
	is.NoErr(layer.Close())
}

// An endpoint that has never answered is no outage if another endpoint has.
func TestOutageOfAMadeUpEndpoint(t *testing.T) {
	is := is.New(t)
	info := secrets.Info{Name: "source", Endpoint: func(ref secrets.Ref) string { return ref.Path[:1] }}
	healthy := true
	below := fetchFunc(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		if ref.Path[0] == 'x' || !healthy {
			return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, "")
		}
		return secrets.NewSecret("value", secrets.Meta{}), nil
	})
	layer := cache.New(exact).NewCache(info, below, func(fill secrets.Fetcher) secrets.Fetcher { return fill })
	for _, path := range []string{"x1", "x2", "x3"} {
		_, _ = layer.Fetch(t.Context(), secrets.Ref{Path: path})
	}
	is.True(layer.Outage()) // no endpoint has answered yet
	for _, path := range []string{"a1", "a2", "a3"} {
		_, err := layer.Fetch(t.Context(), secrets.Ref{Path: path})
		is.NoErr(err)
	}
	is.True(!layer.Outage())
	healthy = false
	for _, path := range []string{"a1", "a2", "a3"} { // control
		_, _ = layer.Fetch(withFresh(t.Context()), secrets.Ref{Path: path})
	}
	is.True(layer.Outage())
	is.NoErr(layer.Close())
}

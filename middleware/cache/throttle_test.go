package cache_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// The server refuses calls because there are too many. That is ErrUnavailable of the document, and no outage.
func TestThrottledFetches(t *testing.T) {
	for name, c := range map[string]struct {
		note func(o *fetchctx.Origin) // records the refusal
		warm bool
		open bool
	}{
		"a call of its own, of documents with values":    {note: (*fetchctx.Origin).Throttle, warm: true},
		"a call of its own, of one that never answered":  {note: (*fetchctx.Origin).Throttle},
		"a batch, of documents with values":              {note: throttleBatch, warm: true},
		"a batch, of one that never answered":            {note: throttleBatch},
		"control: not throttled":                         {note: func(*fetchctx.Origin) {}, warm: true, open: true},
		"control: not throttled, and has never answered": {note: func(*fetchctx.Origin) {}, open: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var refuses atomic.Bool
				var calls atomic.Int64
				layer := newLayer(cache.New(exact), fetchFunc(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
					calls.Add(1)
					if !refuses.Load() {
						return secrets.NewSecret("value", secrets.Meta{}), nil
					}
					c.note(fetchctx.Of(ctx).Origin)
					return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, "too many requests")
				}))
				if c.warm {
					fetchAll(t.Context(), layer, several("", 10)...)
				}
				refuses.Store(true)
				for n := range 10 {
					is.Equal(layer.Outage(), c.open && n >= 3)
					is.True(isUnavailable(layer.Fetch(withFresh(t.Context()), secrets.Ref{Path: fmt.Sprint(n)})))
				}

				calls.Store(0) // the back-off of a document still holds
				is.True(isUnavailable(layer.Fetch(t.Context(), secrets.Ref{Path: "cold"})))
				for range 10 {
					is.True(isUnavailable(layer.Fetch(t.Context(), secrets.Ref{Path: "cold"})))
				}
				want := int64(1)
				if c.open {
					want = 0
				}
				is.Equal(calls.Load(), want)
				is.NoErr(layer.Close())
			})
		})
	}
}

// throttleBatch records that a call for several documents was refused, as a Batcher does.
func throttleBatch(o *fetchctx.Origin) {
	b := newCall(2)
	o.Set(b)
	b.Origin.Throttle()
}

// A throttled probe keeps the breaker open for another step.
func TestThrottledProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var throttled atomic.Bool
		var calls atomic.Int64
		layer := newLayer(cache.New(exact), fetchFunc(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
			calls.Add(1)
			if throttled.Load() {
				fetchctx.Of(ctx).Origin.Throttle()
			}
			return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, "")
		}))
		ask := func(path string) { is.True(isUnavailable(layer.Fetch(t.Context(), secrets.Ref{Path: path}))) }
		for n := range 3 {
			ask(fmt.Sprint(n))
		}
		is.True(layer.Outage())
		throttled.Store(true)
		time.Sleep(past(firstStep))
		ask("a")
		is.Equal(calls.Load(), int64(4))
		time.Sleep(past(firstStep)) // less than the next step takes
		ask("b")
		is.Equal(calls.Load(), int64(4))
		is.True(layer.Outage())
		is.NoErr(layer.Close())
	})
}

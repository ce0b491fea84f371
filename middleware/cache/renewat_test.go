package cache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// renewAt returns what RenewAt says of path, as the time since the start of the bubble. It must be known.
func (f *fixture) renewAt(path string) time.Duration {
	f.Helper()
	at, known := f.layer.RenewAt(secrets.Ref{Path: path})
	f.True(known)
	return at.Sub(f.began)
}

// renews checks RenewAt of path, which must be in the future: a fetch just before it does not call the source, and one at it does.
func (f *fixture) renews(path string) {
	f.Helper()
	at := f.renewAt(path)
	get := func() { _, _ = f.layer.Fetch(context.Background(), secrets.Ref{Path: path}); synctest.Wait() }
	calls := f.count()
	f.True(at > time.Since(f.began))
	f.at(at - 1)
	get()
	f.Equal(f.count(), calls)
	f.Equal(f.renewAt(path), at) // the fetch has changed nothing
	f.at(at)
	get()
	f.Equal(f.count(), calls+1)
}

func TestRenewAt(t *testing.T) {
	const ttl = 100 * time.Second
	opts := []cache.Option{cache.WithTTL(ttl), cache.WithRefreshAhead(0.8)}
	run(t, "unknown", opts, func(f *fixture) {
		at, known := f.layer.RenewAt(db)
		f.True(!known)
		f.True(at.IsZero())
		f.fresh(1, 1)
		f.invalidate("db")
		_, known = f.layer.RenewAt(db)
		f.True(!known)
	})
	run(t, "fresh", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.Equal(f.renewAt("db"), 80*time.Second)
		f.renews("db")
		f.Equal(f.renewAt("db"), 160*time.Second)
	})
	run(t, "fresh, without renewals ahead", []cache.Option{cache.WithTTL(ttl), cache.WithRefreshAhead(0)}, func(f *fixture) {
		f.fresh(1, 1)
		f.Equal(f.renewAt("db"), ttl)
		f.renews("db")
	})
	run(t, "due", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.at(90 * time.Second)
		f.Equal(f.renewAt("db"), 80*time.Second)
		f.fresh(1, 2)
		f.Equal(f.renewAt("db"), 170*time.Second)
	})
	run(t, "expired", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.at(2 * ttl)
		f.True(f.renewAt("db") < 2*ttl)
		f.at(2 * time.Hour) // past MaxStale
		f.True(f.renewAt("db") < 2*time.Hour)
	})
	run(t, "lease", opts, func(f *fixture) {
		f.set(func(s *source) { s.lease = 50 * time.Second })
		f.fresh(1, 1)
		f.Equal(f.renewAt("db"), 40*time.Second)
		f.at(60 * time.Second)
		f.True(f.renewAt("db") <= 60*time.Second)
	})
	run(t, "not found", opts, func(f *fixture) {
		f.answers(secrets.ErrNotFound)
		f.fails(secrets.ErrNotFound, 1)
		f.Equal(f.renewAt("db"), 5*time.Second)
		f.renews("db")
	})
	run(t, "back-off of a value", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		for _, at := range []time.Duration{80 * time.Second, ttl} { // one that is fresh, and one that is stale
			f.at(at)
			_, err := f.get()
			f.NoErr(err)
			synctest.Wait()
			f.renews("db")
			f.answers(nil)
			_ = f.ask("other") // keeps the breaker closed
			f.answers(secrets.ErrUnavailable)
		}
	})
	run(t, "back-off of a document without a value", opts, func(f *fixture) {
		f.answers(secrets.ErrUnavailable)
		f.fails(secrets.ErrUnavailable, 1)
		f.renews("db")
		f.renews("db")
	})
	run(t, "a renewal that was postponed past the TTL", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.at(ttl - 1)
		f.answers(secrets.ErrMalformed)
		f.fresh(1, 2)
		f.renews("db")
		f.Equal(time.Since(f.began), ttl)
	})
	run(t, "breaker open", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.warm("a", "b", "c")
		f.at(90 * time.Second)
		f.breakDown("a", "b", "c")
		f.True(f.open())
		opened := time.Since(f.began)
		f.Equal(f.renewAt("db"), opened+firstStep*8/10) // it has not failed
		failed := f.renewAt("a")
		f.True(failed >= opened+firstStep*8/10)
		f.True(failed <= opened+firstStep*12/10)
		_, known := f.layer.RenewAt(secrets.Ref{Path: "cold"})
		f.True(!known)
		f.renews("db") // a probe
		f.answers(nil)
		f.renews("a")
		f.True(!f.open())
		f.True(f.renewAt("b") <= time.Since(f.began)) // the back-off ends with the outage
	})
	run(t, "breaker open, of a value that is fresh for longer", opts, func(f *fixture) {
		f.fresh(1, 1)
		f.warm("a", "b", "c")
		f.breakDown("a", "b", "c")
		f.True(f.open())
		f.Equal(f.renewAt("db"), 80*time.Second)
	})
}

package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// look reads db as a handle does. l.Failure returns why there is no newer value.
func (f *fixture) look(ctx context.Context) (s secrets.Secret, l *fetchctx.Renewal, err error) {
	l = new(fetchctx.Renewal)
	s, err = f.layer.Fetch(fetchctx.With(ctx, fetchctx.Fetch{Renewal: l}), db)
	return s, l, err
}

// gets checks the result of a look, whether it is stale, and the failure.
func (f *fixture) gets(version int, stale bool, class error) {
	f.Helper()
	s, l, err := f.look(context.Background())
	f.NoErr(err)
	f.Equal(s.Reveal(), fmt.Sprintf("db v%d", version))
	f.Equal(s.Meta().Stale, stale)
	f.Equal(secrets.Class(l.Failure()), class)
}

// looks checks the result of a look, and that the source has had that many calls by then.
func (f *fixture) looks(version int, stale bool, class error, calls int) {
	f.Helper()
	f.gets(version, stale, class)
	synctest.Wait()
	f.Equal(f.count(), calls)
}

// looksInVain checks that a look fails, and that the source has had that many calls by then.
func (f *fixture) looksInVain(class error, calls int) {
	f.Helper()
	s, _, err := f.look(context.Background())
	f.Equal(secrets.Class(err), class)
	f.True(s.IsZero())
	synctest.Wait()
	f.Equal(f.count(), calls)
}

// lookOpts set a TTL of 100 s, a refresh-ahead at 80 s, and a MaxStale of 100 s.
var lookOpts = []cache.Option{cache.WithTTL(100 * time.Second), cache.WithRefreshAhead(0.8), cache.WithMaxStale(100 * time.Second)}

// withAndWithoutDedup runs test with dedup and without.
func withAndWithoutDedup(t *testing.T, name string, test func(f *fixture)) {
	t.Helper()
	run(t, name, lookOpts, test)
	runAlone(t, name+", without dedup", lookOpts, test)
}

func TestLookRefetchesAFreshValue(t *testing.T) {
	withAndWithoutDedup(t, "fresh, due, stale and expired", func(f *fixture) {
		f.fresh(1, 1)
		version := 1
		for _, age := range []time.Duration{0, time.Second, 90 * time.Second, 150 * time.Second, time.Hour} {
			time.Sleep(age)
			f.rotate()
			version++
			f.looks(version, false, nil, version)
			f.fresh(version, version) // it has filled the cache
		}
	})
	withAndWithoutDedup(t, "cold", func(f *fixture) { f.looks(1, false, nil, 1) })
	withAndWithoutDedup(t, "nothing in the background", func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.delay = 2 * time.Second })
		f.at(90 * time.Second) // a renewal is due
		within(f.I, 2*time.Second, func() { f.looks(1, false, nil, 2) })
	})
}

// Looks and readers share a flight, no matter which of them began it.
func TestLookJoinsAFlight(t *testing.T) {
	run(t, "of a reader", lookOpts, func(f *fixture) {
		f.set(func(s *source) { s.delay = 5 * time.Second })
		go func() { _, _ = f.get() }()
		synctest.Wait()
		f.looks(1, false, nil, 1)
	})
	run(t, "of a renewal", lookOpts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.delay = 5 * time.Second })
		f.rotate()
		f.at(90 * time.Second)
		f.fresh(1, 2)
		within(f.I, 5*time.Second, func() { f.looks(2, false, nil, 2) })
	})
	run(t, "of another look", lookOpts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.delay = 5 * time.Second })
		f.rotate()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { f.gets(2, false, nil) })
			synctest.Wait()
		}
		wg.Wait()
		f.Equal(f.count(), 2)
	})
	run(t, "and readers that of a look", lookOpts, func(f *fixture) {
		f.set(func(s *source) { s.delay = 500 * time.Millisecond })
		f.fresh(1, 1)
		f.at(150 * time.Second)
		go func() { _, _, _ = f.look(context.Background()) }()
		synctest.Wait()
		within(f.I, 500*time.Millisecond, func() { f.fresh(1, 2) })
	})
}

// A look waits for the fetch without a limit, since its handle has a value. A reader next to it waits for 1 s.
func TestLookWaitsWithoutALimit(t *testing.T) {
	const slow = 5 * time.Second
	withAndWithoutDedup(t, "fresh", func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.delay = slow; s.version = 2 })
		within(f.I, slow, func() { f.looks(2, false, nil, 2) })
	})
	withAndWithoutDedup(t, "stale", func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.delay = slow; s.version = 2 })
		f.at(150 * time.Second)
		within(f.I, slow, func() { f.looks(2, false, nil, 2) })
	})
	run(t, "readers keep theirs", lookOpts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.delay = slow; s.version = 2 })
		f.at(150 * time.Second)
		var wg sync.WaitGroup
		wg.Go(func() { f.gets(2, false, nil) })
		synctest.Wait()
		time.Sleep(2 * time.Second)
		within(f.I, maxWait, func() { f.staleAnswer(1, 2) })
		within(f.I, 0, func() { f.staleAnswer(1, 2) }) // a reader's wait has timed out before
		wg.Wait()
		within(f.I, 0, func() { f.fresh(2, 2) })
	})
	run(t, "readers of a fresh value wait for nothing", lookOpts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.delay = slow })
		var wg sync.WaitGroup
		wg.Go(func() { _, _, _ = f.look(context.Background()) })
		synctest.Wait()
		within(f.I, 0, func() { f.fresh(1, 2) })
		wg.Wait()
	})
	run(t, "the context of the look ends it", lookOpts, func(f *fixture) {
		f.fresh(1, 1)
		f.set(func(s *source) { s.delay = slow })
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		within(f.I, 2*time.Second, func() {
			_, _, err := f.look(ctx)
			f.True(errors.Is(err, context.DeadlineExceeded))
		})
	})
}

// In an outage a look gets the value in memory, and the reason why there is no newer one.
func TestLookInAnOutage(t *testing.T) {
	withAndWithoutDedup(t, "fresh", func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.looks(1, false, secrets.ErrUnavailable, 2)
		_, l, err := f.look(context.Background())
		f.NoErr(err)
		f.True(strings.Contains(l.Failure().Error(), "so says the source"))
		f.looks(1, false, secrets.ErrUnavailable, 2) // in the back-off
		time.Sleep(past(100 * time.Millisecond))
		f.answers(nil)
		f.rotate()
		f.looks(2, false, nil, 3)
	})
	withAndWithoutDedup(t, "stale", func(f *fixture) {
		f.fresh(1, 1)
		f.at(150 * time.Second)
		f.answers(secrets.ErrUnavailable)
		f.looks(1, true, secrets.ErrUnavailable, 2)
		f.looks(1, true, secrets.ErrUnavailable, 2) // in the back-off
		time.Sleep(past(100 * time.Millisecond))
		f.answers(nil)
		f.looks(1, false, nil, 3)
	})
	withAndWithoutDedup(t, "in the back-off that a reader has begun", func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.at(90 * time.Second)
		f.fresh(1, 2) // a renewal ahead, which fails
		f.looks(1, false, secrets.ErrUnavailable, 2)
	})
	withAndWithoutDedup(t, "past MaxStale", func(f *fixture) {
		f.fresh(1, 1)
		f.answers(secrets.ErrUnavailable)
		f.at(200 * time.Second)
		f.looksInVain(secrets.ErrUnavailable, 2)
		f.looksInVain(secrets.ErrUnavailable, 2)
	})
	run(t, "that ends MaxStale", lookOpts, func(f *fixture) {
		f.fresh(1, 1)
		f.at(199 * time.Second)
		f.set(func(s *source) { s.delay, s.err = 2*time.Second, secrets.ErrUnavailable })
		f.looksInVain(secrets.ErrUnavailable, 2)
	})
	withAndWithoutDedup(t, "cold", func(f *fixture) {
		f.answers(secrets.ErrUnavailable)
		f.looksInVain(secrets.ErrUnavailable, 1)
		f.looksInVain(secrets.ErrUnavailable, 1)
	})
}

// While the breaker is open, a look makes a fetch only where a reader would start a probe.
func TestLookWhileTheBreakerIsOpen(t *testing.T) {
	open := func(f *fixture, at time.Duration) (calls int) {
		f.Helper()
		f.fresh(1, 1)
		f.at(at)
		f.warm("a", "b", "c")
		f.breakDown("a", "b", "c")
		f.True(f.open())
		return f.count()
	}
	isOpen := func(f *fixture) {
		f.Helper()
		_, l, err := f.look(context.Background())
		f.NoErr(err)
		f.True(strings.Contains(l.Failure().Error(), "the backend was unavailable 3 times in a row"))
	}
	withAndWithoutDedup(t, "fresh", func(f *fixture) {
		calls := open(f, time.Second)
		f.looks(1, false, secrets.ErrUnavailable, calls)
		isOpen(f)
		time.Sleep(past(firstStep)) // half-open: a fresh value needs no probe
		f.looks(1, false, secrets.ErrUnavailable, calls)
	})
	withAndWithoutDedup(t, "stale", func(f *fixture) {
		calls := open(f, 150*time.Second)
		f.looks(1, true, secrets.ErrUnavailable, calls)
		isOpen(f)
		time.Sleep(past(firstStep))
		f.looks(1, true, secrets.ErrUnavailable, calls+1) // the probe
		f.looks(1, true, secrets.ErrUnavailable, calls+1)
		time.Sleep(past(2 * firstStep))
		f.answers(nil)
		f.rotate()
		f.looks(2, false, nil, calls+2)
		f.True(!f.open())
	})
	withAndWithoutDedup(t, "a renewal that is put off", func(f *fixture) {
		calls := open(f, 90*time.Second)
		f.looks(1, false, secrets.ErrUnavailable, calls)
		isOpen(f)
		f.True(f.renewAt("db") > time.Since(f.began))
		f.at(f.renewAt("db"))
		f.answers(nil)
		f.rotate()
		f.looks(1, false, secrets.ErrUnavailable, calls+1) // the probe, in the background
		f.True(!f.open())
		f.looks(2, false, nil, calls+2)
	})
}

// Failures other than an outage are the result of the look, and of later reads.
func TestLookGetsADenial(t *testing.T) {
	for _, class := range []error{secrets.ErrPermissionDenied, secrets.ErrNotFound, secrets.ErrDeleted} {
		withAndWithoutDedup(t, class.Error(), func(f *fixture) {
			f.fresh(1, 1)
			f.answers(class)
			f.looksInVain(class, 2)
			_, known := f.layer.Peek(db)
			f.Equal(known, errors.Is(class, secrets.ErrNotFound)) // a not-found is cached, and the value is dropped
			f.answers(secrets.ErrUnavailable)
			_, err := f.get()
			f.True(err != nil)
		})
	}
}

// A cached not-found answers looks too.
func TestLookForWhatIsNotThere(t *testing.T) {
	withAndWithoutDedup(t, "within the negative TTL", func(f *fixture) {
		f.answers(secrets.ErrNotFound)
		f.fails(secrets.ErrNotFound, 1)
		f.looksInVain(secrets.ErrNotFound, 1)
		f.at(5*time.Second - 1)
		f.looksInVain(secrets.ErrNotFound, 1)
		f.at(5 * time.Second)
		f.looksInVain(secrets.ErrNotFound, 2)
		f.answers(nil)
		f.at(10 * time.Second)
		f.looks(1, false, nil, 3)
	})
}

// Each look for a lease creates another one. In an outage, the value is served until the end of its lease.
func TestLookForALease(t *testing.T) {
	leases := func(c *cache.Cache, below secrets.Fetcher) secrets.Cache {
		return newLayerOf(c, secrets.Info{Name: "source", Leases: true}, below)
	}
	runLayer(t, "of a backend that makes leases", leases, lookOpts, func(f *fixture) {
		const lease = 200 * time.Second // longer than the TTL
		f.set(func(s *source) { s.lease = lease })
		f.fresh(1, 1)
		f.at(120 * time.Second)
		f.rotate()
		f.looks(2, false, nil, 2)
		got, err := f.get()
		f.NoErr(err)
		f.Equal(got.Meta().ExpiresAt.Sub(f.began), 120*time.Second+lease)
		f.answers(secrets.ErrUnavailable)
		f.looks(2, false, secrets.ErrUnavailable, 3)
		f.at(120*time.Second + lease)
		f.looksInVain(secrets.ErrUnavailable, 4)
	})
}

// Two looks in one GetMany of handles get the same reason.
func TestLooksShareTheirReason(t *testing.T) {
	run(t, "an outage", lookOpts, func(f *fixture) {
		f.warm("db", "other")
		f.answers(secrets.ErrUnavailable)
		l := new(fetchctx.Renewal)
		f.Equal(l.Failure(), nil)
		for _, r := range fetchAll(fetchctx.With(context.Background(), fetchctx.Fetch{Renewal: l}), f.layer, "db", "other") {
			f.NoErr(r.Err)
		}
		f.Equal(secrets.Class(l.Failure()), secrets.ErrUnavailable)
	})
}

// Control: a fetch that is no look does not refetch a fresh value.
func TestReadersDoNotRefetchFreshValues(t *testing.T) {
	withAndWithoutDedup(t, "for 80 s", func(f *fixture) {
		f.fresh(1, 1)
		f.rotate()
		f.at(80*time.Second - 1)
		f.fresh(1, 1)
	})
}

package dedup_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// versions answers each call with its number, after the delay of that number. Later calls have the last delay.
type versions struct {
	source

	delays []time.Duration
	fresh  []bool // of the contexts of the calls
}

func newVersions(delays ...time.Duration) *versions {
	v := &versions{delays: delays}
	v.fetch = func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
		v.mu.Lock()
		n := len(v.paths)
		v.fresh = append(v.fresh, fetchctx.Of(ctx).Fresh)
		v.mu.Unlock()
		time.Sleep(v.delays[min(n, len(v.delays))-1])
		return secrets.NewSecret(fmt.Sprint(n), secrets.Meta{}), nil
	}
	return v
}

// refresh is call for a Refresh.
func refresh(wg *sync.WaitGroup, f secrets.Fetcher, wait, timeout time.Duration) *caller {
	fresh := fetchFunc(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
		return f.Fetch(withFresh(ctx), ref)
	})
	return call(wg, fresh, db, wait, timeout)
}

const ms = time.Millisecond

func TestCallerAfterAllHaveLeftBeginsAnotherFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newVersions(time.Minute, 100*ms)
		f := layer(s)
		var wg sync.WaitGroup
		call(&wg, f, db, 0, 50*ms)
		call(&wg, f, db, 0, 60*ms)
		before := call(&wg, f, db, 59*ms, 10*ms) // joins, since the flight still has callers
		newcomer := call(&wg, f, db, 70*ms, 0)
		wg.Wait()
		is.Equal(before.err, context.DeadlineExceeded)
		is.NoErr(newcomer.err)
		is.Equal(newcomer.at, 170*ms) // it does not wait for the flight that hangs
		is.Equal(s.calls(), 2)
		is.NoErr(f.Close())
	})
}

// A probe must show the state of the backend now: it does not join a flight that may hang, even if that has callers.
func TestProbeJoinsNoFlightThatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newVersions(time.Minute, 100*ms)
		f := layer(s)
		var wg sync.WaitGroup
		first := call(&wg, f, db, 0, time.Second)
		other := call(&wg, f, db, 50*ms, time.Second) // control
		probe := call(&wg, fetchFunc(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
			return f.Fetch(fetchctx.With(ctx, fetchctx.Fetch{Probe: true}), ref)
		}), db, 70*ms, 0)
		newcomer := call(&wg, f, db, 80*ms, 0) // it joins the probe
		wg.Wait()
		is.Equal(first.err, context.DeadlineExceeded)
		is.Equal(other.err, context.DeadlineExceeded)
		is.NoErr(probe.err)
		is.Equal(probe.at, 170*ms)
		is.Equal(newcomer.at, 170*ms)
		is.Equal(s.calls(), 2)
		is.NoErr(f.Close())
	})
}

// A flight goes on without its callers: its answer is useful to later ones.
func TestFlightGoesOnWithoutCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := &source{delay: 200 * ms}
		f := layer(s)
		var wg sync.WaitGroup
		call(&wg, f, db, 0, 50*ms)
		wg.Wait()
		is.NoErr(f.Close()) // which waits for it
		is.Equal(s.calls(), 1)
		is.Equal(s.cancelled(), 0)
	})
}

// Forty callers with a deadline of 300 ms come in turn. Three begin a flight, the others join the newest.
func TestAtMostThreeFlightsOfADocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := &source{delay: 12 * time.Second}
		f := layer(s)
		var wg sync.WaitGroup
		for range 39 {
			c := call(&wg, f, db, 0, 300*ms)
			wg.Wait()
			is.Equal(c.err, context.DeadlineExceeded)
			is.Equal(c.at, 300*ms)
		}
		is.Equal(s.calls(), 3)
		began := time.Now()
		last := call(&wg, f, db, 0, 0) // it joins the third
		other := call(&wg, f, secrets.Ref{Path: "other"}, 0, 0)
		wg.Wait()
		is.NoErr(last.err)
		is.Equal(time.Since(began), 12*time.Second) // of other, which does not wait for them
		is.Equal(last.at, 600*ms+12*time.Second-39*300*ms)
		is.NoErr(other.err)
		is.NoErr(f.Close())
	})
}

func TestRefreshesShareTheNextFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newVersions(100 * ms)
		f := layer(s)
		var wg sync.WaitGroup
		var all []*caller
		for i := range 100 {
			all = append(all, refresh(&wg, f, time.Duration(i)*100*time.Microsecond, 0))
		}
		wg.Wait()
		is.Equal(s.calls(), 2)
		is.Equal(all[0].secret.Reveal(), "1")
		is.Equal(all[0].at, 100*ms)
		for _, c := range all[1:] {
			is.NoErr(c.err)
			is.Equal(c.secret.Reveal(), "2") // the first flight began before them
			is.Equal(c.at, 200*ms)
		}
		is.Equal(s.fresh, []bool{true, true})
	})
}

// A Get after an invalidation needs a later flight, which the cache must not answer.
func TestGetsAfterAnInvalidationShareTheNextFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newVersions(100 * ms)
		f := layer(s)
		var wg sync.WaitGroup
		first := call(&wg, f, db, 0, 0)
		var later []*caller
		for i := range 50 {
			wg.Go(func() {
				time.Sleep(time.Duration(i+1) * ms)
				f.Invalidate(db, secrets.Ref{Path: "other"})
			})
			later = append(later, call(&wg, f, db, time.Duration(i+1)*ms+1, 0))
		}
		wg.Wait()
		is.Equal(first.secret.Reveal(), "1")
		for _, c := range later {
			is.Equal(c.secret.Reveal(), "2")
		}
		is.Equal(s.calls(), 2)
		is.Equal(s.fresh, []bool{false, true})
	})
}

func TestGetDuringARefreshJoinsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newVersions(100 * ms)
		f := layer(s)
		var wg sync.WaitGroup
		first := call(&wg, f, db, 0, 0)
		refresh(&wg, f, 10*ms, 0)               // queued
		present := call(&wg, f, db, 20*ms, 0)   // joins the flight that runs
		during := call(&wg, f, db, 150*ms, 0)   // joins the refresh, which runs
		refreshed := refresh(&wg, f, 150*ms, 0) // the refresh began too early for this one
		wg.Wait()
		is.Equal(first.at, 100*ms)
		is.Equal(present.at, 100*ms)
		is.Equal(during.at, 200*ms)
		is.Equal(refreshed.at, 300*ms)
		is.Equal(s.calls(), 3)
	})
}

func TestRefreshWaitsAtMostASecondForTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newVersions(5*time.Second, 100*ms)
		f := layer(s)
		var wg sync.WaitGroup
		slow := call(&wg, f, db, 0, 0)
		fast := refresh(&wg, f, 10*ms, 0)
		after := call(&wg, f, db, 1050*ms, 0) // joins the refresh, the newest flight
		wg.Wait()
		is.Equal(fast.secret.Reveal(), "2")
		is.Equal(fast.at, 1110*ms)
		is.Equal(after.at, 1110*ms)
		is.Equal(slow.at, 5*time.Second)
		is.NoErr(f.Close())
	})
}

// While three flights hang, a Refresh joins none of them: it begins when one has ended.
func TestRefreshWaitsForOneOfThree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newVersions(5*time.Second, 5*time.Second, 5*time.Second, 100*ms)
		f := layer(s)
		var wg sync.WaitGroup
		for i := range 3 {
			call(&wg, f, db, time.Duration(i)*100*ms, 50*ms)
		}
		fresh := refresh(&wg, f, time.Second, 0)
		wg.Wait()
		is.Equal(fresh.secret.Reveal(), "4")
		is.Equal(fresh.at, 5100*ms)
		is.NoErr(f.Close())
		is.Equal(s.maxRunning, 3)
	})
}

func TestRefreshWithoutCallersNeverBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newVersions(500*ms, 100*ms)
		f := layer(s)
		var wg sync.WaitGroup
		call(&wg, f, db, 0, 0)
		left := refresh(&wg, f, 10*ms, 50*ms)
		wg.Wait()
		is.Equal(left.err, context.DeadlineExceeded)
		is.Equal(s.calls(), 1)
		again := refresh(&wg, f, 0, 0) // nothing of the dropped flight is left
		wg.Wait()
		is.Equal(again.secret.Reveal(), "2")
		is.NoErr(f.Close())
	})
}

// The last caller that leaves a queued flight gets the error of its own context, and not that of the dropped flight.
func TestCallerOfADroppedFlightGetsItsOwnError(t *testing.T) {
	is := is.New(t)
	release := make(chan struct{})
	s := &source{fetch: func(context.Context, secrets.Ref) (secrets.Secret, error) {
		<-release
		return secrets.NewSecret("value", secrets.Meta{}), nil
	}}
	f := layer(s)
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = f.Fetch(context.Background(), db) })
	for s.calls() == 0 {
		runtime.Gosched()
	}
	for range 50_000 { // the goroutine of the flight may be faster than the caller
		ctx, cancel := context.WithCancel(withFresh(context.Background()))
		wg.Go(cancel)
		_, err := f.Fetch(ctx, db)
		is.Equal(err, context.Canceled)
	}
	close(release)
	wg.Wait()
	is.NoErr(f.Close())
	is.Equal(s.calls(), 1) // no dropped flight has begun
}

// Close also answers callers of a flight that has not begun.
func TestCloseWithAQueuedFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newVersions(500 * ms)
		f := layer(s)
		var wg sync.WaitGroup
		running, waiting := call(&wg, f, db, 0, 0), refresh(&wg, f, 10*ms, 0)
		time.Sleep(50 * ms)
		began := time.Now()
		is.NoErr(f.Close())
		is.Equal(time.Since(began), 450*ms) // the layer below ends the flight that runs
		wg.Wait()
		for _, c := range []*caller{running, waiting} {
			is.True(errors.Is(c.err, secrets.ErrClosed))
			is.Equal(c.at, 50*ms)
		}
		is.Equal(s.calls(), 1)
	})
}

package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// open reports whether the circuit breaker of f is open.
func (f *fixture) open() bool { return f.layer.Outage() }

// ask fetches a cold document.
func (f *fixture) ask(path string) error {
	_, err := f.layer.Fetch(context.Background(), secrets.Ref{Path: path})
	return err
}

func TestWhatCounts(t *testing.T) {
	nth := func(n int) string { return fmt.Sprint("cold-", n) }
	run(t, "three in a row, whatever they ask for", nil, func(f *fixture) {
		f.answers(secrets.ErrUnavailable)
		for n := range 3 {
			f.True(!f.open())
			f.True(f.ask(nth(n)) != nil)
		}
		f.True(f.open())
		f.True(f.ask(nth(3)) != nil)
		f.Equal(f.count(), 3)
	})
	for _, class := range []error{
		nil, secrets.ErrNotFound, secrets.ErrDeleted, secrets.ErrFieldNotFound, secrets.ErrPermissionDenied, secrets.ErrUnauthenticated,
		secrets.ErrMalformed, secrets.ErrUnknown,
	} {
		run(t, fmt.Sprint("an answer resets the count, and closes the breaker: ", class), nil, func(f *fixture) {
			for n := range 10 {
				f.answers(secrets.ErrUnavailable)
				_, _ = f.ask(nth(3*n)), f.ask(nth(3*n+1))
				f.answers(class)
				f.Equal(secrets.Class(f.ask(nth(3*n+2))), class)
				f.True(!f.open())
			}
			f.Equal(f.count(), 30)
			f.answers(secrets.ErrUnavailable)
			_, _, _ = f.ask("a"), f.ask("b"), f.ask("c")
			f.True(f.open())
			f.answers(class)
			time.Sleep(past(firstStep))
			f.Equal(secrets.Class(f.ask("d")), class)
			f.True(!f.open())
		})
	}
	run(t, "ErrClosed does not", nil, func(f *fixture) {
		f.answers(secrets.ErrUnavailable)
		_, _ = f.ask("a"), f.ask("b")
		f.answers(secrets.ErrClosed)
		_ = f.ask("c")
		f.answers(secrets.ErrUnavailable)
		_ = f.ask("d")
		f.True(f.open())
	})
	run(t, "the end of a caller's context does not", nil, func(f *fixture) {
		f.set(func(s *source) { s.delay = time.Second })
		for n := range 10 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			_, err := f.layer.Fetch(ctx, secrets.Ref{Path: nth(n)})
			f.Equal(err, context.DeadlineExceeded)
			cancel()
		}
		f.True(!f.open())
		f.set(func(s *source) { s.delay, s.err = 0, secrets.ErrUnavailable })
		for n := range 3 {
			f.True(!f.open())
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			f.set(func(s *source) { s.delay = time.Second })
			_, _ = f.layer.Fetch(ctx, secrets.Ref{Path: nth(n)}) // does not reset it either
			f.set(func(s *source) { s.delay = 0 })
			_ = f.ask(nth(n))
		}
		f.True(f.open())
	})
}

// TestOrderOfOutcomes has no dedup around the cache, so that fetches of one document are many.
func TestOrderOfOutcomes(t *testing.T) {
	// began lets n fetches begin that end after delay with err.
	began := func(f *fixture, wg *sync.WaitGroup, n int, delay time.Duration, err error) {
		f.set(func(s *source) { s.delay, s.err = delay, err })
		for i := range n {
			wg.Go(func() {
				_, _ = f.layer.Fetch(withFresh(context.Background()), secrets.Ref{Path: fmt.Sprint(i)})
			})
		}
		synctest.Wait()
		f.set(func(s *source) { s.delay, s.err = 0, nil })
	}
	run(t, "failures that end after an answer do not open it", nil, func(f *fixture) {
		var wg sync.WaitGroup
		began(f, &wg, 10, 2*time.Second, secrets.ErrUnavailable)
		time.Sleep(time.Second)
		f.NoErr(f.ask("answered"))
		wg.Wait()
		f.True(!f.open())
		began(f, &wg, 3, 2*time.Second, secrets.ErrUnavailable) // the control
		wg.Wait()
		f.True(f.open())
	})
	run(t, "nor do they open it again", nil, func(f *fixture) {
		var wg sync.WaitGroup
		began(f, &wg, 10, 2*time.Second, secrets.ErrUnavailable)
		began(f, &wg, 3, 0, secrets.ErrUnavailable)
		f.True(f.open())
		time.Sleep(time.Second)
		f.NoErr(f.ask("answered"))
		f.True(!f.open())
		wg.Wait()
		f.True(!f.open())
	})
	run(t, "an answer of a fetch that began before closes it", nil, func(f *fixture) {
		var wg sync.WaitGroup
		began(f, &wg, 1, 2*time.Second, nil)
		began(f, &wg, 3, 0, secrets.ErrUnavailable)
		began(f, &wg, 3, 2*time.Second, secrets.ErrUnavailable)
		f.True(f.open())
		wg.Wait()
		f.True(!f.open())
	})
	run(t, "many that began before are one step", nil, func(f *fixture) {
		var wg sync.WaitGroup
		began(f, &wg, 100, time.Second, secrets.ErrUnavailable)
		wg.Wait()
		f.True(f.open())
		time.Sleep(past(firstStep))
		f.NoErr(f.ask("probe"))
		f.True(!f.open())
	})
}

func TestBreakersAreOfOneBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := cache.New()
		one, two := &source{err: secrets.ErrUnavailable}, &source{}
		first, second := newLayer(memory, one), newLayer(memory, two)
		for n := range 10 {
			_, err := first.Fetch(t.Context(), secrets.Ref{Path: fmt.Sprint(n)})
			is.True(err != nil)
			_, err = second.Fetch(t.Context(), secrets.Ref{Path: fmt.Sprint(n)})
			is.NoErr(err)
		}
		is.Equal(one.count(), 3)
		is.Equal(two.count(), 10)
		is.True(first.Outage())
		is.True(!second.Outage())
		is.NoErr(first.Close())
		is.NoErr(second.Close())
	})
}

// TestRefusedKeysAreNoAnswer has a backend refuse keys without asking anybody: that says nothing about its server.
func TestRefusedKeysAreNoAnswer(t *testing.T) {
	for class, open := range map[error]bool{secrets.ErrInvalidKey: true, secrets.ErrNotFound: false} {
		synctest.Test(t, func(t *testing.T) {
			r := newRemote(t, 4)
			r.breakDown(numbered(0), numbered(1), "another")
			r.backend.Fail(class)
			_, err := r.Refresh(t.Context(), numbered(2))
			r.True(errors.Is(err, class))
			r.backend.Fail(secrets.ErrUnavailable)
			calls := r.backend.Calls()
			r.fails(0, numbered(3))
			r.Equal(r.backend.Calls() == calls, open)
		})
	}
}

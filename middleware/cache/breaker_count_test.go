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
		secrets.ErrMalformed,
	} {
		run(t, fmt.Sprint("an answer resets the count, and closes the breaker: ", class), nil, func(f *fixture) {
			f.warm("a", "b", "c")
			for n := range 10 {
				f.breakDown("a", "b")
				f.answers(class)
				f.Equal(secrets.Class(f.ask(nth(n))), class)
				f.True(!f.open())
			}
			f.Equal(f.count(), 33)
			f.breakDown("a", "b", "c")
			f.True(f.open())
			f.answers(class)
			time.Sleep(past(firstStep))
			f.Equal(secrets.Class(f.ask("d")), class)
			f.True(!f.open())
		})
	}
	for _, class := range []error{secrets.ErrUnknown, secrets.ErrInvalidKey, secrets.ErrClosed} {
		run(t, fmt.Sprint("no answer does neither: ", class), nil, func(f *fixture) {
			f.warm("a", "b", "c")
			f.breakDown("a", "b")
			f.answers(class)
			f.Equal(secrets.Class(f.ask("d")), class)
			f.True(!f.open())
			f.breakDown("c")
			f.True(f.open())
			f.answers(class)
			time.Sleep(past(firstStep))
			f.Equal(secrets.Class(f.ask("e")), class)
			f.True(f.open())
		})
	}
	run(t, "the end of a caller's context does not count, the failure of its fetch does", nil, func(f *fixture) {
		f.set(func(s *source) { s.delay, s.err = time.Second, secrets.ErrUnavailable })
		for n := range 3 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			_, err := f.layer.Fetch(ctx, secrets.Ref{Path: nth(n)})
			f.Equal(err, context.DeadlineExceeded)
			cancel()
		}
		f.True(!f.open())
		f.at(time.Second + 2*time.Millisecond - 1)
		f.True(!f.open())
		f.at(time.Second + 2*time.Millisecond)
		f.True(f.open())
		f.Equal(f.count(), 3)
	})
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			var err error
			layer := newLayer(cache.New(), fetchFunc(func(context.Context, secrets.Ref) (secrets.Secret, error) {
				return secrets.Secret{}, err
			}))
			ask := func(n int) {
				_, got := layer.Fetch(t.Context(), secrets.Ref{Path: nth(n)})
				is.Equal(got, err)
			}
			err = end
			for n := range 10 {
				ask(n)
			}
			is.True(!layer.Outage())
			for n := range 3 {
				is.True(!layer.Outage())
				err = end
				ask(n) // does not reset it either
				err = secrets.NewError(secrets.ErrUnavailable, "")
				ask(n)
			}
			is.True(layer.Outage())
			is.NoErr(layer.Close())
		})
	}
}

// TestOrderOfOutcomes runs without dedup: one document can have many fetches at a time.
func TestOrderOfOutcomes(t *testing.T) {
	// began starts n fetches that end with err after delay.
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
	runAlone(t, "failures that end after an answer do not open it", nil, func(f *fixture) {
		f.warm("0", "1", "2")
		var wg sync.WaitGroup
		began(f, &wg, 10, 2*time.Second, secrets.ErrUnavailable)
		time.Sleep(time.Second)
		f.NoErr(f.ask("answered"))
		wg.Wait()
		f.True(!f.open())
		began(f, &wg, 3, 2*time.Second, secrets.ErrUnavailable) // control
		wg.Wait()
		f.True(f.open())
	})
	runAlone(t, "nor do they open it again", nil, func(f *fixture) {
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
	runAlone(t, "an answer of a fetch that began before closes it", nil, func(f *fixture) {
		var wg sync.WaitGroup
		began(f, &wg, 1, 2*time.Second, nil)
		began(f, &wg, 3, 0, secrets.ErrUnavailable)
		began(f, &wg, 3, 2*time.Second, secrets.ErrUnavailable)
		f.True(f.open())
		wg.Wait()
		f.True(!f.open())
	})
	runAlone(t, "many that began before are one step", nil, func(f *fixture) {
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

// A backend refuses keys without a request to its server: that is no answer of the server.
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

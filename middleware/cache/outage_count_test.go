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

// outage reports whether f takes its backend to be in an outage.
func (f *fixture) outage() bool { return monitor(f.layer).Outage() }

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
			f.True(!f.outage())
			f.True(f.ask(nth(n)) != nil)
		}
		f.True(f.outage())
		f.True(f.ask(nth(3)) != nil)
		f.Equal(f.count(), 3)
	})
	for _, class := range []error{
		nil, secrets.ErrNotFound, secrets.ErrDeleted, secrets.ErrFieldNotFound, secrets.ErrPermissionDenied, secrets.ErrUnauthenticated,
		secrets.ErrMalformed, secrets.ErrUnknown,
	} {
		run(t, fmt.Sprint("an answer resets the count, and ends an outage: ", class), nil, func(f *fixture) {
			for n := range 10 {
				f.answers(secrets.ErrUnavailable)
				_, _ = f.ask(nth(3*n)), f.ask(nth(3*n+1))
				f.answers(class)
				f.Equal(secrets.Class(f.ask(nth(3*n+2))), class)
				f.True(!f.outage())
			}
			f.Equal(f.count(), 30)
			f.answers(secrets.ErrUnavailable)
			_, _, _ = f.ask("a"), f.ask("b"), f.ask("c")
			f.True(f.outage())
			f.answers(class)
			time.Sleep(past(firstStep))
			f.Equal(secrets.Class(f.ask("d")), class)
			f.True(!f.outage())
		})
	}
	run(t, "ErrClosed does not", nil, func(f *fixture) {
		f.answers(secrets.ErrUnavailable)
		_, _ = f.ask("a"), f.ask("b")
		f.answers(secrets.ErrClosed)
		_ = f.ask("c")
		f.answers(secrets.ErrUnavailable)
		_ = f.ask("d")
		f.True(f.outage())
	})
	run(t, "the end of a caller's context does not", nil, func(f *fixture) {
		f.set(func(s *source) { s.delay = time.Second })
		for n := range 10 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			_, err := f.layer.Fetch(ctx, secrets.Ref{Path: nth(n)})
			f.Equal(err, context.DeadlineExceeded)
			cancel()
		}
		f.True(!f.outage())
		f.set(func(s *source) { s.delay, s.err = 0, secrets.ErrUnavailable })
		for n := range 3 {
			f.True(!f.outage())
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			f.set(func(s *source) { s.delay = time.Second })
			_, _ = f.layer.Fetch(ctx, secrets.Ref{Path: nth(n)}) // does not reset it either
			f.set(func(s *source) { s.delay = 0 })
			_ = f.ask(nth(n))
		}
		f.True(f.outage())
	})
	run(t, "a batch is one fetch", nil, func(f *fixture) {
		refs := func(n int) []secrets.Ref {
			return []secrets.Ref{{Path: nth(n)}, {Path: nth(n + 1)}, {Path: nth(n + 2)}}
		}
		f.answers(secrets.ErrUnavailable)
		for n := range 3 {
			f.True(!f.outage())
			f.layer.FetchMany(context.Background(), refs(3*n))
		}
		f.True(f.outage())
	})
	run(t, "a batch with one answer is an answer", nil, func(f *fixture) {
		layer := f.cache.Wrap(secrets.FetcherFunc(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
			if ref.Path == "good" {
				return secrets.NewSecret("v", secrets.Meta{}), nil
			}
			return secrets.Secret{}, &secrets.Error{Err: secrets.ErrUnavailable}
		}))
		for n := range 10 {
			layer.FetchMany(context.Background(), []secrets.Ref{{Path: nth(2 * n)}, {Path: "good"}, {Path: nth(2*n + 1)}})
			layer.(interface{ Invalidate(refs ...secrets.Ref) }).Invalidate(secrets.Ref{Path: "good"})
		}
		f.True(!monitor(layer).Outage())
		f.NoErr(closeLayer(layer))
	})
}

// TestOrderOfOutcomes has no dedup around the cache, so that fetches of one document are many.
func TestOrderOfOutcomes(t *testing.T) {
	// began lets n fetches begin that end after delay with err.
	began := func(f *fixture, wg *sync.WaitGroup, n int, delay time.Duration, err error) {
		f.set(func(s *source) { s.delay, s.err = delay, err })
		for i := range n {
			wg.Go(func() {
				_, _ = f.layer.Fetch(secrets.WithFresh(context.Background()), secrets.Ref{Path: fmt.Sprint(i)})
			})
		}
		synctest.Wait()
		f.set(func(s *source) { s.delay, s.err = 0, nil })
	}
	run(t, "failures that end late declare none", nil, func(f *fixture) {
		var wg sync.WaitGroup
		began(f, &wg, 10, 2*time.Second, secrets.ErrUnavailable)
		time.Sleep(time.Second)
		f.NoErr(f.ask("answered"))
		wg.Wait()
		f.True(!f.outage())
		began(f, &wg, 3, 2*time.Second, secrets.ErrUnavailable) // the control
		wg.Wait()
		f.True(f.outage())
	})
	run(t, "nor do they open it again", nil, func(f *fixture) {
		var wg sync.WaitGroup
		began(f, &wg, 10, 2*time.Second, secrets.ErrUnavailable)
		began(f, &wg, 3, 0, secrets.ErrUnavailable)
		f.True(f.outage())
		time.Sleep(time.Second)
		f.NoErr(f.ask("answered"))
		f.True(!f.outage())
		wg.Wait()
		f.True(!f.outage())
	})
	run(t, "an answer that comes late ends it", nil, func(f *fixture) {
		var wg sync.WaitGroup
		began(f, &wg, 1, 2*time.Second, nil)
		began(f, &wg, 3, 0, secrets.ErrUnavailable)
		began(f, &wg, 3, 2*time.Second, secrets.ErrUnavailable)
		f.True(f.outage())
		wg.Wait()
		f.True(!f.outage())
	})
	run(t, "many that end late are one step", nil, func(f *fixture) {
		var wg sync.WaitGroup
		began(f, &wg, 100, time.Second, secrets.ErrUnavailable)
		wg.Wait()
		f.True(f.outage())
		time.Sleep(past(firstStep))
		f.NoErr(f.ask("probe"))
		f.True(!f.outage())
	})
}

func TestOutagesAreOfOneBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		memory := cache.New()
		one, two := &source{err: secrets.ErrUnavailable}, &source{}
		first, second := memory.Wrap(one), memory.Wrap(two)
		for n := range 10 {
			_, err := first.Fetch(t.Context(), secrets.Ref{Path: fmt.Sprint(n)})
			is.True(err != nil)
			_, err = second.Fetch(t.Context(), secrets.Ref{Path: fmt.Sprint(n)})
			is.NoErr(err)
		}
		is.Equal(one.count(), 3)
		is.Equal(two.count(), 10)
		is.True(monitor(first).Outage())
		is.True(!monitor(second).Outage())
		is.NoErr(closeLayer(first))
		is.NoErr(closeLayer(second))
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

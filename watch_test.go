package secrets_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// watching is a handle in a bubble, and the backend that it follows.
type watching struct {
	*is.I
	*testing.T

	backend *secretstest.Backend
	client  *secrets.Client
	handle  *secrets.Handle
}

// watch runs test in a bubble, with a handle of db of a backend that holds it, in the version "1".
func watch(t *testing.T, test func(w *watching), opts ...any) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var (
			clientOpts []secrets.Option
			watchOpts  []secrets.WatchOption
		)
		for _, o := range opts {
			switch o := o.(type) {
			case func() secrets.Option: // a layer must be made in the bubble
				clientOpts = append(clientOpts, o())
			case secrets.WatchOption:
				watchOpts = append(watchOpts, o)
			}
		}
		w := &watching{I: is.New(t), T: t, backend: secretstest.NewBackend(map[string]string{"db": "one", "other": "x"})}
		w.client = open(t, w.backend, clientOpts...)
		var err error
		w.handle, err = w.client.Watch(t.Context(), "db", watchOpts...)
		w.NoErr(err)
		test(w)
	})
}

// elapse waits for d in a bubble, and for everything that is due by then.
func elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// isClosed reports whether c is closed.
func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// shows checks the value of the handle, whether it is stale, and the class of Err.
func (w *watching) shows(value string, class error) {
	w.Helper()
	s := w.handle.Secret()
	w.Equal(s.Reveal(), value)
	w.Equal(s.Meta().Stale, class != nil)
	w.Equal(secrets.Class(w.handle.Err()), class)
}

func TestHandleFollowsItsKey(t *testing.T) {
	watch(t, func(w *watching) {
		w.shows("one", nil)
		changed := w.handle.Changed()
		elapse(time.Hour)
		w.True(!isClosed(changed))
		w.backend.Set("db", "two")
		w.shows("one", nil)
		elapse(30 * time.Second)
		w.True(isClosed(changed))
		w.shows("two", nil)
		w.True(!isClosed(w.handle.Changed()))
	})
}

func TestWatchFailsAsGetDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := secretstest.NewBackend(map[string]string{"db": "one"})
		client := open(t, backend)
		backend.FailPath("denied", secrets.ErrPermissionDenied)
		for key, class := range map[string]error{
			"missing": secrets.ErrNotFound, "denied": secrets.ErrPermissionDenied, "/": secrets.ErrInvalidKey, "db#a": secrets.ErrMalformed,
		} {
			h, err := client.Watch(t.Context(), key)
			is.Equal(h, nil)
			is.Equal(secrets.Class(err), class)
			_, got := client.Get(t.Context(), key)
			is.Equal(err.Error(), got.Error())
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := client.Watch(ended, "db")
		is.True(errors.Is(err, context.Canceled))
		calls := backend.Calls()
		elapse(time.Hour)
		is.Equal(backend.Calls(), calls) // a failed Watch does not poll

		is.NoErr(client.Close())
		_, err = client.Watch(t.Context(), "db")
		is.True(errors.Is(err, secrets.ErrClosed))
	})
}

func TestFaultsOfWatch(t *testing.T) {
	is := is.New(t)
	client := open(t, newFake("db", "one"))
	for want, opt := range map[string]secrets.WatchOption{
		"WatchInterval: 5ns; did you mean 5*time.Second?": secrets.WatchInterval(5),
		"WatchInterval: 0s is not more than 0":            secrets.WatchInterval(0),
		"WatchInterval: -1s is not more than 0":           secrets.WatchInterval(-time.Second),
		"option 1 is nil":                                 nil,
	} {
		_, err := client.Watch(t.Context(), "db", opt)
		is.True(strings.Contains(err.Error(), "secrets: Watch: "+want))
	}
}

// A new version with the same value is a change. A new FetchedAt or ExpiresAt is not.
func TestWhatIsAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		answer := secrets.NewSecret
		var current atomic.Pointer[secrets.Secret]
		set := func(s secrets.Secret) { current.Store(&s) }
		set(answer("one", secrets.Meta{Version: "1"}))
		client := open(t, failing(func(context.Context, secrets.Ref) (secrets.Secret, error) { return *current.Load(), nil }))
		h, err := client.Watch(t.Context(), "db")
		is.NoErr(err)
		for _, step := range []struct {
			s       secrets.Secret
			changes bool
		}{
			{answer("one", secrets.Meta{Version: "1"}), false},
			{answer("two", secrets.Meta{Version: "1"}), true},
			{answer("two", secrets.Meta{Version: "2"}), true},
			{answer("two", secrets.Meta{Version: "2", ExpiresAt: time.Now().Add(24 * time.Hour)}), false},
			{answer("two", secrets.Meta{Version: "3", Backend: "other"}), false}, // versions of two backends cannot be compared
			{answer("two", secrets.Meta{Version: "1"}), false},
			{answer("two", secrets.Meta{}), true},
			{answer("", secrets.Meta{}), true},
		} {
			changed := h.Changed()
			set(step.s)
			elapse(time.Hour)
			is.Equal(isClosed(changed), step.changes)
			is.Equal(h.Secret().Reveal(), step.s.Reveal())
			is.Equal(h.Secret().Meta().Version, step.s.Meta().Version)
			is.Equal(h.Secret().Meta().ExpiresAt, step.s.Meta().ExpiresAt)
		}
	})
}

func TestHandleOfAField(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := secretstest.NewBackend(map[string]string{"db": `{"user":"u","password":"p"}`})
		client := open(t, backend)
		h, err := client.Watch(t.Context(), "db#password")
		is.NoErr(err)
		is.Equal(h.Secret().Reveal(), "p")
		backend.Set("db", `{"user":"u","password":"p2"}`)
		elapse(30 * time.Second)
		is.Equal(h.Secret().Reveal(), "p2")
		backend.Set("db", `{"user":"u"}`)
		elapse(30 * time.Second)
		is.True(errors.Is(h.Err(), secrets.ErrFieldNotFound))
		is.Equal(h.Secret().Reveal(), "p2")
	})
}

// However a handle ends, Changed is closed, Err is ErrClosed, and the polls stop. The value stays.
func TestHandleEnds(t *testing.T) {
	for name, end := range map[string]func(w *watching, cancel func()){
		"with Close":      func(w *watching, _ func()) { w.NoErr(w.handle.Close()) },
		"with ctx":        func(_ *watching, cancel func()) { cancel() },
		"with the Client": func(w *watching, _ func()) { w.NoErr(w.client.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			watch(t, func(w *watching) {
				ctx, cancel := context.WithCancel(w.Context())
				defer cancel()
				own := w.handle
				var err error
				w.handle, err = w.client.Watch(ctx, "db")
				w.NoErr(err)
				w.NoErr(own.Close())
				changed := w.handle.Changed()
				end(w, cancel)
				elapse(0)
				w.True(isClosed(changed))
				w.True(isClosed(w.handle.Changed()))
				w.shows("one", secrets.ErrClosed)
				calls := w.backend.Calls()
				elapse(time.Hour)
				w.Equal(w.backend.Calls(), calls)
				w.NoErr(w.handle.Close())
				w.NoErr(w.handle.Close())
				w.shows("one", secrets.ErrClosed)
			})
		})
	}
}

func TestHandleEndsDuringAPoll(t *testing.T) {
	watch(t, func(w *watching) {
		release := w.backend.Block()
		defer release()
		elapse(30 * time.Second)
		w.NoErr(w.handle.Close())
		w.backend.Set("db", "two")
		release()
		elapse(time.Hour)
		w.shows("one", secrets.ErrClosed)
	})
}

// Handles and their clients may end together, in any order.
func TestHandlesEndTogether(t *testing.T) {
	for range 50 {
		watch(t, func(w *watching) {
			ctx, cancel := context.WithCancel(w.Context())
			for range 20 {
				h, err := w.client.Watch(ctx, "db")
				w.NoErr(err)
				go func() { _ = h.Close() }()
			}
			go cancel()
			go w.client.Invalidate("db")
			w.NoErr(w.client.Close())
		}, func() secrets.Option { return middleware.Standard(cache.WithTTL(time.Second)) })
	}
}

// A program reads a handle at each use of a secret.
func TestReadingAHandleAllocatesNothing(t *testing.T) {
	is := is.New(t)
	client := open(t, newFake("db", "one"))
	h, err := client.Watch(t.Context(), "db")
	is.NoErr(err)
	live, err := secrets.Derive(h, func(s secrets.Secret) (string, error) { return s.Reveal(), nil })
	is.NoErr(err)
	use := func(string) error { return nil }
	is.Equal(testing.AllocsPerRun(100, func() { _, _, _ = h.Secret(), live.Load(), live.Use(use) }), 0.0)
}

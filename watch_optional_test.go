package secrets_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// watchOptional runs test with a handle of a key that may be missing.
func watchOptional(t *testing.T, key string, docs map[string]string, layers []func() secrets.Option, test func(w *watching)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &watching{I: is.New(t), T: t, backend: secretstest.NewBackend(docs)}
		var opts []secrets.Option
		for _, layer := range layers { // made in the bubble
			opts = append(opts, layer())
		}
		w.client = open(t, w.backend, opts...)
		var err error
		w.handle, err = w.client.Watch(t.Context(), key, secrets.Optional())
		w.NoErr(err)
		test(w)
	})
}

// For an optional handle, a missing secret is a value, at first and later.
func TestAnOptionalSecretComesAndGoes(t *testing.T) {
	for name, layers := range map[string][]func() secrets.Option{"without layers": nil, "with a cache": {exact}} {
		for what, remove := range map[string]func(*secretstest.Backend){
			"removed":       func(b *secretstest.Backend) { b.Remove("db") },
			"deleted":       func(b *secretstest.Backend) { b.Delete("db") },
			"no such field": func(b *secretstest.Backend) { b.Set("db", "{}") },
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				watchOptional(t, "db#name", nil, layers, func(w *watching) {
					missing := func() {
						w.Helper()
						w.True(w.handle.Secret().IsZero())
						w.NoErr(w.handle.Err())
					}
					missing()
					changed := w.handle.Changed()
					elapse(time.Hour)
					missing()
					w.True(!isClosed(changed))

					w.backend.Set("db", `{"name":"one"}`)
					elapse(30 * time.Second)
					w.True(isClosed(changed))
					w.shows("one", nil)

					changed = w.handle.Changed()
					remove(w.backend)
					elapse(80 * time.Second)
					w.True(isClosed(changed))
					missing()
				})
			})
		}
	}
}

// Optional accepts only a missing secret, at first and later.
func TestAnOptionalSecretThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := secretstest.NewBackend(nil)
		client := open(t, backend)
		for _, class := range []error{
			secrets.ErrPermissionDenied, secrets.ErrUnauthenticated, secrets.ErrUnavailable, secrets.ErrMalformed, secrets.ErrUnknown,
		} {
			backend.Recover()
			backend.Fail(class)
			_, err := client.Watch(t.Context(), "db", secrets.Optional())
			is.True(errors.Is(err, class))

			backend.Recover()
			h, err := client.Watch(t.Context(), "db", secrets.Optional())
			is.NoErr(err)
			changed := h.Changed()
			backend.Fail(class)
			elapse(30 * time.Second)
			is.True(errors.Is(h.Err(), class))
			is.True(h.Secret().IsZero())
			is.True(!isClosed(changed))
			is.NoErr(h.Close())
		}
	})
}

// An outage does not count as a missing secret.
func TestAnOptionalSecretInAnOutage(t *testing.T) {
	watchOptional(t, "db", map[string]string{"db": "one"}, nil, func(w *watching) {
		w.backend.Fail(secrets.ErrUnavailable)
		elapse(time.Hour)
		w.shows("one", secrets.ErrUnavailable)
		w.backend.Recover()
		w.backend.Remove("db")
		elapse(time.Minute)
		w.True(w.handle.Secret().IsZero())
		w.NoErr(w.handle.Err())
	})
}

// A missing secret is polled as often as an existing one. A handle without Optional for the same key has an error.
func TestPollsForAnOptionalSecret(t *testing.T) {
	for name, layers := range map[string][]func() secrets.Option{"without layers": nil, "with a cache": {exact}} {
		t.Run(name, func(t *testing.T) {
			watchOptional(t, "db", nil, layers, func(w *watching) {
				w.backend.ResetCounts()
				elapse(time.Hour)
				w.True(w.backend.Calls() >= 115 && w.backend.Calls() <= 140) // every 30 s, minus up to a tenth

				changed := w.handle.Changed()
				w.backend.Set("db", "one")
				_, err := w.client.Refresh(w.Context(), "db")
				w.NoErr(err)
				w.True(isClosed(changed))
				w.shows("one", nil)

				needs, err := w.client.Watch(w.Context(), "db")
				w.NoErr(err)
				w.backend.Remove("db")
				elapse(80 * time.Second)
				w.True(errors.Is(needs.Err(), secrets.ErrNotFound))
				w.Equal(needs.Secret().Reveal(), "one")
				w.NoErr(w.handle.Err())
				w.True(w.handle.Secret().IsZero())
			})
		})
	}
}

// A missing field does not affect the other fields of its document.
func TestAMissingFieldBesideOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := secretstest.NewBackend(map[string]string{"db": `{"user":"one"}`})
		client := open(t, backend, secrets.WithCache(cache.New(cache.WithTTL(5*time.Second), cache.WithJitter(0))))
		user, err := client.Watch(t.Context(), "db#user")
		is.NoErr(err)
		_, err = client.Watch(t.Context(), "db#params", secrets.Optional())
		is.NoErr(err)
		for range 20 {
			elapse(7 * time.Second)
			changed := user.Changed()
			backend.Set("db", `{"user":"`+time.Now().String()+`"}`)
			elapse(6 * time.Second)
			is.True(isClosed(changed))
		}
	})
}

// If a Refresh finds the secret missing or denied, handles show that at once.
func TestARefreshOfAMissingSecret(t *testing.T) {
	for name, layers := range map[string][]func() secrets.Option{"without layers": nil, "with a cache": {exact}} {
		t.Run(name, func(t *testing.T) {
			watchOptional(t, "db", map[string]string{"db": "one"}, layers, func(w *watching) {
				elapse(time.Second)
				w.backend.Remove("db")
				_, err := w.client.Refresh(w.Context(), "db")
				w.True(errors.Is(err, secrets.ErrNotFound))
				synctest.Wait()
				w.True(w.handle.Secret().IsZero())

				elapse(time.Second)
				w.backend.Fail(secrets.ErrPermissionDenied)
				_, err = w.client.Refresh(w.Context(), "db")
				w.True(errors.Is(err, secrets.ErrPermissionDenied))
				elapse(100 * time.Millisecond)
				w.True(errors.Is(w.handle.Err(), secrets.ErrPermissionDenied))
			})
		})
	}
}

package secrets_test

import (
	"context"
	"errors"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// ledger records the calls of HandedOut, by the name of the backend.
type ledger map[string][]string

func (l ledger) layer() *layer {
	return &layer{handOut: func(info secrets.Info, ref secrets.Ref, s secrets.Secret) {
		l[info.Name] = append(l[info.Name], ref.String()+"="+s.Reveal())
		if ref.Path == "panic" {
			panic("an entry is too long")
		}
	}}
}

func TestRedactionGetsWhatIsHandedOut(t *testing.T) {
	is := is.New(t)
	ctx := t.Context()
	b := secretstest.NewBackend(map[string]string{"key": "one", "doc": `{"user":"app","pin":1}`, "panic": "late"})
	l := make(ledger)
	c := open(t, b, secrets.WithRedaction(l.layer()), secrets.WithCache(cache.New()))
	told := func(want ...string) {
		t.Helper()
		is.Equal(l["fake"], want)
		delete(l, "fake")
	}
	_, err := c.Get(ctx, "doc#user")
	is.NoErr(err)
	told("doc#user=app") // the field, not its document
	_, err = c.Get(ctx, "doc#user")
	is.NoErr(err)
	told() // a hit was handed out before
	_, err = c.GetMany(ctx, "key", "doc#pin", "absent")
	is.True(errors.Is(err, secrets.ErrNotFound))
	told("key=one", "doc#pin=1")
	b.Set("key", "two")
	_, err = c.Refresh(ctx, "key")
	is.NoErr(err)
	told("key=two")
	_, err = c.GetOr(ctx, "absent", "default")
	is.NoErr(err)
	told() // a default is the caller's own
	s, err := c.Get(ctx, "panic")
	is.NoErr(err)
	is.Equal(s.Reveal(), "late") // despite the panic of the layer
	told("panic=late")
}

func TestTheRedactionOfTheAnsweringBackendIsCalled(t *testing.T) {
	is := is.New(t)
	ctx := t.Context()
	first := secretstest.NewBackend(map[string]string{"a": "first"}, secretstest.WithName("first"))
	second := secretstest.NewBackend(map[string]string{"b": "second"}, secretstest.WithName("second"))
	l := make(ledger)
	own := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
		if ref.Path == "own" {
			return secrets.NewSecret("made here", secrets.Meta{Backend: "middleware"}), nil
		}
		return next.Fetch(ctx, ref)
	})
	c := open(t, first, secrets.WithRedaction(l.layer()), secrets.WithFallback(fallback.OnNotFound(second)), secrets.WithMiddleware(own))
	for _, key := range []string{"a", "b", "own"} {
		_, err := c.Get(ctx, key)
		is.NoErr(err)
	}
	is.Equal(l, ledger{"first": {"a=first", "own=made here"}, "second": {"b=second"}})
}

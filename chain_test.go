package secrets_test

import (
	"slices"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// New calls GoesOn once for each class that the policy may decide. Reads do not call it.
func TestGoesOnIsCalledOncePerClass(t *testing.T) {
	is := is.New(t)
	policy := &chain{backends: []secrets.Backend{named("second"), named("third", "a", "1")}}
	client := open(t, newFake(), secrets.WithFallback(policy))
	asked := []error{secrets.ErrNotFound, secrets.ErrUnavailable, secrets.ErrMalformed, secrets.ErrInvalidKey, secrets.ErrUnknown}
	is.Equal(policy.asked, asked)
	for range 3 {
		s, err := client.Get(t.Context(), "a")
		is.NoErr(err)
		is.Equal(s.Meta().Backend, "third")
		_, err = client.GetMany(t.Context(), "a", "none")
		checkClass(t, err, secrets.ErrNotFound)
	}
	is.Equal(policy.asked, asked)
}

// After a denial, a deleted secret or a missing field, the chain stops, whatever the policy says. After the other classes
// the policy decides.
func TestWhereAChainGoesOn(t *testing.T) {
	never := []error{
		secrets.ErrPermissionDenied, secrets.ErrUnauthenticated, secrets.ErrDeleted, secrets.ErrFieldNotFound, secrets.ErrClosed,
	}
	for _, class := range sentinels() {
		for name, goesOn := range map[string][]error{"always": sentinels(), "never": {}, "by its class": {class}} {
			t.Run(class.Error()+", "+name, func(t *testing.T) {
				is := is.New(t)
				second := named("second", "a", "spare")
				client := open(t, failing(returns(class)),
					secrets.WithFallback(&chain{backends: []secrets.Backend{second}, goesOn: goesOn}))
				s, err := client.Get(t.Context(), "a")
				found, errs := client.GetMany(t.Context(), "a")
				if slices.Contains(never, class) || name == "never" {
					checkClass(t, err, class)
					checkClass(t, errs, class)
					is.Equal(second.calls.Load(), int64(0))
					return
				}
				is.NoErr(err)
				is.NoErr(errs)
				is.Equal(s.Reveal(), "spare")
				is.Equal(found["a"].Reveal(), "spare")
			})
		}
	}
}

// A chain with an outage in it does not read as "not found".
func TestErrorOfAChain(t *testing.T) {
	for _, tc := range []struct {
		answers []error
		want    error
		asked   int
	}{
		{[]error{secrets.ErrNotFound, secrets.ErrNotFound, secrets.ErrNotFound}, secrets.ErrNotFound, 3},
		{[]error{secrets.ErrNotFound, secrets.ErrUnavailable, secrets.ErrNotFound}, secrets.ErrUnavailable, 3},
		{[]error{secrets.ErrUnavailable, secrets.ErrDeleted, secrets.ErrNotFound}, secrets.ErrUnavailable, 2},
		{[]error{secrets.ErrNotFound, secrets.ErrDeleted, secrets.ErrNotFound}, secrets.ErrDeleted, 2},
		{[]error{secrets.ErrUnavailable, secrets.ErrPermissionDenied, secrets.ErrNotFound}, secrets.ErrPermissionDenied, 2},
		{[]error{secrets.ErrPermissionDenied, secrets.ErrNotFound, secrets.ErrNotFound}, secrets.ErrPermissionDenied, 1},
	} {
		is := is.New(t)
		var backends []secrets.Backend
		var calls []*fake
		for i, class := range tc.answers {
			b := failing(returns(class))
			b.info.Name = string(rune('a' + i))
			backends, calls = append(backends, b), append(calls, b)
		}
		client := open(t, backends[0], secrets.WithFallback(&chain{
			backends: backends[1:], goesOn: []error{secrets.ErrNotFound, secrets.ErrUnavailable},
		}))
		_, err := client.Get(t.Context(), "key")
		checkClass(t, err, tc.want)
		is.Equal(len(err.(*secrets.Error).Causes), tc.asked-1) // every other answer is a cause
		for i, b := range calls {
			is.Equal(b.calls.Load() > 0, i < tc.asked)
		}
	}
}

// A hit of a chain calls no policy and no backend, even if an earlier backend is known not to have the secret.
func TestHitsOfAChain(t *testing.T) {
	is := is.New(t)
	first, second := named("first", "a", "1"), named("second", "b", "2")
	client := open(t, first, to(second), secrets.WithCache(cache.New()))
	for range 3 {
		for _, key := range []string{"a", "b"} {
			_, err := client.Get(t.Context(), key)
			is.NoErr(err)
		}
		found, err := client.GetMany(t.Context(), "a", "b")
		is.NoErr(err)
		is.Equal(len(found), 2)
	}
	is.Equal(first.takeAsked(), []string{"a", "b"})
	is.Equal(second.takeAsked(), []string{"b"})
}

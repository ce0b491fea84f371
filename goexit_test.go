package secrets_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
)

// A middleware that ends the goroutine leaves no key of a GetMany without an answer.
func TestGoexitOfAMiddlewareInGetMany(t *testing.T) {
	is := is.New(t)
	ends := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
		if ref.Path == "b" {
			runtime.Goexit()
		}
		return next.Fetch(ctx, ref)
	})
	client := open(t, newFake("a", "1", "b", "2"), middleware.Standard(), secrets.WithMiddleware(ends))
	found, err := client.GetMany(t.Context(), "a", "b")
	is.Equal(len(found), 1)
	is.Equal(found["a"].Reveal(), "1") // the control
	all, ok := errors.AsType[secrets.Errors](err)
	is.True(ok)
	is.Equal(len(all), 1)
	is.Equal(all[0].Key, "b")
	checkClass(t, all[0], secrets.ErrUnknown)
}

// If the fallback answers one key in an outage of the first backend, and the first backend answers another key of the path, the error is
// an outage, not a not-found.
func TestOutageOfOneKeyOfAPath(t *testing.T) {
	is := is.New(t)
	first := failing(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		if ref.Path == "db/password" {
			return secrets.Secret{}, secrets.ErrUnavailable
		}
		return secrets.NewSecret("user of first", secrets.Meta{}), nil
	}).resolvedBy(func(ref secrets.Ref) secrets.Ref { return secrets.Ref{Path: ref.Path + "/" + ref.Field} })
	second := named("second", "db", `{"user":"user of second","password":"password of second"}`)
	found, err := open(t, first, to(second)).GetMany(t.Context(), "db#user", "db#password")
	is.Equal(found["db#user"].Reveal(), "user of first")
	is.Equal(len(found), 1)
	is.True(!errors.Is(err, secrets.ErrNotFound))
	checkClass(t, err, secrets.ErrUnavailable)
}

package soak_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
)

// A regression: in a GetMany where other documents were so slow that a lease ended twice, the error had no backend.
func TestALeaseThatEndsTwiceNamesTheBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		type document struct{ takes, lease time.Duration }
		documents := map[string]document{
			"short": {0, 30 * time.Millisecond},
			"slow":  {60 * time.Millisecond, 90 * time.Millisecond},
			"once":  {300 * time.Millisecond, time.Hour}, // by then, the others have expired and are fetched again
		}
		client, err := secrets.New(secrets.NewBackend(secrets.Info{Name: "leases"},
			func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
				d := documents[ref.Path]
				time.Sleep(d.takes)
				return secrets.NewSecret("value", secrets.Meta{ExpiresAt: time.Now().Add(d.lease)}), nil
			}))
		is.NoErr(err)
		found, err := client.GetMany(t.Context(), "short", "slow", "once")
		is.Equal(len(found), 2)
		e, ok := errors.AsType[*secrets.Error](err)
		is.True(ok)
		is.Equal(e.Error(), "secrets: leases: short: unavailable: the lease was over when it arrived")
		is.NoErr(client.Close())
	})
}

// A regression: the first source fails for one field, answers for the other with a lease that ends while a third document is fetched, and
// fails again. Meanwhile the second source, which has no versions, has changed.
func TestAPairWithoutVersionsIsNotTorn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		pair := func(n int) string { return fmt.Sprintf(`{"user":"user-%d","password":"password-%d"}`, n, n) }
		calls := 0
		first := secrets.NewBackend(secrets.Info{Name: "first"}, func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
			if ref.Path == "slow" {
				time.Sleep(100 * time.Millisecond)
				return secrets.NewSecret("value", secrets.Meta{}), nil
			}
			if calls++; calls != 2 {
				return secrets.Secret{}, secrets.ErrUnavailable
			}
			return secrets.NewSecret(pair(0), secrets.Meta{ExpiresAt: time.Now().Add(30 * time.Millisecond)}), nil
		})
		version := 0
		second := secrets.NewBackend(secrets.Info{Name: "second"}, func(context.Context, secrets.Ref) (secrets.Secret, error) {
			version++
			return secrets.NewSecret(pair(version), secrets.Meta{}), nil
		})
		later := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
			if ref.Field == "password" {
				time.Sleep(10 * time.Millisecond)
			}
			return next.Fetch(ctx, ref)
		})
		client, err := secrets.New(first, secrets.WithFallback(fallback.To(second)), secrets.WithMiddleware(later))
		is.NoErr(err)
		found, err := client.GetMany(t.Context(), "db#user", "db#password", "slow")
		user, pass := found["db#user"], found["db#password"]
		is.NoErr(err)
		is.Equal(strings.TrimPrefix(user.Reveal(), "user-"), strings.TrimPrefix(pass.Reveal(), "password-")) // of one fetch
		is.NoErr(client.Close())
	})
}

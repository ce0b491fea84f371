package soak_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

// TestALeaseThatIsOverTwiceNamesTheBackend is what the soak test found: of a GetMany in which other documents took so long that a lease
// was over, twice, the error had no backend.
func TestALeaseThatIsOverTwiceNamesTheBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		type document struct{ takes, lease time.Duration }
		documents := map[string]document{
			"short": {0, 30 * time.Millisecond},
			"slow":  {60 * time.Millisecond, 90 * time.Millisecond},
			"once":  {300 * time.Millisecond, time.Hour}, // by then, the others are over, and are fetched once more
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

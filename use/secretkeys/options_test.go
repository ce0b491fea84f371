package secretkeys_test

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/use/secretkeys"
)

func TestFaults(t *testing.T) {
	client := open(t, newShared())
	for name, tc := range map[string]struct {
		client *secrets.Client
		opts   []secretkeys.Option
		want   string
	}{
		"no client":  {nil, nil, "secretkeys: a nil *secrets.Client"},
		"nil option": {client, []secretkeys.Option{nil}, "secretkeys: option 1 is nil"},
		"all zero": {
			client,
			[]secretkeys.Option{secretkeys.Interval(0), secretkeys.ActivateAfter(0), secretkeys.Overlap(0)},
			"secretkeys: Interval: 0s is not more than 0\nsecretkeys: ActivateAfter: 0s is not more than 0\n" +
				"secretkeys: Overlap: 0s is not more than 0",
		},
		"a forgotten unit": {
			client,
			[]secretkeys.Option{secretkeys.Interval(30)},
			"secretkeys: Interval: 30ns; did you mean 30*time.Second?",
		},
		"too long": {
			client,
			[]secretkeys.Option{secretkeys.ActivateAfter(math.MaxInt64), secretkeys.Overlap(math.MaxInt64)},
			"secretkeys: ActivateAfter: more than 100 years\nsecretkeys: Overlap: more than 100 years",
		},
		"an interval that is too long": {
			client,
			[]secretkeys.Option{secretkeys.Interval(math.MaxInt64), secretkeys.ActivateAfter(time.Hour)},
			"secretkeys: Interval: more than 100 years",
		},
		"an overlap that is too short": {
			client,
			[]secretkeys.Option{secretkeys.Overlap(59 * time.Second)},
			"secretkeys: Overlap: 59s is less than ActivateAfter, 1m0s: peers may sign with a replaced key for that long",
		},
		"no fields": {
			client,
			[]secretkeys.Option{secretkeys.Fields("", "")},
			"secretkeys: Fields: the field of the id is empty\nsecretkeys: Fields: the field of the key is empty",
		},
		"no field of the key": {client, []secretkeys.Option{secretkeys.Fields("id", "")}, "secretkeys: Fields: the field of the key is empty"},
		"one field":           {client, []secretkeys.Option{secretkeys.Fields("key", "key")}, `secretkeys: Fields: both fields are "key"`},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			_, err := secretkeys.Open(t.Context(), tc.client, "signing", tc.opts...)
			is.True(err != nil)
			is.Equal(err.Error(), tc.want)
		})
	}
}

// The longest times do not overflow.
func TestLongestTimes(t *testing.T) {
	const longest = 100 * 365 * 24 * time.Hour
	inBubble(t, func(t *testing.T, backend *shared, keys *secretkeys.Keys) {
		is := is.New(t)
		backend.Set("signing", "key 2")
		late := keysOf(t, backend, secretkeys.ActivateAfter(longest), secretkeys.Overlap(longest))
		after(time.Hour)
		for _, keys := range []*secretkeys.Keys{keys, late} {
			is.Equal(active(t, keys), "1")
			is.Equal(known(t, keys), "12")
		}
	}, secretkeys.ActivateAfter(longest), secretkeys.Overlap(longest))
}

func TestOpenFailsAsGetDoes(t *testing.T) {
	is := is.New(t)
	backend := newShared()
	client := open(t, backend)
	_, err := secretkeys.Open(t.Context(), client, "absent")
	is.True(errors.Is(err, secrets.ErrNotFound))
	backend.FailPath("signing", secrets.ErrPermissionDenied)
	_, err = secretkeys.Open(t.Context(), client, "signing")
	is.True(errors.Is(err, secrets.ErrPermissionDenied))
}

func TestKeysEnd(t *testing.T) {
	for name, end := range map[string]func(keys *secretkeys.Keys, cancel context.CancelFunc, client *secrets.Client) error{
		"with Close":  func(keys *secretkeys.Keys, _ context.CancelFunc, _ *secrets.Client) error { return keys.Close() },
		"with ctx":    func(_ *secretkeys.Keys, cancel context.CancelFunc, _ *secrets.Client) error { cancel(); return nil },
		"with Client": func(_ *secretkeys.Keys, _ context.CancelFunc, client *secrets.Client) error { return client.Close() },
		"Close, twice": func(keys *secretkeys.Keys, _ context.CancelFunc, _ *secrets.Client) error {
			return errors.Join(keys.Close(), keys.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				backend := newShared()
				client := open(t, backend)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				keys, err := secretkeys.Open(ctx, client, "signing")
				is.NoErr(err)
				is.NoErr(end(keys, cancel, client))
				synctest.Wait()
				is.True(errors.Is(keys.Err(), secrets.ErrClosed))
				backend.Set("signing", "key 2")
				calls := backend.Calls()
				after(time.Hour)
				is.Equal(backend.Calls(), calls)
				is.Equal(active(t, keys), "1")
				is.Equal(known(t, keys), "1")
				is.NoErr(keys.Close())
			})
		})
	}
}

// Close ends a hanging read of the other versions.
func TestCloseEndsAReadOfOtherVersions(t *testing.T) {
	inBubble(t, func(t *testing.T, backend *shared, keys *secretkeys.Keys) {
		is := is.New(t)
		backend.Set("signing", "key 2")
		var hangs atomic.Bool
		backend.OnCall(func(ctx context.Context, refs []secrets.Ref) error {
			if refs[0].Version == "" {
				return nil
			}
			hangs.Store(true)
			<-ctx.Done()
			return ctx.Err()
		})
		after(seen)
		is.True(hangs.Load())
		is.Equal(known(t, keys), "12") // the new key does not wait for that
		is.NoErr(keys.Close())
	})
}

package secretkeys_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretkeys"
)

func TestNewKeyVerifiesAtOnceAndSignsLater(t *testing.T) {
	inBubble(t, func(t *testing.T, backend *shared, keys *secretkeys.Keys) {
		is := is.New(t)
		is.Equal(active(t, keys), "1")
		is.Equal(known(t, keys), "1")
		backend.Set("signing", "key 2")
		after(seen)
		is.Equal(active(t, keys), "1") // peers may not have the new one
		is.Equal(known(t, keys), "12")
		after(29 * time.Second) // at most one minute after the rotation
		is.Equal(active(t, keys), "1")
		after(seen)
		is.Equal(active(t, keys), "2")
		is.Equal(known(t, keys), "12")
		after(24*time.Hour - time.Minute)
		is.Equal(known(t, keys), "12") // the default overlap
		after(2 * time.Minute)
		is.Equal(known(t, keys), "2")
		is.Equal(active(t, keys), "2")
		is.NoErr(keys.Err())
	})
}

// Polls must bypass the cache. Otherwise a process would get a key after 4 minutes, while peers sign with it after one.
func TestCacheDoesNotDelayTheKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := newShared()
		client := open(t, backend, middleware.Standard())
		keys, err := secretkeys.Open(t.Context(), client, "signing")
		is.NoErr(err)
		defer keys.Close()
		backend.Set("signing", "key 2")
		s, err := client.Get(t.Context(), "signing")
		is.NoErr(err)
		is.Equal(s.Meta().Version, "1") // control: it is cached
		after(seen)
		is.Equal(known(t, keys), "12")
	})
}

func TestOptionsSetTheTimes(t *testing.T) {
	inBubble(t, func(t *testing.T, backend *shared, keys *secretkeys.Keys) {
		is := is.New(t)
		backend.Set("signing", "key 2")
		after(2 * time.Second)
		is.Equal(known(t, keys), "12")
		after(4 * time.Second)
		is.Equal(active(t, keys), "1")
		after(5 * time.Second)
		is.Equal(active(t, keys), "2")
		after(20 * time.Second)
		is.Equal(known(t, keys), "12")
		after(11 * time.Second)
		is.Equal(known(t, keys), "2")
	}, secretkeys.Interval(2*time.Second), secretkeys.ActivateAfter(8*time.Second), secretkeys.Overlap(30*time.Second))
}

func TestEachOfSeveralNewKeysHasItsTurn(t *testing.T) {
	inBubble(t, func(t *testing.T, backend *shared, keys *secretkeys.Keys) {
		is := is.New(t)
		for n := 2; n <= 4; n++ {
			backend.Set("signing", "key "+strconv.Itoa(n))
			after(seen)
		}
		is.Equal(known(t, keys), "1234")
		var turns string
		for range 200 {
			if id := active(t, keys); turns == "" || turns[len(turns)-1:] != id {
				turns += id
			}
			after(time.Second)
		}
		is.Equal(turns, "234")
		after(24*time.Hour + time.Minute)
		is.Equal(known(t, keys), "4")
	})
}

// Two rotations between two polls: a peer that polled between them may sign with the version in the middle.
func TestAMissedVersionVerifies(t *testing.T) {
	inBubble(t, func(t *testing.T, backend *shared, keys *secretkeys.Keys) {
		is := is.New(t)
		backend.Set("signing", "key 2")
		backend.Set("signing", "key 3")
		after(seen)
		is.Equal(known(t, keys), "123")
		after(2 * time.Minute)
		is.Equal(active(t, keys), "3")
	})
}

// rolled is a backend whose current version can become the first one again, as in AWS when the stage is moved back.
type rolled struct {
	*shared

	back atomic.Bool
}

func (r *rolled) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	if r.back.Load() && ref.Version == "" {
		ref.Version = "1"
	}
	return r.shared.Fetch(ctx, ref)
}

func TestRollback(t *testing.T) {
	t.Run("before the new key signs, it never does", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			backend := &rolled{shared: newShared()}
			keys := keysOf(t, backend)
			backend.Set("signing", "key 2")
			after(seen)
			backend.back.Store(true)
			for range 5 {
				after(seen)
				is.Equal(active(t, keys), "1")
				is.Equal(known(t, keys), "12") // peers may have signed with it
			}
			after(24*time.Hour + 2*time.Minute)
			is.Equal(known(t, keys), "1")
		})
	})
	t.Run("after that, the old key waits like a new one", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			backend := &rolled{shared: newShared()}
			keys := keysOf(t, backend)
			backend.Set("signing", "key 2")
			after(2 * time.Minute)
			is.Equal(active(t, keys), "2")
			backend.back.Store(true)
			after(seen)
			is.Equal(active(t, keys), "2")
			after(time.Minute)
			is.Equal(active(t, keys), "1")
			after(25 * time.Hour)
			is.Equal(known(t, keys), "1")
		})
	})
}

func TestOpenCostsFewCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := newShared()
		backend.Set("signing", "key 2")
		keys, err := secretkeys.Open(t.Context(), open(t, backend, middleware.Standard()), "signing")
		is.NoErr(err)
		defer keys.Close()
		is.Equal(backend.Calls(), 3) // the current version, once more for the others, and version 1
		backend.Set("signing", "key 3")
		after(seen)
		is.Equal(known(t, keys), "123")
		is.Equal(backend.Calls(), 3+1+2) // a poll, once more for the others, and version 2
	})
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := secretstest.NewBackend(map[string]string{"signing": "key 1"}) // without other versions
		keys, err := secretkeys.Open(t.Context(), open(t, backend), "signing")
		is.NoErr(err)
		defer keys.Close()
		is.Equal(backend.Calls(), 1)
	})
}

// A Do of the same key tries the same candidates with and without the keys.
func TestOpenDoesNotDisturbDo(t *testing.T) {
	openKeys := func(t *testing.T, client *secrets.Client, with bool) {
		t.Helper()
		if with {
			keys, err := secretkeys.Open(t.Context(), client, "signing")
			is.New(t).NoErr(err)
			t.Cleanup(func() { is.New(t).NoErr(keys.Close()) })
		}
	}
	for _, with := range []bool{false, true} { // false is the control
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			backend := newShared()
			backend.Set("signing", "key 2")
			client := open(t, backend)
			var tried string
			login := func(accepted string) {
				tried = ""
				is.NoErr(client.Do(t.Context(), "signing", func(_ context.Context, s secrets.Secret) error {
					tried += s.Meta().Version
					if s.Reveal() != accepted {
						return secrets.ErrRejected
					}
					return nil
				}))
			}
			login("key 1")
			is.Equal(tried, "21")
			after(11 * time.Second)
			openKeys(t, client, with)
			login("key 1")
			is.Equal(tried, "1") // an accepted version is tried first
		})
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			backend := newShared()
			client := open(t, backend)
			openKeys(t, client, with)
			var tried string
			is.NoErr(client.Do(t.Context(), "signing", func(_ context.Context, s secrets.Secret) error {
				tried += s.Meta().Version
				if tried == "1" {
					backend.Set("signing", "key 2")
					return secrets.ErrRejected
				}
				return nil
			}))
			is.Equal(tried, "12") // no back-off: the backend is called
		})
	}
}

func TestKeysStayAfterAFailure(t *testing.T) {
	for name, tc := range map[string]struct {
		fail func(*shared)
		want error
	}{
		"denied":  {func(b *shared) { b.FailPath("signing", secrets.ErrPermissionDenied) }, secrets.ErrPermissionDenied},
		"deleted": {func(b *shared) { b.Delete("signing") }, secrets.ErrDeleted},
		"outage":  {func(b *shared) { b.Fail(secrets.ErrUnavailable) }, secrets.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, backend *shared, keys *secretkeys.Keys) {
				is := is.New(t)
				tc.fail(backend)
				after(seen)
				is.True(errors.Is(keys.Err(), tc.want))
				is.Equal(active(t, keys), "1")
				is.Equal(known(t, keys), "1")
				backend.Recover()
				backend.Set("signing", "key 2")
				after(seen)
				is.NoErr(keys.Err())
				is.Equal(known(t, keys), "12")
			})
		})
	}
}

// If reading the other versions fails, the keys stay in use, Err reports it, and the read is retried.
func TestFailedReadsOfOtherVersionsAreRetried(t *testing.T) {
	inBubble(t, func(t *testing.T, backend *shared, keys *secretkeys.Keys) {
		is := is.New(t)
		backend.Set("signing", "key 2")
		backend.Set("signing", "key 3")
		var fetches atomic.Int64
		backend.OnCall(func(context.Context, []secrets.Ref) error {
			if fetches.Add(1) == 1 { // the poll
				return nil
			}
			return secrets.ErrUnavailable
		})
		after(30 * time.Second)
		is.True(fetches.Load() > 1)
		is.True(errors.Is(keys.Err(), secrets.ErrUnavailable))
		is.Equal(known(t, keys), "13")
		backend.OnCall(nil)
		after(2 * time.Minute)
		is.NoErr(keys.Err())
		is.Equal(known(t, keys), "123")
	})
}

// KV v2 starts again at version 1 if a secret is deleted with its metadata.
func TestVersionWithAnotherValueIsReplacedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, backend *shared, keys *secretkeys.Keys) {
		is := is.New(t)
		backend.SetVersion("signing", "1", "another")
		after(seen)
		id, key := keys.Active()
		is.Equal(id, "1")
		is.Equal(key.Reveal(), "another")
		key, ok := keys.ByID("1")
		is.True(ok)
		is.Equal(key.Reveal(), "another")
	})
}

func TestMemoryIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, backend *shared, keys *secretkeys.Keys) {
		is := is.New(t)
		const rotations = 1200
		for n := 2; n <= rotations; n++ {
			backend.Set("signing", "key "+strconv.Itoa(n))
			after(time.Second)
		}
		count := 0
		for n := 1; n <= rotations; n++ {
			if _, ok := keys.ByID(strconv.Itoa(n)); ok {
				count++
			}
		}
		is.Equal(count, 1000)
		_, ok := keys.ByID(strconv.Itoa(rotations))
		is.True(ok)
	}, secretkeys.Interval(time.Second), secretkeys.ActivateAfter(time.Hour), secretkeys.Overlap(100*time.Hour))
}

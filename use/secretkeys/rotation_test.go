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
		is.Equal(active(t, keys), "1") // peers may not have seen the new one
		is.Equal(known(t, keys), "12")
		after(29 * time.Second) // one minute after the rotation at most
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

// With a cache, a process must look past it: otherwise it sees a key after 4 minutes, and peers sign after one.
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

func TestOptionsSayWhen(t *testing.T) {
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

// Two rotations between two looks: a peer that has looked between them may sign with the one in the middle.
func TestVersionThatWasMissedVerifies(t *testing.T) {
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

// rolled is a backend whose current version may become the first one again, as AWS's does if its stage is moved back.
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
	t.Run("after that, the old key waits as a new one does", func(t *testing.T) {
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
		is.Equal(backend.Calls(), 3+1+2) // a look, once more for the others, and version 2
	})
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := secretstest.NewBackend(map[string]string{"signing": "key 1"}) // it names no other versions
		keys, err := secretkeys.Open(t.Context(), open(t, backend), "signing")
		is.NoErr(err)
		defer keys.Close()
		is.Equal(backend.Calls(), 1)
	})
}

// A Do of the same key tries the candidates that it would try without the keys.
func TestOpenDisturbsNoDo(t *testing.T) {
	openKeys := func(t *testing.T, client *secrets.Client, with bool) {
		t.Helper()
		if with {
			keys, err := secretkeys.Open(t.Context(), client, "signing")
			is.New(t).NoErr(err)
			t.Cleanup(func() { is.New(t).NoErr(keys.Close()) })
		}
	}
	for _, with := range []bool{false, true} { // without them is the control
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
			is.Equal(tried, "1") // what was accepted is tried first
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
			is.Equal(tried, "12") // the backend is asked: there is no back-off
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

// The other versions cannot be had when a new one comes: the keys go on, say so, and ask again.
func TestOtherVersionsAreAskedForAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, backend *shared, keys *secretkeys.Keys) {
		is := is.New(t)
		backend.Set("signing", "key 2")
		backend.Set("signing", "key 3")
		var fetches atomic.Int64
		backend.OnCall(func(context.Context, []secrets.Ref) error {
			if fetches.Add(1) == 1 { // that of the look
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

// KV version 2 begins with version 1 again if a secret is deleted with its metadata.
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

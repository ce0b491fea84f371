package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
)

// Memos must not change results, only their speed. These tests read each key often enough that a memo answers, and check the results.

// pair is a backend of documents whose user and password contain their version.
type pair struct {
	name    string
	local   bool
	missing atomic.Bool
	down    atomic.Bool
	deleted atomic.Bool
	version atomic.Int64
	calls   atomic.Int64
	lease   time.Duration
}

func (p *pair) Info() secrets.Info { return secrets.Info{Name: p.name, Local: p.local} }
func (p *pair) Close() error       { return nil }

func (p *pair) Fetch(_ context.Context, _ secrets.Ref) (secrets.Secret, error) {
	p.calls.Add(1)
	if p.deleted.Load() {
		return secrets.Secret{}, &secrets.Error{Err: secrets.ErrDeleted}
	}
	if p.missing.Load() {
		return secrets.Secret{}, &secrets.Error{Err: secrets.ErrNotFound}
	}
	if p.down.Load() {
		return secrets.Secret{}, &secrets.Error{Err: secrets.ErrUnavailable}
	}
	v := p.version.Load()
	meta := secrets.Meta{Version: fmt.Sprint(v)}
	if p.lease > 0 {
		meta.ExpiresAt = time.Now().Add(p.lease)
	}
	return secrets.NewSecret(fmt.Sprintf(`{"user":"u%d","password":"p%d"}`, v, v), meta), nil
}

func newClient(t *testing.T, backend secrets.Backend, opts ...secrets.Option) *secrets.Client {
	t.Helper()
	client, err := secrets.New(backend, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// value reads key three times, to get the answer from each path through the cache.
func value(t *testing.T, client *secrets.Client, key string) string {
	t.Helper()
	var got string
	for i := range 3 {
		s, err := client.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && s.Reveal() != got {
			t.Fatalf("%s differs from one read to the next", key)
		}
		got = s.Reveal()
	}
	return got
}

func TestMemosGoWithTheirEntries(t *testing.T) {
	const ttl = 10 * time.Second
	changes := map[string]func(client *secrets.Client, memory *cache.Cache){
		"invalidate":       func(client *secrets.Client, _ *cache.Cache) { client.Invalidate("db") },
		"invalidate field": func(client *secrets.Client, _ *cache.Cache) { client.Invalidate("db#user") },
		"purge":            func(_ *secrets.Client, memory *cache.Cache) { memory.Purge() },
		"expiry":           func(*secrets.Client, *cache.Cache) { time.Sleep(ttl) },
		"refresh": func(client *secrets.Client, _ *cache.Cache) {
			_, _ = client.Refresh(context.Background(), "db#password")
		},
		"eviction": func(client *secrets.Client, _ *cache.Cache) {
			for i := range 20 {
				_, _ = client.Get(context.Background(), fmt.Sprint("other", i))
			}
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				memory := cache.New(exact, cache.WithTTL(ttl), cache.WithSize(10), cache.WithRefreshAhead(0))
				backend := &pair{name: "pair"}
				client := newClient(t, backend, secrets.WithCache(memory), secrets.WithDedup(dedup.New()))
				keys := map[string]string{"db#user": "u%d", "db#password": "p%d", "db": `{"user":"u%[1]d","password":"p%[1]d"}`}
				for version := range 4 {
					for key, format := range keys {
						is.Equal(value(t, client, key), fmt.Sprintf(format, version))
					}
					backend.version.Add(1)
					change(client, memory)
				}
			})
		})
	}
}

// TestMemosExpireExactly checks the nanosecond at which a value ends, after pauses of several lengths between reads: the coarse clock runs
// or is stopped.
func TestMemosExpireExactly(t *testing.T) {
	for _, ttl := range []time.Duration{50 * time.Millisecond, time.Second, 10 * time.Second, 24 * time.Hour} {
		for _, pause := range []time.Duration{0, time.Millisecond, 70 * time.Millisecond, 300 * time.Millisecond} {
			t.Run(fmt.Sprintf("%v/%v", ttl, pause), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					backend := &pair{name: "pair"}
					client := newClient(t, backend, secrets.WithCache(
						cache.New(exact, cache.WithTTL(ttl), cache.WithRefreshAhead(0))))
					began := time.Now()
					is.Equal(value(t, client, "db#user"), "u0")
					backend.version.Add(1)
					// Reads in the last second before the end, and before that.
					for _, before := range []time.Duration{ttl, time.Second} {
						if before > ttl {
							continue
						}
						time.Sleep(time.Until(began.Add(ttl - before)))
						for range 20 {
							time.Sleep(pause)
							if time.Since(began) < ttl {
								is.Equal(value(t, client, "db#user"), "u0")
							}
						}
					}
					if until := time.Until(began.Add(ttl - 1)); until > 0 {
						time.Sleep(until)
						is.Equal(value(t, client, "db#user"), "u0")
						time.Sleep(time.Nanosecond)
					}
					is.Equal(value(t, client, "db#user"), "u1")
				})
			})
		}
	}
}

func TestMemosDoNotPreventRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := &pair{name: "pair"}
		client := newClient(t, backend, secrets.WithCache(cache.New(exact, cache.WithTTL(10*time.Second))))
		is.Equal(value(t, client, "db#user"), "u0")
		backend.version.Add(1)
		time.Sleep(8*time.Second - 1)
		is.Equal(value(t, client, "db#user"), "u0")
		is.Equal(backend.calls.Load(), int64(1))
		time.Sleep(time.Nanosecond)
		_, err := client.Get(t.Context(), "db#user")
		is.NoErr(err)
		synctest.Wait()
		is.Equal(backend.calls.Load(), int64(2))
		is.Equal(value(t, client, "db#user"), "u1")
	})
}

// TestMemosAndStaleValues reads often in an outage that outlasts the TTL. From the TTL on, each value is marked as stale; after MaxStale,
// it is gone.
func TestMemosAndStaleValues(t *testing.T) {
	for _, pause := range []time.Duration{100 * time.Millisecond, 700 * time.Millisecond, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			backend := &pair{name: "pair"}
			client := newClient(t, backend, secrets.WithCache(
				cache.New(exact, cache.WithTTL(time.Minute), cache.WithMaxStale(time.Minute))))
			began := time.Now()
			is.Equal(value(t, client, "db#user"), "u0")
			backend.down.Store(true)
			for age := time.Duration(0); age < 130*time.Second; age = time.Since(began) {
				for range 3 {
					s, err := client.Get(t.Context(), "db#user")
					found, errs := client.GetMany(t.Context(), "db#user")
					if age >= 2*time.Minute {
						is.True(errors.Is(err, secrets.ErrUnavailable))
						is.True(errors.Is(errs, secrets.ErrUnavailable))
						continue
					}
					is.NoErr(err)
					is.NoErr(errs)
					is.Equal(s.Meta().Stale, age >= time.Minute)
					is.Equal(found["db#user"].Meta().Stale, age >= time.Minute)
				}
				time.Sleep(pause)
			}
		})
	}
}

func TestMemosEndWithTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := &pair{name: "pair", lease: time.Minute}
		client := newClient(t, backend, secrets.WithCache(cache.New(exact, cache.WithRefreshAhead(0))))
		is.Equal(value(t, client, "db#user"), "u0")
		backend.version.Add(1)
		time.Sleep(time.Minute - 1)
		is.Equal(value(t, client, "db#user"), "u0")
		time.Sleep(time.Nanosecond)
		is.Equal(value(t, client, "db#user"), "u1")
	})
}

func TestMemosOfChains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		first, second := &pair{name: "first"}, &pair{name: "second"}
		second.version.Store(7)
		client := newClient(t, first, secrets.WithFallback(fallback.To(second)),
			secrets.WithCache(cache.New(exact, cache.WithRefreshAhead(0))))
		is.Equal(value(t, client, "db#user"), "u0")
		is.Equal(second.calls.Load(), int64(0))

		first.missing.Store(true)
		client.Invalidate("db")
		is.Equal(value(t, client, "db#user"), "u7") // the first does not have it
		is.Equal(first.calls.Load(), int64(2))
		is.Equal(second.calls.Load(), int64(1))

		first.missing.Store(false)
		time.Sleep(5*time.Second - 1)
		is.Equal(value(t, client, "db#user"), "u7")
		time.Sleep(time.Nanosecond) // the not-found of the first has expired, and its value comes first again
		is.Equal(value(t, client, "db#user"), "u0")
		is.Equal(first.calls.Load(), int64(3))

		first.missing.Store(true)
		second.missing.Store(true)
		client.Invalidate("db")
		for range 3 {
			_, err := client.Get(t.Context(), "db#user")
			is.True(errors.Is(err, secrets.ErrNotFound))
		}
		is.Equal(first.calls.Load(), int64(4))
	})
}

// The first backend deletes a secret. Before, it did not have the secret and the second backend did, which both are cached.
func TestMemosOfADeletedSecretStopAChain(t *testing.T) {
	is := is.New(t)
	first, second := &pair{name: "first"}, &pair{name: "second"}
	first.missing.Store(true)
	client := newClient(t, first, secrets.WithFallback(fallback.To(second)), secrets.WithCache(cache.New()))
	is.Equal(value(t, client, "db#user"), "u0")
	first.deleted.Store(true)
	client.Invalidate("db")
	for range 3 {
		_, err := client.Get(t.Context(), "db#user")
		is.True(errors.Is(err, secrets.ErrDeleted))
	}
}

func TestMemosOfAChainWithALocalBackend(t *testing.T) {
	is := is.New(t)
	first, local := &pair{name: "first"}, &pair{name: "local", local: true}
	first.missing.Store(true)
	client := newClient(t, first, secrets.WithFallback(fallback.To(local)), secrets.WithCache(cache.New()))
	for version := range 4 {
		local.version.Store(int64(version))
		s, err := client.Get(t.Context(), "db#user")
		is.NoErr(err)
		is.Equal(s.Reveal(), fmt.Sprint("u", version)) // never cached
	}
	is.Equal(first.calls.Load(), int64(1))
}

func TestMemosDoNotBypassMiddleware(t *testing.T) {
	is := is.New(t)
	var seen atomic.Int64
	audit := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
		seen.Add(1)
		return next.Fetch(ctx, ref)
	})
	client := newClient(t, &pair{name: "pair"}, secrets.WithCache(cache.New()), secrets.WithMiddleware(audit))
	for range 5 {
		_, err := client.Get(t.Context(), "db")
		is.NoErr(err)
		_, err = client.GetMany(t.Context(), "db", "db#user")
		is.NoErr(err)
	}
	is.Equal(seen.Load(), int64(15))
}

func TestHitWithAFinishedContext(t *testing.T) {
	is := is.New(t)
	client := newClient(t, &pair{name: "pair"}, secrets.WithCache(cache.New()))
	is.Equal(value(t, client, "db"), `{"user":"u0","password":"p0"}`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s, err := client.Get(ctx, "db")
	is.True(errors.Is(err, context.Canceled))
	is.True(s.IsZero())
	found, err := client.GetMany(ctx, "db")
	is.True(errors.Is(err, context.Canceled))
	is.Equal(len(found), 0)
}

// A GetMany that is not answered from memory as a whole is read again, and its hits are counted once.
func TestHitsOfAPartialGetManyAreCountedOnce(t *testing.T) {
	is := is.New(t)
	memory := cache.New(cache.WithHitCount())
	client := newClient(t, &pair{name: "pair"}, secrets.WithCache(memory))
	ask := func(keys ...string) cache.Stats {
		before := memory.Stats()
		_, _ = client.GetMany(t.Context(), keys...)
		now := memory.Stats()
		return cache.Stats{Hits: now.Hits - before.Hits, Misses: now.Misses - before.Misses}
	}
	is.Equal(ask("a", "b", "c"), cache.Stats{Misses: 3})
	is.Equal(ask("a", "b", "c"), cache.Stats{Hits: 3})
	is.Equal(ask("a", "b", "c", "new"), cache.Stats{Hits: 3, Misses: 1})
	is.Equal(ask("a", "b", "c", ".."), cache.Stats{Hits: 3})
}

func TestMemoryIsBounded(t *testing.T) {
	is := is.New(t)
	backend := secrets.NewBackend(secrets.Info{Name: "fields"}, manyFields)
	client := newClient(t, backend, secrets.WithCache(cache.New(cache.WithHitCount())))
	for range 2 {
		for i := range 200 {
			s, err := client.Get(t.Context(), fmt.Sprintf("db#f%d", i))
			is.NoErr(err)
			is.Equal(s.Reveal(), fmt.Sprint(i))
		}
	}
}

func manyFields(context.Context, secrets.Ref) (secrets.Secret, error) {
	document := "{"
	for i := range 200 {
		document += fmt.Sprintf(`"f%d":%d,`, i, i)
	}
	return secrets.NewSecret(document+`"end":0}`, secrets.Meta{}), nil
}

// TestNoTornPairs rotates a document all the time, while readers get two of its fields in one call. Both must be of one version, from
// memory or not.
func TestNoTornPairs(t *testing.T) {
	is := is.New(t)
	backend := &pair{name: "pair"}
	client := newClient(t, backend, secrets.WithCache(cache.New(cache.WithTTL(time.Millisecond))),
		secrets.WithDedup(dedup.New()))
	torn, single := tear(t, backend, func() (string, string) {
		found, err := client.GetMany(t.Context(), "db#user", "db#password")
		if err != nil {
			t.Error(err)
		}
		return found["db#user"].Reveal(), found["db#password"].Reveal()
	}), tear(t, backend, func() (string, string) { // control: two calls may differ
		user, _ := client.Get(t.Context(), "db#user")
		password, _ := client.Get(t.Context(), "db#password")
		return user.Reveal(), password.Reveal()
	})
	is.Equal(torn, int64(0))
	is.True(single > 0)
}

// tear counts how often read returns a user and a password of two versions, during rotations.
func tear(t *testing.T, backend *pair, read func() (user, password string)) int64 {
	t.Helper()
	var torn atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 5))
			for range 20_000 {
				if r.IntN(50) == 0 {
					backend.version.Add(1)
				}
				user, password := read()
				if user[1:] != password[1:] {
					torn.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return torn.Load()
}

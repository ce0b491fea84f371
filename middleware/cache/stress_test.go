package cache_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
)

// rotating is a backend whose secrets contain their key and version.
type rotating struct {
	keys  map[string]*atomic.Int64 // the current versions
	calls atomic.Int64
}

func newRotating(n int) *rotating {
	b := &rotating{keys: make(map[string]*atomic.Int64)}
	for i := range n {
		b.keys[fmt.Sprintf("key-%d", i)] = &atomic.Int64{}
	}
	return b
}

func (*rotating) Info() secrets.Info { return secrets.Info{Name: "rotating"} }
func (*rotating) Close() error       { return nil }

func (b *rotating) Fetch(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
	b.calls.Add(1)
	version := b.keys[ref.Path].Load()
	runtime.Gosched() // let a rotation happen between the read and the answer
	return secrets.NewSecret(fmt.Sprintf("%s:%d", ref.Path, version), secrets.Meta{}), nil
}

// TestStress mixes hits, inserts, evictions, renewals, expiry, invalidations, refreshes, purges and Close on real clocks. No reader may get
// the value of another key, or a version from before an invalidation that ended before the read began.
func TestStress(t *testing.T) {
	is := is.New(t)
	memory := cache.New(cache.WithSize(stressKeys/2), cache.WithTTL(2*time.Millisecond), cache.WithRefreshAhead(0.5))
	backend := newRotating(stressKeys)
	client, err := secrets.New(backend, secrets.WithCache(memory), secrets.WithDedup(dedup.New()))
	is.NoErr(err)
	result := stress(t, client, backend, memory.Purge)
	is.Equal(result.wrong.Load(), int64(0))
	is.Equal(result.old.Load(), int64(0))
	is.True(result.reads.Load() > 40_000)
	is.True(backend.calls.Load() < result.reads.Load()) // the cache did answer
	is.True(memory.Stats().Evictions > 0)
	is.True(memory.Stats().Entries <= stressKeys/2)

	// Close in the middle of reads.
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				if _, err := client.Get(context.Background(), fmt.Sprintf("key-%d", (g+i)%stressKeys)); err != nil {
					return
				}
			}
		})
	}
	is.NoErr(client.Close())
	wg.Wait()
	is.Equal(memory.Stats().Entries, 0)
}

// TestStressFindsACacheWithoutGenerations is the positive control of TestStress: it finds a cache that stores every answer, even after an
// invalidation in the meantime.
func TestStressFindsACacheWithoutGenerations(t *testing.T) {
	is := is.New(t)
	for range 20 {
		backend := newRotating(stressKeys)
		client, err := secrets.New(backend, secrets.WithCache(naiveLayer{}))
		is.NoErr(err)
		old := stress(t, client, backend, func() {}).old.Load()
		is.NoErr(client.Close())
		if old > 0 {
			return
		}
	}
	t.Fatal("the check does not see old versions")
}

// naiveLayer makes caches in a common, naive way.
type naiveLayer struct{}

func (naiveLayer) Validate() error { return nil }

func (naiveLayer) NewCache(
	_ secrets.Info, below secrets.Fetcher, share func(fill secrets.Fetcher) secrets.Fetcher,
) secrets.Cache {
	return &naive{next: share(below)}
}

type naive struct {
	secrets.CacheMonitor // none

	next   secrets.Fetcher
	values sync.Map
}

func (n *naive) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	if v, found := n.values.Load(ref); found && !fetchctx.Of(ctx).Fresh {
		return v.(secrets.Secret), nil
	}
	s, err := n.next.Fetch(ctx, ref)
	if err == nil {
		runtime.Gosched()
		n.values.Store(ref, s)
	}
	return s, err
}

func (n *naive) Invalidate(refs ...secrets.Ref) {
	for _, ref := range refs {
		n.values.Delete(ref)
	}
}

func (*naive) Recall(string) (s secrets.Secret, known bool)        { return s, false }
func (*naive) RecallMany([]string, map[string]secrets.Secret) bool { return false }
func (*naive) Memorize(string, secrets.Ref, string)                {}
func (*naive) Peek(secrets.Ref) (r secrets.Result, known bool)     { return r, false }
func (*naive) RenewAt(secrets.Ref) (at time.Time, known bool)      { return at, false }
func (*naive) Close() error                                        { return nil }

const stressKeys = 40

type stressResult struct {
	reads, wrong, old atomic.Int64
}

func stress(t *testing.T, client *secrets.Client, backend *rotating, purge func()) *stressResult {
	t.Helper()
	var result stressResult
	floors := make([]atomic.Int64, stressKeys) // the lowest version for later reads
	check := func(key string, s secrets.Secret, floor int64) {
		result.reads.Add(1)
		name, version, _ := strings.Cut(s.Reveal(), ":")
		if name != key {
			result.wrong.Add(1)
		}
		if v, err := strconv.ParseInt(version, 10, 64); err != nil || v < floor {
			result.old.Add(1)
		}
	}
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 3))
			for range 3000 {
				n, other := r.IntN(stressKeys), r.IntN(stressKeys)
				key, otherKey := fmt.Sprintf("key-%d", n), fmt.Sprintf("key-%d", other)
				floor, otherFloor := floors[n].Load(), floors[other].Load()
				switch r.IntN(100) {
				case 0: // rotate and invalidate
					version := backend.keys[key].Add(1)
					if r.IntN(2) == 0 {
						client.Invalidate(key)
					} else if _, err := client.Refresh(t.Context(), key); err != nil {
						t.Error(err)
					}
					raise(&floors[n], version)
				case 1:
					purge()
				case 2, 3, 4:
					found, err := client.GetMany(t.Context(), key, otherKey)
					if err != nil {
						t.Error(err)
						continue
					}
					check(key, found[key], floor)
					check(otherKey, found[otherKey], otherFloor)
				default:
					s, err := client.Get(t.Context(), key)
					if err != nil {
						t.Error(err)
						continue
					}
					check(key, s, floor)
				}
			}
		})
	}
	wg.Wait()
	return &result
}

// raise sets v to to, unless it is higher.
func raise(v *atomic.Int64, to int64) {
	for {
		now := v.Load()
		if now >= to || v.CompareAndSwap(now, to) {
			return
		}
	}
}

// In TestHerd, 10,000 callers read one cold key and share one call, during the flight and as it ends.
func TestHerd(t *testing.T) {
	is := is.New(t)
	for range 5 {
		backend := newRotating(1)
		client, err := secrets.New(backend, secrets.WithCache(cache.New()), secrets.WithDedup(dedup.New()))
		is.NoErr(err)
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 10_000 {
			wg.Go(func() {
				<-start
				if _, err := client.Get(context.Background(), "key-0"); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		is.Equal(backend.calls.Load(), int64(1))
		is.NoErr(client.Close())
	}
}

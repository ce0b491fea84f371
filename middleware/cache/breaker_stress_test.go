package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// TestStressInOutages switches a backend off and on under concurrent calls of all kinds, in bubble time. No caller gets the value of
// another key or a failure that the backend did not have, or waits longer than a fetch and a probe take. When the backend is back, all keys
// are served within one step.
func TestStressInOutages(t *testing.T) {
	for _, batch := range []int{1, 5} {
		t.Run(fmt.Sprint("batches of ", batch), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { stressInOutages(t, batch) })
		})
	}
}

func stressInOutages(t *testing.T, batch int) {
	t.Helper()
	const (
		keys      = 30
		slow      = 2 * time.Second
		gathering = 20 * time.Millisecond // of a batch, at most
	)
	r := newBatchRemote(t, keys, batch, cache.WithSize(keys/2), cache.WithTTL(3*time.Second), cache.WithMaxStale(3*time.Second),
		cache.WithRefreshAhead(0.5))
	var down, over atomic.Bool
	r.backend.OnCall(func(ctx context.Context, _ []secrets.Ref) error {
		if over.Load() {
			return nil
		}
		lost := down.Load()
		select {
		case <-time.After(time.Duration(rand.Int64N(int64(slow)))):
		case <-ctx.Done():
			return ctx.Err()
		}
		if lost {
			return secrets.ErrUnavailable
		}
		return nil
	})
	var outages atomic.Int64
	check := func(key string, s secrets.Secret, err error) {
		if err != nil {
			r.True(isUnavailable(s, err))
			if strings.Contains(err.Error(), "in a row") {
				outages.Add(1)
			}
		} else {
			r.Equal(s.Reveal(), "value of "+key)
		}
	}
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			for range 300 {
				key, other := numbered(rand.IntN(keys)), numbered(rand.IntN(keys))
				began := time.Now()
				switch rand.IntN(20) {
				case 0:
					r.Invalidate(key)
				case 1:
					s, err := r.Refresh(context.Background(), key)
					check(key, s, err)
				case 2:
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.Int64N(int64(slow))))
					if s, err := r.Get(ctx, key); !errors.Is(err, context.DeadlineExceeded) {
						check(key, s, err)
					}
					cancel()
				case 3, 4, 5:
					found, err := r.GetMany(context.Background(), key, other, numbered(rand.IntN(keys)), numbered(rand.IntN(keys)))
					if err == nil {
						check(key, found[key], nil)
						check(other, found[other], nil)
					}
				case 6:
					if rand.IntN(20) == 0 {
						r.memory.Purge()
					}
				default:
					s, err := r.Get(context.Background(), key)
					check(key, s, err)
				}
				r.True(time.Since(began) <= maxWait+2*(gathering+slow))
				time.Sleep(time.Duration(rand.Int64N(int64(500 * time.Millisecond))))
			}
		})
	}
	stop := make(chan struct{})
	var weather sync.WaitGroup
	weather.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(rand.Int64N(int64(20 * time.Second)))):
				down.Store(!down.Load())
			}
		}
	})
	wg.Wait()
	close(stop)
	weather.Wait()
	r.True(outages.Load() > 100) // there were some
	over.Store(true)
	time.Sleep(past(10 * time.Second))
	for i := range keys {
		r.has(false, numbered(i))
	}
	synctest.Wait()
	r.Equal(cache.Miscounts(r.memory), nil)
	r.memory.Purge()
	r.Equal(cache.Miscounts(r.memory), nil)
}

// TestMiscounts is the control for the last check of the stress tests.
func TestMiscounts(t *testing.T) {
	run(t, "", []cache.Option{cache.WithTTL(time.Minute)}, func(f *fixture) {
		f.warm("a", "b")
		f.layer.Memorize("a", secrets.Ref{Path: "a"}, "")
		f.Equal(cache.Miscounts(f.cache), nil)
		f.set(func(s *source) { s.delay = time.Second })
		f.at(50 * time.Second)
		f.warm("a", "b") // renewed in the background
		synctest.Wait()
		f.Equal(cache.Miscounts(f.cache), []string{"renewals: 2, not 0", "fetches: 2, not 0", "entries that are renewed: 2, not 0"})
		f.at(51 * time.Second)
		f.Equal(cache.Miscounts(f.cache), nil)
		f.breakDown("a", "b", "a")
		f.set(func(s *source) { s.delay = timeout })
		time.Sleep(past(firstStep))
		_ = f.ask("c")
		f.Equal(cache.Miscounts(f.cache), []string{"fetches: 1, not 0", "a probe"})
		time.Sleep(timeout)
		f.Equal(cache.Miscounts(f.cache), nil)
	})
}

// TestStressOfEndpoints lets endpoints fail, hang, refuse and recover under callers with and without deadlines, with dedup and without. No
// caller waits longer than a fetch and maxWait, or longer than its deadline. In the end all documents are served again, and no state of
// the fetches is left.
func TestStressOfEndpoints(t *testing.T) {
	const endpoints, documents, hang = 4, 6, 3 * time.Second
	for name, layer := range map[string]func(*cache.Cache, secrets.Info, secrets.Fetcher) secrets.Cache{
		"with dedup": newLayerOf,
		"alone": func(c *cache.Cache, info secrets.Info, below secrets.Fetcher) secrets.Cache {
			return c.NewCache(info, below, func(fill secrets.Fetcher) secrets.Fetcher { return fill })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var weather [endpoints]atomic.Int64
				below := fetchFunc(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
					endpoint, _, _ := strings.Cut(ref.Path, "/")
					switch weather[endpoint[0]-'0'].Load() {
					case 1:
						return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, "")
					case 2:
						time.Sleep(time.Duration(rand.Int64N(int64(hang))))
						return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, "")
					case 3:
						fetchctx.Of(ctx).Origin.Throttle()
						return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, "")
					case 4:
						return secrets.Secret{}, secrets.NewError([]error{
							secrets.ErrMalformed, secrets.ErrUnknown, secrets.ErrNotFound, secrets.ErrInvalidKey, secrets.ErrPermissionDenied,
						}[rand.IntN(5)], "")
					default:
						time.Sleep(time.Duration(rand.Int64N(int64(100 * time.Millisecond))))
						return secrets.NewSecret("value of "+ref.Path, secrets.Meta{}), nil
					}
				})
				memory := cache.New(exact, cache.WithTTL(2*time.Second), cache.WithMaxStale(5*time.Second), cache.WithSize(endpoints*documents/2))
				layer := layer(memory, secrets.Info{Name: "regions", Endpoint: endpointOf}, below)
				path := func() string { return fmt.Sprintf("%d/%d", rand.IntN(endpoints), rand.IntN(documents)) }
				var stale, open atomic.Int64
				var wg sync.WaitGroup
				for range 40 {
					wg.Go(func() {
						for range 200 {
							time.Sleep(time.Duration(rand.Int64N(int64(500 * time.Millisecond))))
							ctx, cancel, limit := context.Background(), context.CancelFunc(func() {}), maxWait+2*hang+time.Second
							if rand.IntN(2) == 0 {
								limit = time.Duration(1 + rand.Int64N(int64(time.Second)))
								ctx, cancel = context.WithTimeout(ctx, limit)
							}
							ref := secrets.Ref{Path: path()}
							began := time.Now()
							var results []secrets.Result
							switch rand.IntN(10) {
							case 0:
								layer.Invalidate(ref)
							case 1:
								s, err := layer.Fetch(withFresh(ctx), ref)
								results = append(results, secrets.Result{Secret: s, Err: err})
							case 2:
								ctx = fetchctx.With(ctx, fetchctx.Fetch{Group: fetchctx.NewGroup(2)})
								results = fetchAll(ctx, layer, ref.Path, path())
							default:
								s, err := layer.Fetch(ctx, ref)
								results = append(results, secrets.Result{Secret: s, Err: err})
								layer.Memorize(ref.Path, ref, "")
							}
							is.True(time.Since(began) <= limit)
							cancel()
							for i, r := range results {
								switch {
								case r.Err != nil && strings.Contains(r.Err.Error(), "in a row"):
									open.Add(1)
								case r.Err != nil:
								case i == 0:
									is.Equal(r.Secret.Reveal(), "value of "+ref.Path)
									if r.Secret.Meta().Stale {
										stale.Add(1)
									}
								}
							}
						}
					})
				}
				stop := make(chan struct{})
				wg.Go(func() { <-stop })
				var changes sync.WaitGroup
				changes.Go(func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(time.Duration(rand.Int64N(int64(2 * time.Second)))):
							weather[rand.IntN(endpoints)].Store(max(0, rand.Int64N(7)-2)) // every second time, it works
						}
					}
				})
				time.AfterFunc(time.Minute, func() { close(stop) })
				wg.Wait()
				changes.Wait()
				is.True(stale.Load() > 10)
				is.True(open.Load() > 10)
				for e := range endpoints {
					weather[e].Store(0)
				}
				time.Sleep(past(10*time.Second) + hang)
				for e := range endpoints {
					for d := range documents {
						s, err := layer.Fetch(t.Context(), secrets.Ref{Path: fmt.Sprintf("%d/%d", e, d)})
						is.NoErr(err)
						is.True(!s.Meta().Stale)
					}
				}
				is.True(!layer.Outage())
				time.Sleep(hang)
				is.Equal(cache.Miscounts(memory), nil)
				memory.Purge()
				is.Equal(cache.Miscounts(memory), nil)
				is.NoErr(layer.Close())
			})
		})
	}
}

package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
)

// batching is a backend whose server takes batch documents in a call. A call with the document "sick" hangs.
func batching(batch int) secrets.Backend {
	call := func(ctx context.Context, refs []secrets.Ref) []secrets.Result {
		results := make([]secrets.Result, len(refs))
		for i, ref := range refs {
			if ref.Path == "sick" {
				<-ctx.Done()
			}
			results[i].Secret = secrets.NewSecret("value of "+ref.Path, secrets.Meta{})
		}
		return results
	}
	fetch := secrets.NewBatcher(batch, 0, call).Fetch
	return secrets.NewBackend(secrets.Info{Name: "batching", Batch: batch}, fetch)
}

// One caller reads 200 documents, one of which hangs. Another caller waits only for its own document.
func TestReadDoesNotWaitForOtherCallers(t *testing.T) {
	const limit = 200 * time.Millisecond
	for _, batch := range []int{1, 20} {
		for _, opts := range [][]secrets.Option{nil, {middleware.Standard()}} {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				client, err := secrets.New(batching(batch), append(opts, secrets.WithTimeout(limit))...)
				is.NoErr(err)
				keys := []string{"sick"}
				for i := range 199 {
					keys = append(keys, fmt.Sprintf("key-%d", i))
				}
				var wg sync.WaitGroup
				wg.Go(func() { _, _ = client.GetMany(context.Background(), keys...) })
				for _, key := range []string{"key-1", "key-15", "key-198", "another"} {
					wg.Go(func() {
						time.Sleep(time.Millisecond)
						began := time.Now()
						_, err := client.Get(context.Background(), key)
						is.True(err == nil || errors.Is(err, secrets.ErrUnavailable)) // its batch may have hung
						is.True(time.Since(began) <= limit)
					})
				}
				wg.Wait()
				time.Sleep(time.Second) // the back-off of those whose batch has hung
				s, err := client.Get(context.Background(), "key-1")
				is.NoErr(err)
				is.Equal(s.Reveal(), "value of key-1")
				is.NoErr(client.Close())
			})
		}
	}
}

// At its deadline, GetMany returns the documents that have been fetched.
func TestGetManyReturnsAtItsDeadlineWhatWasFetched(t *testing.T) {
	for _, opts := range [][]secrets.Option{nil, {middleware.Standard()}} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			client, err := secrets.New(batching(1), opts...)
			is.NoErr(err)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			began := time.Now()
			found, err := client.GetMany(ctx, "a", "b", "sick")
			is.Equal(time.Since(began), 200*time.Millisecond)
			is.Equal(len(found), 2)
			is.Equal(found["a"].Reveal(), "value of a")
			all, ok := errors.AsType[secrets.Errors](err)
			is.True(ok)
			is.Equal(len(all), 1)
			is.Equal(*all[0], secrets.Error{Backend: "batching", Key: "sick", Err: context.DeadlineExceeded})
			is.NoErr(client.Close())
		})
	}
}

// Documents that hang do not delay a healthy one, and no weaker source answers for it.
func TestHealthyDocumentIsFetchedNextToHangingOnes(t *testing.T) {
	for _, sick := range []int{8, 40} { // 40 are more than run at a time
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			primary := secrets.NewBackend(secrets.Info{Name: "primary"}, func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
				if ref.Path != "healthy" && ref.Path != "warm" {
					<-ctx.Done()
					return secrets.Secret{}, ctx.Err()
				}
				return secrets.NewSecret("value of primary", secrets.Meta{}), nil
			})
			weak := secrets.NewBackend(secrets.Info{Name: "weak"}, func(context.Context, secrets.Ref) (secrets.Secret, error) {
				return secrets.NewSecret("value of weak", secrets.Meta{}), nil
			})
			client, err := secrets.New(primary, secrets.WithFallback(fallback.To(weak)), middleware.Standard())
			is.NoErr(err)
			_, err = client.Get(t.Context(), "warm") // the endpoint answers
			is.NoErr(err)
			var keys []string
			for i := range sick {
				keys = append(keys, fmt.Sprintf("sick-%d", i))
			}
			began := time.Now()
			found, err := client.GetMany(t.Context(), append(keys, "healthy")...)
			is.NoErr(err)
			is.Equal(found["healthy"].Meta().Backend, "primary")
			is.Equal(found["sick-0"].Meta().Backend, "weak") // control: that was an outage of the document
			is.True(time.Since(began) <= time.Duration(sick/16+1)*modelTimeout)
			is.NoErr(client.Close())
		})
	}
}

// In a long outage, a GetMany of stale values waits for each of its documents at most once, and not at each probe.
func TestStaleDocumentsWaitOnceInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var hangs atomic.Bool
		backend := secrets.NewBackend(secrets.Info{Name: "remote"}, func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
			if hangs.Load() {
				<-ctx.Done()
				return secrets.Secret{}, ctx.Err()
			}
			return secrets.NewSecret("value", secrets.Meta{}), nil
		})
		client, err := secrets.New(backend, middleware.Standard(cache.WithTTL(time.Minute), cache.WithJitter(0)))
		is.NoErr(err)
		keys := []string{"db", "api", "mail"}
		waits := 0
		for began := time.Now(); time.Since(began) < 10*time.Minute; time.Sleep(100 * time.Millisecond) {
			hangs.Store(time.Since(began) > 40*time.Second)
			before := time.Now()
			found, err := client.GetMany(t.Context(), keys...)
			is.NoErr(err)
			is.Equal(len(found), len(keys))
			if time.Since(before) > 0 {
				waits++
			}
		}
		is.True(waits <= len(keys))
		is.NoErr(client.Close())
	})
}

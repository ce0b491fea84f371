package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const canary = "canary-7f3Kq9ZxWv2m"

func client(t *testing.T, b secrets.Backend, opts ...secrets.Option) *secrets.Client {
	t.Helper()
	c, err := secrets.New(b, opts...)
	is.New(t).NoErr(err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// pass lets d pass in a bubble of synctest.
func pass(d time.Duration) { <-time.After(d) }

// probe is a layer that counts the fetches through it, and keeps the last error.
type probe struct {
	fetches atomic.Int32

	mu  sync.Mutex
	err error
}

func (p *probe) Wrap(next secrets.Fetcher) secrets.Fetcher {
	return secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
		p.fetches.Add(1)
		s, err := next.Fetch(ctx, ref)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.err = err
		return s, err
	}).Wrap(next)
}

// tracer is a probe in the slot of tracing.
type tracer struct{ probe }

func (*tracer) Validate() error { return nil }

func (r *tracer) NewTracing(_ secrets.Info, next secrets.Fetcher) secrets.Fetcher {
	return r.Wrap(next)
}

func (*tracer) Observe(secrets.Info, secrets.CacheMonitor) (stop func(), err error) { return nil, nil }

func (p *probe) lastError() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		return ""
	}
	return p.err.Error()
}

// The effect of each layer shows that it is installed. What the probes see shows that it is in its place.
func TestTheLayersStandInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := secretstest.NewBackend(map[string]string{"key": canary})
		b.SetLatency(time.Second)
		outer, tracing, inner := &probe{}, &tracer{}, &probe{}
		c := client(t, b, secrets.WithBackendMiddleware(inner), middleware.Standard(), secrets.WithTracing(tracing),
			secrets.WithMiddleware(outer))

		const callers = 100
		var wg sync.WaitGroup
		for range callers { // at once
			wg.Go(func() {
				s, err := c.Get(t.Context(), "key")
				is.NoErr(err)
				is.Equal(s.Reveal(), canary)
			})
		}
		wg.Wait()
		for range callers { // and from memory
			_, err := c.Get(t.Context(), "key")
			is.NoErr(err)
		}
		is.Equal(b.Calls(), 1)
		is.Equal(inner.fetches.Load(), int32(1))
		is.Equal(tracing.fetches.Load(), int32(1)) // a span is a real fetch
		is.Equal(outer.fetches.Load(), int32(2*callers))

		b.FailPath("other", &secrets.Error{Err: secrets.ErrPermissionDenied, Detail: "not with " + canary})
		_, err := c.Get(t.Context(), "other")
		is.True(errors.Is(err, secrets.ErrPermissionDenied))
		secretstest.AssertNoLeak(t, canary, err, tracing.lastError(), outer.lastError())
		is.True(strings.Contains(inner.lastError(), canary)) // control: below redaction, it is there
	})
}

// Fields of one document are one fetch, alone and in a batch.
func TestABatchIsOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := secretstest.NewBackend(map[string]string{"db": `{"user":"app","password":"x"}`, "token": "y"}, secretstest.WithBatch(20))
		c := client(t, b, middleware.Standard())
		for range 3 {
			found, err := c.GetMany(t.Context(), "db#user", "db#password", "token")
			is.NoErr(err)
			is.Equal(len(found), 3)
		}
		is.Equal(b.Calls(), 1)
		is.Equal(len(b.Batches()[0]), 2)
		is.Equal(b.Fetches("db")+b.Fetches("token"), 2)
	})
}

// Renewals ahead of the TTL that one GetMany starts share calls, as its fetches do, and do not delay it.
func TestRenewalsOfOneGetManyAreBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := secretstest.NewBackend(nil, secretstest.WithBatch(20))
		var keys []string
		for i := range 100 {
			keys = append(keys, fmt.Sprint("key", i))
			b.Set(keys[i], "old")
		}
		c := client(t, b, middleware.Standard(cache.WithTTL(time.Minute), cache.WithJitter(0)))
		get := func() string {
			began := time.Now()
			found, err := c.GetMany(t.Context(), keys...)
			is.NoErr(err)
			is.Equal(len(found), 100)
			is.Equal(time.Since(began), time.Duration(0))
			return found["key7"].Reveal()
		}
		is.Equal(get(), "old")
		is.Equal(b.Calls(), 5)
		time.Sleep(59 * time.Second)
		for _, key := range keys {
			b.Set(key, "new")
		}
		b.SetLatency(100 * time.Millisecond)
		is.Equal(get(), "old")
		time.Sleep(time.Second)
		is.Equal(b.Calls(), 10)
		is.Equal(get(), "new")
		is.Equal(b.Calls(), 10)
	})
}

// At most 16 renewals run in the background at a time. The others are due at the next read.
func TestRenewalsAheadAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := secretstest.NewBackend(nil)
		var keys []string
		for i := range 40 {
			keys = append(keys, fmt.Sprint("key", i))
			b.Set(keys[i], "value")
		}
		c := client(t, b, middleware.Standard(cache.WithTTL(time.Minute), cache.WithJitter(0)))
		get := func() {
			_, err := c.GetMany(t.Context(), keys...)
			is.NoErr(err)
			synctest.Wait()
		}
		get()
		b.ResetCounts()
		b.SetLatency(100 * time.Millisecond)
		time.Sleep(50 * time.Second)
		for _, calls := range []int{16, 32, 40, 40} {
			get()
			get() // the first 16 are under way: it starts none
			is.Equal(b.Calls(), calls)
			time.Sleep(time.Second)
		}
	})
}

// made counts how often New has used layers of the program.
type made struct{ cache, dedup, redaction int }

type (
	ownCache struct {
		secrets.CacheLayer
		made *made
	}
	ownDedup struct {
		secrets.DedupLayer
		made *made
	}
	ownRedaction struct {
		secrets.RedactionLayer
		made *made
	}
)

func (o ownCache) NewCache(info secrets.Info, below secrets.Fetcher, share func(secrets.Fetcher) secrets.Fetcher) secrets.Cache {
	o.made.cache++
	return o.CacheLayer.NewCache(info, below, share)
}

func (o ownDedup) NewDedup(info secrets.Info, next secrets.Fetcher) secrets.Dedup {
	o.made.dedup++
	return o.DedupLayer.NewDedup(info, next)
}

func (o ownRedaction) NewRedaction(info secrets.Info, next secrets.Fetcher) secrets.Redaction {
	o.made.redaction++
	return o.RedactionLayer.NewRedaction(info, next)
}

// permutations calls f with all orders of opts.
func permutations(opts []secrets.Option, f func([]secrets.Option)) {
	var put func(k int)
	put = func(k int) {
		if k == len(opts) {
			f(opts)
			return
		}
		for i := k; i < len(opts); i++ {
			opts[k], opts[i] = opts[i], opts[k]
			put(k + 1)
			opts[k], opts[i] = opts[i], opts[k]
		}
	}
	put(0)
}

// Every subset of slots is set together with Standard, in every order.
func TestStandardFillsOnlyTheEmptySlots(t *testing.T) {
	tried := 0
	for given := range 8 {
		memory := cache.New()
		var own made
		opts := []secrets.Option{middleware.Standard()}
		for i, o := range []secrets.Option{
			secrets.WithCache(ownCache{memory, &own}), secrets.WithDedup(ownDedup{dedup.New(), &own}),
			secrets.WithRedaction(ownRedaction{redact.New(), &own}),
		} {
			if given&(1<<i) != 0 {
				opts = append(opts, o)
			}
		}
		permutations(opts, func(opts []secrets.Option) {
			tried++
			is := is.New(t)
			own = made{}
			misses := memory.Stats().Misses
			b := secretstest.NewBackend(map[string]string{"key": canary})
			c := client(t, b, opts...)
			for range 3 {
				_, err := c.Get(t.Context(), "key")
				is.NoErr(err)
			}
			b.FailPath("other", &secrets.Error{Err: secrets.ErrUnknown, Detail: canary})
			_, err := c.Get(t.Context(), "other")
			secretstest.AssertNoLeak(t, canary, err)
			is.Equal(b.Fetches("key"), 1)

			is.Equal(own, made{given & 1, given >> 1 & 1, given >> 2 & 1})
			is.Equal(memory.Stats().Misses-misses, 2*uint64(given&1)) // key and other
			is.NoErr(c.Close())
		})
	}
	is.New(t).Equal(tried, 1+3*2+3*6+24)
}

func TestACacheOfTheProgramGivesTheFigures(t *testing.T) {
	for _, first := range []bool{false, true} {
		is := is.New(t)
		memory := cache.New(cache.WithHitCount())
		opts := []secrets.Option{middleware.Standard(cache.WithSize(1)), secrets.WithCache(memory)}
		if first {
			opts[0], opts[1] = opts[1], opts[0]
		}
		c := client(t, secretstest.NewBackend(map[string]string{"a": "1", "b": "2"}), opts...)
		for range 5 {
			for _, key := range []string{"a", "b"} {
				_, err := c.Get(t.Context(), key)
				is.NoErr(err)
			}
		}
		is.Equal(memory.Stats(), secrets.CacheStats{Hits: 8, Misses: 2, Entries: 2})
	}
}

func TestStandardUsesTheOptionsOfTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := secretstest.NewBackend(map[string]string{"key": "value"})
		c := client(t, b, middleware.Standard(cache.WithTTL(time.Minute), cache.WithJitter(0), cache.WithRefreshAhead(0)))
		for range 2 {
			_, err := c.Get(t.Context(), "key")
			is.NoErr(err)
			pass(time.Minute)
		}
		is.Equal(b.Calls(), 2)
	})
}

func TestFaultsAreReportedByNew(t *testing.T) {
	good := secretstest.NewBackend(nil)
	for name, c := range map[string]struct {
		opts []secrets.Option
		want []string
	}{
		"options of its cache": {
			[]secrets.Option{middleware.Standard(cache.WithTTL(0), cache.WithSize(-1), nil)},
			[]string{"cache: WithTTL", "cache: WithSize", "cache: option 3 is nil"},
		},
		"even if another cache replaces it": {
			[]secrets.Option{secrets.WithCache(cache.New()), middleware.Standard(cache.WithTTL(0))},
			[]string{"cache: WithTTL"},
		},
		"with those of other options": {
			[]secrets.Option{middleware.Standard(cache.WithTTL(0)), secrets.WithTimeout(-1), secrets.WithDedup(nil)},
			[]string{"cache: WithTTL", "WithTimeout", "WithDedup: nil"},
		},
		"twice": {
			[]secrets.Option{middleware.Standard(), middleware.Standard()},
			[]string{"middleware.Standard, or another WithDefaults, is given twice: with WithCache, WithDedup, WithRedaction"},
		},
		"together with a slot given twice": {
			[]secrets.Option{secrets.WithCache(cache.New()), middleware.Standard(), secrets.WithCache(cache.New())},
			[]string{"WithCache is given twice"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			made, err := secrets.New(good, c.opts...)
			is.True(made == nil)
			is.True(err != nil)
			for _, want := range c.want {
				is.True(strings.Contains(err.Error(), want)) // the fault is reported
			}
		})
	}
}

// A warm program survives an outage for a limited time, with stale values. A denial drops a value at once.
func TestWarmKeysSurviveAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := secretstest.NewBackend(map[string]string{"key": "value", "revoked": "old"})
		c := client(t, b, middleware.Standard())
		for _, key := range []string{"key", "revoked"} {
			_, err := c.Get(t.Context(), key)
			is.NoErr(err)
		}
		b.Fail(secrets.ErrUnavailable)
		for minute := range 60 { // the defaults: 5 minutes ± 10 %, and an hour
			pass(time.Minute)
			s, err := c.Get(t.Context(), "key")
			is.NoErr(err)
			is.Equal(s.Reveal(), "value")
			if minute > 5 {
				is.True(s.Meta().Stale)
			}
		}
		b.FailPath("revoked", secrets.ErrPermissionDenied)
		b.Fail(nil)
		pass(time.Minute)
		_, err := c.Get(t.Context(), "revoked")
		is.True(errors.Is(err, secrets.ErrPermissionDenied))
		b.Fail(secrets.ErrUnavailable)
		_, err = c.Get(t.Context(), "revoked") // the old value was dropped
		is.True(err != nil)

		pass(2 * time.Hour)
		_, err = c.Get(t.Context(), "key")
		is.True(errors.Is(err, secrets.ErrUnavailable))
		b.Recover()
		pass(time.Minute)
		s, err := c.Get(t.Context(), "key")
		is.NoErr(err)
		is.True(!s.Meta().Stale)
	})
}

// slow is a redaction that takes all the time that a failed call has left.
type slow struct{ secrets.Fetcher }

func (slow) Validate() error { return nil }

func (slow) NewRedaction(_ secrets.Info, next secrets.Fetcher) secrets.Redaction { return slow{next} }

func (s slow) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	secret, err := s.Fetcher.Fetch(ctx, ref)
	if err != nil {
		<-ctx.Done()
		time.Sleep(50 * time.Millisecond) // past the end, since an answer just at the end may still count
	}
	return secret, err
}

func (slow) HandedOut(secrets.Ref, secrets.Secret) {}
func (slow) Close() error                          { return nil }

// afterDenial returns the errors of a client for a cold and a warm key that its backend denies, after many large documents, whose values
// are searched for in the errors.
func afterDenial(t *testing.T, opts ...secrets.Option) (cold, warm error) {
	t.Helper()
	is := is.New(t)
	strong := secretstest.NewBackend(map[string]string{"cold": canary, "warm": canary}, secretstest.WithName("strong"))
	weak := secretstest.NewBackend(map[string]string{"cold": "weaker", "warm": "weaker"}, secretstest.WithName("weak"))
	c := client(t, strong, append(opts, middleware.Standard(cache.WithTTL(time.Second)), secrets.WithTimeout(time.Second),
		secrets.WithFallback(fallback.To(weak)))...)
	keys := []string{"warm"}
	for i := range 60 {
		var doc strings.Builder
		doc.WriteString(`{"user":"app"`)
		for k := 0; doc.Len() < 60_000; k++ {
			fmt.Fprintf(&doc, `,"k%d":"value %d/%d"`, k, i, k)
		}
		key := fmt.Sprint("doc", i)
		strong.Set(key, doc.String()+"}")
		keys = append(keys, key)
	}
	for _, key := range keys {
		_, err := c.Get(t.Context(), key)
		is.NoErr(err)
	}
	strong.Fail(&secrets.Error{Err: secrets.ErrPermissionDenied, Detail: "not with " + canary})
	_, cold = c.Get(t.Context(), "cold")
	_, warm = c.Refresh(t.Context(), "warm")
	secretstest.AssertNoLeak(t, canary, cold, warm)
	return cold, warm
}

// The search for values in an error must not take so long that a denial becomes an outage, for which a weaker source would answer.
func TestADenialIsNoOutageWithManyValuesToMask(t *testing.T) {
	is := is.New(t)
	for _, err := range func(cold, warm error) []error { return []error{cold, warm} }(afterDenial(t)) {
		is.True(errors.Is(err, secrets.ErrPermissionDenied))
		is.True(strings.Contains(err.Error(), "strong: "))
	}
	t.Run("control: a redaction that takes its time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cold, warm := afterDenial(t, secrets.WithRedaction(slow{}))
			is := is.New(t)
			is.NoErr(cold) // the weaker value
			is.NoErr(warm)
		})
	})
}

// A stale value is marked at every read, including reads during a back-off.
func TestEveryReadOfAStaleValueIsMarked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := secretstest.NewBackend(map[string]string{"key": "value"})
		c := client(t, b, middleware.Standard())
		_, err := c.Get(t.Context(), "key")
		is.NoErr(err)
		b.Fail(secrets.ErrUnavailable)
		for range 10 {
			pass(6 * time.Minute)
			for range 3 {
				s, err := c.Get(t.Context(), "key")
				is.NoErr(err)
				is.True(s.Meta().Stale)
				many, err := c.GetMany(t.Context(), "key")
				is.NoErr(err)
				is.True(many["key"].Meta().Stale)
			}
		}
	})
}

// Several Clients may share one Standard: they share the capacity of its cache, but not its values.
func TestOneStandardForTwoClients(t *testing.T) {
	is := is.New(t)
	standard := middleware.Standard()
	one := client(t, secretstest.NewBackend(map[string]string{"key": canary}), standard)
	b := secretstest.NewBackend(nil)
	two := client(t, b, standard)
	_, err := one.Get(t.Context(), "key")
	is.NoErr(err)
	has, err := two.Has(t.Context(), "key")
	is.NoErr(err)
	is.True(!has)
	b.FailPath("key2", &secrets.Error{Err: secrets.ErrUnknown, Detail: canary})
	_, err = two.Get(t.Context(), "key2")
	is.True(strings.Contains(err.Error(), canary)) // the other Client has no such value, so nothing is masked
	is.NoErr(two.Close())
	s, err := one.Get(t.Context(), "key")
	is.NoErr(err)
	is.Equal(s.Reveal(), canary)
}

// A local backend is not cached. Its errors are masked.
func TestALocalBackendIsNotCached(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(map[string]string{"key": canary}, secretstest.WithLocal())
	c := client(t, b, middleware.Standard())
	for range 3 {
		_, err := c.Get(t.Context(), "key")
		is.NoErr(err)
	}
	is.Equal(b.Calls(), 3)
	b.Fail(&secrets.Error{Err: secrets.ErrUnknown, Detail: canary})
	_, err := c.Get(t.Context(), "key")
	secretstest.AssertNoLeak(t, canary, err)
}

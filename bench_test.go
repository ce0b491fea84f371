package secrets_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// The benchmarks measure what they are about and a raw lru.Cache.Get in turns, in the same process, and report the ratio
// as x-lru: on a shared machine an absolute time says little. Less than 1 is faster than lru.Cache.

const (
	benchKeys = 1000
	turn      = 1024 // operations of each before it is the other's turn
)

// instant is a remote-like backend that answers at once.
type instant struct {
	value func(path string) string
	calls atomic.Int64
	delay time.Duration
}

func (*instant) Name() string { return "instant" }

func (b *instant) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	b.calls.Add(1)
	if b.delay > 0 {
		select {
		case <-time.After(b.delay):
		case <-ctx.Done():
			return secrets.Secret{}, ctx.Err()
		}
	}
	if b.value != nil {
		return secrets.NewSecret(b.value(ref.Path), secrets.Meta{Version: "1"}), nil
	}
	return secrets.NewSecret("value of "+ref.Path, secrets.Meta{Version: "1"}), nil
}

func (b *instant) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	results := make([]secrets.Result, len(refs))
	for i, ref := range refs {
		results[i].Secret, results[i].Err = b.Fetch(ctx, ref)
	}
	return results
}

func benchClient(b *testing.B, backend secrets.Backend, opts ...secrets.Option) *secrets.Client {
	b.Helper()
	client, err := secrets.New(backend, opts...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = client.Close() })
	return client
}

// ring returns keys in a random order, each a string of its own, so that no look-up is helped by equal pointers.
func ring(format string) []string {
	keys := make([]string, turn)
	for i := range keys {
		keys[i] = fmt.Sprintf(format, i%benchKeys)
	}
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return keys
}

// reference returns a raw lru.Cache that holds a pointer for each of keys.
func reference(b *testing.B, keys []string) *lru.Cache[string, *secrets.Secret] {
	b.Helper()
	l, err := lru.New[string, *secrets.Secret](max(benchKeys, len(keys)))
	if err != nil {
		b.Fatal(err)
	}
	for _, key := range keys {
		s := secrets.NewSecret("value", secrets.Meta{})
		l.Add(key, &s)
	}
	return l
}

// warm asks for each key once.
func warm(b *testing.B, client *secrets.Client, keys []string) {
	b.Helper()
	for _, key := range keys {
		if _, err := client.Get(b.Context(), key); err != nil {
			b.Fatal(err)
		}
	}
}

// compare runs subject and reference in turns, each on all processors if parallel, and reports the time of subject and its
// ratio to that of reference.
func compare(b *testing.B, parallel bool, subject, reference func(i int)) {
	b.Helper()
	b.ReportAllocs()
	workers, rounds := 1, 1
	if parallel { // more rounds, so that starting the workers does not count
		workers, rounds = runtime.GOMAXPROCS(0), 64
	}
	run := func(f func(i int)) time.Duration {
		began := time.Now()
		if workers == 1 {
			for i := range rounds * turn {
				f(i % turn)
			}
			return time.Since(began)
		}
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range rounds * turn / workers {
					f((i + w*turn/workers) % turn)
				}
			})
		}
		wg.Wait()
		return time.Since(began)
	}
	run(subject)
	run(reference)
	var took, other time.Duration
	n := 0
	b.ResetTimer()
	for ; n < b.N; n += rounds * turn {
		took += run(subject)
		b.StopTimer()
		other += run(reference)
		b.StartTimer()
	}
	b.ReportMetric(float64(took)/float64(n), "ns/op")
	b.ReportMetric(float64(took)/float64(other), "x-lru")
}

// BenchmarkHit is a Get of a cached secret, and its Reveal, through the standard stack.
func BenchmarkHit(b *testing.B) {
	document := func(path string) string {
		return fmt.Sprintf(`{"user":"app","password":"value of %s"}`, path)
	}
	for _, c := range []struct {
		name, format string
		hot          bool
	}{
		{name: "document", format: "database/password-%d"},
		{name: "field", format: "database-%d#password"},
		{name: "hotkey", format: "database/password-%d", hot: true},
	} {
		for _, mode := range []string{"serial", "parallel"} {
			b.Run(c.name+"/"+mode, func(b *testing.B) {
				client := benchClient(b, &instant{value: document}, middleware.Standard(cache.WithSize(2*benchKeys)))
				keys := ring(c.format)
				warm(b, client, keys)
				raw := reference(b, keys)
				if c.hot {
					keys = slices.Repeat(keys[:1], turn)
				}
				ctx := b.Context()
				compare(b, mode == "parallel",
					func(i int) {
						s, err := client.Get(ctx, keys[i])
						if err != nil || s.Reveal() == "" {
							b.Fail()
						}
					},
					func(i int) {
						if s, ok := raw.Get(keys[i]); !ok || s.Reveal() == "" {
							b.Fail()
						}
					})
			})
		}
	}
}

// BenchmarkMiss is a Get of a secret that is asked for the first time, through the standard stack.
func BenchmarkMiss(b *testing.B) {
	client := benchClient(b, &instant{}, middleware.Standard())
	ctx := b.Context()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := client.Get(ctx, fmt.Sprintf("database/password-%d", i)); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkHerd is 1,000 callers of one cold key, whose backend takes a millisecond. It reports the calls of the backend,
// which must be 1, and the median time of a caller beyond that millisecond.
func BenchmarkHerd(b *testing.B) {
	const callers = 1000
	var beyond []time.Duration
	var calls int64
	herds := 0
	for b.Loop() {
		backend := &instant{delay: time.Millisecond}
		client := benchClient(b, backend, middleware.Standard())
		took := make([]time.Duration, callers)
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				began := time.Now()
				if _, err := client.Get(context.Background(), "database"); err != nil {
					b.Error(err)
				}
				took[i] = time.Since(began)
			})
		}
		wg.Wait()
		slices.Sort(took)
		beyond = append(beyond, took[callers/2]-backend.delay)
		calls += backend.calls.Load()
		herds++
	}
	slices.Sort(beyond)
	b.ReportMetric(float64(calls)/float64(herds), "calls/herd")
	b.ReportMetric(float64(beyond[len(beyond)/2].Microseconds()), "p50-µs-beyond-backend")
}

// BenchmarkGetMany is a GetMany of 100 cached secrets.
func BenchmarkGetMany(b *testing.B) {
	client := benchClient(b, &instant{}, middleware.Standard(cache.WithSize(2*benchKeys)))
	keys := make([]string, 100)
	for i := range keys {
		keys[i] = fmt.Sprintf("database/password-%d", i)
	}
	warm(b, client, keys)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if found, err := client.GetMany(ctx, keys...); err != nil || len(found) != len(keys) {
			b.Fatal(err)
		}
	}
}

// BenchmarkZipf is a million reads of 100,000 keys with the frequencies of Zipf's law. It reports the hit ratio of the
// cache and that of a raw lru.Cache of the same size, which must not be higher.
func BenchmarkZipf(b *testing.B) {
	const documents, reads = 100_000, 1_000_000
	keys := make([]string, documents)
	for i := range keys {
		keys[i] = fmt.Sprintf("database/password-%d", i)
	}
	for _, s := range []float64{1.01, 1.1, 1.2} {
		for _, size := range []int{1000, 10_000} {
			b.Run(fmt.Sprintf("s=%v/size=%d", s, size), func(b *testing.B) {
				for b.Loop() {
					backend := &instant{}
					client := benchClient(b, backend, secrets.WithCache(cache.New(cache.WithSize(size))))
					raw, err := lru.New[string, struct{}](size)
					if err != nil {
						b.Fatal(err)
					}
					zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), s, 1, documents-1)
					var before int64
					var counted, rawHits int
					for i := range reads {
						if i == reads/5 { // the cache is warm
							before, counted, rawHits = backend.calls.Load(), 0, 0
						}
						key := keys[zipf.Uint64()]
						if _, err := client.Get(b.Context(), key); err != nil {
							b.Fatal(err)
						}
						counted++
						if _, hit := raw.Get(key); hit {
							rawHits++
						} else {
							raw.Add(key, struct{}{})
						}
					}
					misses := float64(backend.calls.Load() - before)
					b.ReportMetric(100-100*misses/float64(counted), "hit-%")
					b.ReportMetric(100*float64(rawHits)/float64(counted), "lru-hit-%")
				}
			})
		}
	}
}

// BenchmarkMemory fills a cache with documents and asks for each of them twice, and reports what one costs in bytes of the
// heap beside its value and its key.
func BenchmarkMemory(b *testing.B) {
	for _, documents := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("documents=%d", documents), func(b *testing.B) {
			keys := make([]string, documents)
			for i := range keys {
				keys[i] = fmt.Sprintf("database/password-%d", i)
			}
			const value = "a value that is shared by all documents, so that it costs nothing"
			for b.Loop() {
				backend := &instant{value: func(string) string { return value }}
				before := heap()
				client := benchClient(b, backend, middleware.Standard(cache.WithSize(documents)))
				for range 2 {
					warm(b, client, keys)
				}
				b.ReportMetric(float64(heap()-before)/float64(documents), "B/document")
				runtime.KeepAlive(client)
			}
			runtime.KeepAlive(keys)
		})
	}
}

// heap returns the bytes of the heap that are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

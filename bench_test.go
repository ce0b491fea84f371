package secrets_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/middleware/tracing"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// The benchmarks measure their subject and a raw lru.Cache.Get in turns, in the same process, and report the ratio
// as x-lru: on a shared machine an absolute time says little. Less than 1 is faster than lru.Cache.

const (
	benchKeys = 1000
	turn      = 1024 // operations of each before it is the other's turn
)

// instant is a remote-like backend that answers at once.
type instant struct {
	name  string // "instant" if it is empty
	value func(path string) string
	calls atomic.Int64
	delay time.Duration
	lease time.Duration // of each value, or 0
}

func (b *instant) Info() secrets.Info { return secrets.Info{Name: cmp.Or(b.name, "instant")} }
func (b *instant) Close() error       { return nil }

func (b *instant) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	b.calls.Add(1)
	if b.delay > 0 {
		select {
		case <-time.After(b.delay):
		case <-ctx.Done():
			return secrets.Secret{}, ctx.Err()
		}
	}
	meta := secrets.Meta{Version: "1"}
	if b.lease > 0 {
		meta.ExpiresAt = time.Now().Add(b.lease)
	}
	if b.value != nil {
		return secrets.NewSecret(b.value(ref.Path), meta), nil
	}
	return secrets.NewSecret("value of "+ref.Path, meta), nil
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

// ring returns keys in a random order. Each is a separate string: equal pointers would make a lookup faster.
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
		l.Add(strings.Clone(key), &s)
	}
	return l
}

// warm gets each key once.
func warm(b *testing.B, client *secrets.Client, keys []string) {
	b.Helper()
	for _, key := range keys {
		if _, err := client.Get(b.Context(), strings.Clone(key)); err != nil {
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
	if parallel { // more rounds, to make the start of the workers negligible
		workers, rounds = runtime.GOMAXPROCS(0), 1024
	}
	run := func(f func(i int)) time.Duration {
		began := time.Now()
		var taken atomic.Int64 // rounds: a worker that is held up leaves more of them to the others
		work := func(from int) {
			for taken.Add(1) <= int64(rounds) {
				for i := range turn {
					f((from + i) % turn)
				}
			}
		}
		var wg sync.WaitGroup
		for w := range workers - 1 {
			wg.Go(func() { work((w + 1) * turn / workers) })
		}
		work(0)
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

// full returns the client of the published figures: the standard stack, and tracing with a real provider.
func full(b *testing.B, backend secrets.Backend, opts ...secrets.Option) *secrets.Client {
	b.Helper()
	provider := trace.NewTracerProvider()
	b.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	traced := secrets.WithTracing(tracing.New(provider))
	return benchClient(b, backend, append([]secrets.Option{traced, middleware.Standard(cache.WithSize(2 * benchKeys))}, opts...)...)
}

// compareHits is compare for a Get of one of keys, and its Reveal, that client has in memory.
func compareHits(b *testing.B, parallel bool, client *secrets.Client, keys []string) {
	b.Helper()
	warm(b, client, keys)
	held := keys
	if keys[0] == keys[1] { // one hot key, among others
		held = append(ring("database/password-%d"), keys[0])
		warm(b, client, held)
	}
	raw := reference(b, held)
	ctx := b.Context()
	compare(b, parallel,
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
}

// modes runs f as two benchmarks: one goroutine, and as many as there are processors.
func modes(b *testing.B, name string, f func(b *testing.B, parallel bool)) {
	b.Helper()
	for _, mode := range []string{"serial", "parallel"} {
		b.Run(name+"/"+mode, func(b *testing.B) { f(b, mode == "parallel") })
	}
}

func document(path string) string {
	return fmt.Sprintf(`{"user":"app","password":"value of %s"}`, path)
}

// large is a document of 1 MiB with benchKeys fields.
func large(string) string {
	fields := make([]string, benchKeys)
	for i := range fields {
		fields[i] = fmt.Sprintf(`"field-%d":"%s"`, i, strings.Repeat("x", 1024))
	}
	return "{" + strings.Join(fields, ",") + "}"
}

// BenchmarkHit is a Get of a cached secret, and its Reveal, through the full client.
func BenchmarkHit(b *testing.B) {
	for name, keys := range map[string][]string{
		"document": ring("database/password-%d"),
		"field":    ring("database-%d#password"),
		"hotkey":   slices.Repeat([]string{"database/password-1"}, turn),
	} {
		modes(b, name, func(b *testing.B, parallel bool) {
			b.Helper()
			compareHits(b, parallel, full(b, &instant{value: document}), keys)
		})
	}
	modes(b, "leased", func(b *testing.B, parallel bool) {
		b.Helper()
		compareHits(b, parallel, full(b, &instant{value: document, lease: time.Hour}), ring("database-%d#password"))
	})
	modes(b, "large", func(b *testing.B, parallel bool) {
		b.Helper()
		compareHits(b, parallel, full(b, &instant{value: large}), ring("database#field-%d"))
	})
	modes(b, "counted", func(b *testing.B, parallel bool) {
		b.Helper()
		counting := secrets.WithCache(cache.New(cache.WithSize(2*benchKeys), cache.WithHitCount()))
		compareHits(b, parallel, full(b, &instant{value: document}, counting), ring("database/password-%d"))
	})
}

// BenchmarkLayers is a Get of a cached secret with one layer more in each row. It shows the cost of a layer for a hit.
func BenchmarkLayers(b *testing.B) {
	var opts []secrets.Option
	memory := secrets.WithCache(cache.New(cache.WithSize(2 * benchKeys)))
	for i, layer := range []struct {
		name string
		opt  secrets.Option
	}{
		{"cache", memory},
		{"dedup", secrets.WithDedup(dedup.New())},
		{"redaction", secrets.WithRedaction(redact.New())},
		{"tracing", secrets.WithTracing(tracing.New(trace.NewTracerProvider()))},
		{"logger", secrets.WithLogger(slog.New(slog.DiscardHandler))},
		{"backend-middleware", secrets.WithBackendMiddleware(pass())},
		{"fallback", secrets.WithFallback(fallback.To(env.New(env.WithPrefix("NONE_"))))},
		{"metrics", secrets.WithCache(cache.New(cache.WithSize(2*benchKeys), cache.WithHitCount()))},
		{"middleware", secrets.WithMiddleware(pass())},
	} {
		if layer.name == "metrics" {
			opts[0] = layer.opt // the cache that counts its hits, in the place of the one that does not
		} else {
			opts = append(opts, layer.opt)
		}
		b.Run(fmt.Sprintf("%d-%s", i+1, layer.name), func(b *testing.B) {
			compareHits(b, false, benchClient(b, &instant{}, opts...), ring("database/password-%d"))
		})
	}
}

// BenchmarkChain is a Get of a hit of the first backend of a chain, and of a known not-found there, so that
// another one answers: from memory, or from the environment. A policy of a program's own is as fast as that of package fallback.
func BenchmarkChain(b *testing.B) {
	missing := func() secrets.Backend { return secretstest.NewBackend(nil, secretstest.WithName("empty")) }
	second := secrets.WithFallback(fallback.To(&instant{value: document}))
	modes(b, "first", func(b *testing.B, parallel bool) {
		b.Helper()
		compareHits(b, parallel, full(b, &instant{value: document, name: "first"}, second), ring("database/password-%d"))
	})
	modes(b, "own-policy", func(b *testing.B, parallel bool) {
		b.Helper()
		own := secrets.WithFallback(&chain{backends: []secrets.Backend{&instant{value: document}}, goesOn: []error{secrets.ErrNotFound}})
		compareHits(b, parallel, full(b, &instant{value: document, name: "first"}, own), ring("database/password-%d"))
	})
	modes(b, "second", func(b *testing.B, parallel bool) {
		b.Helper()
		remembering := secrets.WithCache(cache.New(cache.WithSize(2*benchKeys), cache.WithNegativeTTL(time.Hour)))
		compareHits(b, parallel, full(b, missing(), second, remembering), ring("database/password-%d"))
	})
	b.Run("environment", func(b *testing.B) {
		b.Setenv("BENCH_DATABASE_PASSWORD", "value")
		remembering := secrets.WithCache(cache.New(cache.WithNegativeTTL(time.Hour)))
		last := secrets.WithFallback(fallback.To(env.New(env.WithPrefix("BENCH_"))))
		// Without tracing, since each read of a variable is a fetch, and so a span.
		client := benchClient(b, missing(), last, remembering, middleware.Standard())
		ctx := b.Context()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := client.Get(ctx, "database/password"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkDone is a Get with a context that is done.
func BenchmarkDone(b *testing.B) {
	client := full(b, &instant{})
	warm(b, client, []string{"database"})
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Get(ctx, "database"); !errors.Is(err, context.Canceled) {
			b.Fatal(err)
		}
	}
}

// BenchmarkInsert is a Get of a secret that is not in a full cache, so that it evicts another, beside that of a client
// without a cache: the difference is what the cache costs. The reference is lru.Cache.Add, with an eviction as well.
func BenchmarkInsert(b *testing.B) {
	for _, size := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			alone := func(fill secrets.Fetcher) secrets.Fetcher { return fill } // without dedup
			memory := cache.New(cache.WithSize(size)).NewCache(secrets.Info{Name: "instant"}, &instant{}, alone)
			without := &instant{}
			raw, err := lru.New[string, *secrets.Secret](size)
			if err != nil {
				b.Fatal(err)
			}
			refs := make([]secrets.Ref, 4*size)
			for i := range refs {
				refs[i].Path = fmt.Sprintf("database/password-%d", i)
			}
			value := secrets.NewSecret("value", secrets.Meta{})
			next := [3]int{}
			step := func(n int) secrets.Ref {
				next[n] = (next[n] + 1) % len(refs)
				return refs[next[n]]
			}
			ctx := b.Context()
			run := func(f func()) time.Duration {
				began := time.Now()
				for range turn {
					f()
				}
				return time.Since(began)
			}
			fetch := func(f secrets.Fetcher, n int) func() {
				return func() {
					if _, err := f.Fetch(ctx, step(n)); err != nil {
						b.Fail()
					}
				}
			}
			for range len(refs) / turn {
				run(fetch(memory, 0))
				run(func() { raw.Add(step(1).Path, &value) })
			}
			var with, bare, other time.Duration
			n := 0
			b.ReportAllocs()
			for b.ResetTimer(); n < b.N; n += turn {
				with += run(fetch(memory, 0))
				b.StopTimer()
				bare += run(fetch(without, 2))
				other += run(func() { raw.Add(step(1).Path, &value) })
				b.StartTimer()
			}
			b.ReportMetric(float64(with-bare)/float64(n), "ns/op")
			b.ReportMetric(float64(with-bare)/float64(other), "x-lru-add")
			if err := memory.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkMiss is a Get of a secret that is not in memory, through the standard stack, and with a span of a real provider.
func BenchmarkMiss(b *testing.B) {
	keys := make([]string, 16_384) // more than the cache holds, and redaction remembers
	for i := range keys {
		keys[i] = fmt.Sprintf("database/password-%d", i)
	}
	provider := trace.NewTracerProvider()
	b.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	for _, stack := range []struct {
		name string
		opts []secrets.Option
	}{
		{"standard", []secrets.Option{middleware.Standard()}},
		{"traced", []secrets.Option{middleware.Standard(), secrets.WithTracing(tracing.New(provider))}},
	} {
		b.Run(stack.name, func(b *testing.B) {
			client := benchClient(b, &instant{value: func(string) string { return "value" }}, stack.opts...)
			ctx := b.Context()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := client.Get(ctx, keys[i%len(keys)]); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
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

// BenchmarkGetMany is a GetMany of 100 cached secrets. It reports the allocations beside those of the map that it returns.
func BenchmarkGetMany(b *testing.B) {
	client := benchClient(b, &instant{}, middleware.Standard(cache.WithSize(2*benchKeys)))
	keys := make([]string, 100)
	for i := range keys {
		keys[i] = fmt.Sprintf("database/password-%d", i)
	}
	warm(b, client, keys)
	ctx := b.Context()
	var found map[string]secrets.Secret
	getMany := func() {
		var err error
		if found, err = client.GetMany(ctx, keys...); err != nil || len(found) != len(keys) {
			b.Fatal(err)
		}
	}
	bare := testing.AllocsPerRun(100, func() { found = make(map[string]secrets.Secret, len(keys)) })
	beside := testing.AllocsPerRun(100, getMany) - bare
	b.ReportAllocs()
	for b.Loop() {
		getMany()
	}
	b.ReportMetric(beside, "allocs-beside-map")
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
						if _, err := client.Get(b.Context(), strings.Clone(key)); err != nil {
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
// heap beside its value and its key: in the cache, and in the standard stack, whose redaction remembers values as well.
func BenchmarkMemory(b *testing.B) {
	for _, stack := range []string{"cache", "standard"} {
		for _, documents := range []int{1000, 100_000} {
			b.Run(fmt.Sprintf("%s/documents=%d", stack, documents), func(b *testing.B) {
				keys := make([]string, documents)
				for i := range keys {
					keys[i] = fmt.Sprintf("database/password-%d", i)
				}
				const value = "a value that is shared by all documents, so that it costs nothing"
				for b.Loop() {
					opt := middleware.Standard(cache.WithSize(documents))
					if stack == "cache" {
						opt = secrets.WithCache(cache.New(cache.WithSize(documents)))
					}
					backend := &instant{value: func(string) string { return value }}
					before := heap()
					client := benchClient(b, backend, opt)
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
}

// heap returns the bytes of the heap that are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

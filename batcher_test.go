package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

// batching is a backend whose server takes several refs in a call.
type batching struct {
	secrets.Backend

	mu    sync.Mutex
	calls [][]secrets.Ref
}

// newBatching returns a batching whose calls are answered by call, or by the paths themselves.
func newBatching(
	info secrets.Info, window time.Duration, call func(ctx context.Context, refs []secrets.Ref) []secrets.Result,
) *batching {
	b := &batching{}
	if call == nil {
		call = func(_ context.Context, refs []secrets.Ref) []secrets.Result { return echo(refs) }
	}
	batcher := secrets.NewBatcher(info.Batch, window, func(ctx context.Context, refs []secrets.Ref) []secrets.Result {
		b.mu.Lock()
		b.calls = append(b.calls, refs)
		b.mu.Unlock()
		return call(ctx, refs)
	})
	b.Backend = secrets.NewBackend(info, batcher.Fetch)
	return b
}

// sizes returns the number of refs of each call.
func (b *batching) sizes() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	sizes := make([]int, len(b.calls))
	for i, refs := range b.calls {
		sizes[i] = len(refs)
	}
	slices.Sort(sizes) // calls run concurrently
	return sizes
}

// echo answers each ref with its path.
func echo(refs []secrets.Ref) []secrets.Result {
	results := make([]secrets.Result, len(refs))
	for i, ref := range refs {
		results[i].Secret = secrets.NewSecret(ref.Path, secrets.Meta{Version: "1"})
	}
	return results
}

// keys returns n keys.
func keys(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("key%03d", i)
	}
	return all
}

func TestAHundredKeysAreFiveBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // on a busy machine the documents may take longer than a batch waits
		is := is.New(t)
		b := newBatching(secrets.Info{Name: "b", Batch: 20}, 0, nil)
		client := open(t, b)
		found, err := client.GetMany(t.Context(), keys(100)...)
		is.NoErr(err)
		is.Equal(len(found), 100)
		for key, s := range found {
			is.Equal(s.Reveal(), key) // each key has its own answer
		}
		is.Equal(b.sizes(), []int{20, 20, 20, 20, 20})
	})
}

// The last call is not full. It is sent at once, when no other fetch can join it.
func TestTheLastBatchIsSentAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBatching(secrets.Info{Name: "b", Batch: 20}, 0, nil)
		client := open(t, b)
		began := time.Now()
		_, err := client.GetMany(t.Context(), keys(25)...)
		is.NoErr(err)
		is.Equal(b.sizes(), []int{5, 20})
		is.Equal(time.Since(began), time.Duration(0))
	})
}

func TestASingleGetDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBatching(secrets.Info{Name: "b", Batch: 20}, 0, nil)
		client := open(t, b)
		began := time.Now()
		s, err := client.Get(t.Context(), "a")
		is.NoErr(err)
		is.Equal(s.Reveal(), "a")
		is.Equal(time.Since(began), time.Duration(0))
		is.Equal(b.sizes(), []int{1})
	})
}

func TestAWindowGathersSeparateGets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		const window = 50 * time.Millisecond
		b := newBatching(secrets.Info{Name: "b", Batch: 20}, window, nil)
		client := open(t, b)
		began := time.Now()
		var wg sync.WaitGroup
		for _, key := range keys(30) {
			wg.Go(func() {
				s, err := client.Get(t.Context(), key)
				is.NoErr(err)
				is.Equal(s.Reveal(), key)
			})
		}
		wg.Wait()
		is.Equal(b.sizes(), []int{10, 20})  // the larger one is full at once
		is.Equal(time.Since(began), window) // the second waits for the window
	})
}

// A fetch that is delayed before it reaches the batcher delays the others for at most 20 ms.
func TestABatchWaitsTwentyMillisecondsForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var answered atomic.Int64 // nanoseconds until a and b had their answers
		began := time.Now()
		b := newBatching(secrets.Info{Name: "b", Batch: 20}, 0, func(_ context.Context, refs []secrets.Ref) []secrets.Result {
			answered.CompareAndSwap(0, int64(time.Since(began))+1)
			return echo(refs)
		})
		client := open(t, b, secrets.WithBackendMiddleware(holdUp("slow", time.Second)))
		_, err := client.GetMany(t.Context(), "a", "b", "slow")
		is.NoErr(err)
		is.Equal(time.Duration(answered.Load()-1), 20*time.Millisecond)
		is.Equal(b.sizes(), []int{1, 2})
	})
}

// The control of the test above: a Local backend waits for up to a second, because values that are read together should match.
func TestABatchOfALocalBackendWaitsASecond(t *testing.T) {
	for held, sizes := range map[time.Duration][]int{900 * time.Millisecond: {3}, 2 * time.Second: {1, 2}} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			b := newBatching(secrets.Info{Name: "b", Batch: 20, Local: true}, 0, nil)
			client := open(t, b, secrets.WithBackendMiddleware(holdUp("slow", held)))
			found, err := client.GetMany(t.Context(), "a", "b", "slow")
			is.NoErr(err)
			is.Equal(len(found), 3) // all are found
			is.Equal(b.sizes(), sizes)
		})
	}
}

// Middleware that lets one caller in at a time delays the fetches that a gathering caller waits for.
func TestALimiterCannotHangAGetMany(t *testing.T) {
	limiter := func() secrets.Middleware {
		slots := make(chan struct{}, 1)
		return secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return secrets.Secret{}, ctx.Err()
			}
			defer func() { <-slots }()
			return next.Fetch(ctx, ref)
		})
	}
	for name, option := range map[string]func(...secrets.Middleware) secrets.Option{
		"above": secrets.WithMiddleware, "below": secrets.WithBackendMiddleware,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				b := newBatching(secrets.Info{Name: "b", Batch: 20, Local: true}, 0, nil)
				client := open(t, b, option(limiter()))
				began := time.Now()
				found, err := client.GetMany(context.Background(), "a", "b")
				is.NoErr(err)
				is.Equal(len(found), 2)
				is.True(time.Since(began) <= 2*time.Second)
			})
		})
	}
}

// holdUp returns a layer that delays fetches of path.
func holdUp(path string, d time.Duration) secrets.Middleware {
	return secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
		if ref.Path == path {
			time.Sleep(d)
		}
		return next.Fetch(ctx, ref)
	})
}

// A Local fallback waits for fetches that the first backend still delays, but for at most half of the time until the deadline of the
// caller.
func TestALocalFallbackGathersForHalfOfTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		first := secrets.NewBackend(secrets.Info{Name: "first"}, func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
			if ref.Path == "sick" {
				<-ctx.Done()
				return secrets.Secret{}, ctx.Err()
			}
			return secrets.Secret{}, secrets.ErrNotFound
		})
		second := newBatching(secrets.Info{Name: "second", Batch: 20, Local: true}, 0, nil)
		client := open(t, first, secrets.WithFallback(&chain{backends: []secrets.Backend{second}}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		found, err := client.GetMany(ctx, "a", "b", "sick")
		is.True(errors.Is(err, context.DeadlineExceeded))
		is.Equal(len(found), 2) // found secrets are returned
		is.Equal(second.sizes(), []int{2})
	})
}

func TestAWrongNumberOfAnswersIsUnknown(t *testing.T) {
	for name, call := range map[string]func(context.Context, []secrets.Ref) []secrets.Result{
		"none":      func(context.Context, []secrets.Ref) []secrets.Result { return nil },
		"too few":   func(_ context.Context, refs []secrets.Ref) []secrets.Result { return echo(refs[1:]) },
		"too many":  func(_ context.Context, refs []secrets.Ref) []secrets.Result { return append(echo(refs), echo(refs)...) },
		"a panic":   func(context.Context, []secrets.Ref) []secrets.Result { panic("secret") },
		"an exit":   func(context.Context, []secrets.Ref) []secrets.Result { runtime.Goexit(); return nil },
		"no answer": func(_ context.Context, refs []secrets.Ref) []secrets.Result { return make([]secrets.Result, len(refs)) },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			client := open(t, newBatching(secrets.Info{Name: "b", Batch: 20}, 0, call))
			found, err := client.GetMany(t.Context(), keys(3)...)
			is.Equal(len(found), 0)
			var all secrets.Errors
			is.True(errors.As(err, &all))
			is.Equal(len(all), 3)
			for _, e := range all {
				is.Equal(e.Err, secrets.ErrUnknown)
			}
			_, err = client.Get(t.Context(), "one")
			is.Equal(secrets.Class(err), secrets.ErrUnknown)
		})
	}
}

// A caller that leaves does not cancel the call for the others. The last one does.
func TestABatchIsCancelledWithItsLastCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var ended atomic.Bool
		batcher := secrets.NewBatcher(20, time.Millisecond, func(ctx context.Context, refs []secrets.Ref) []secrets.Result {
			select {
			case <-ctx.Done():
				ended.Store(true)
				return nil
			case <-time.After(time.Minute):
				return echo(refs)
			}
		})
		first, leave := context.WithCancel(t.Context())
		second, leaveToo := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := batcher.Fetch(first, secrets.Ref{Path: "a"})
			is.True(errors.Is(err, context.Canceled))
		})
		wg.Go(func() {
			_, err := batcher.Fetch(second, secrets.Ref{Path: "b"})
			is.True(errors.Is(err, context.Canceled))
		})
		time.Sleep(time.Second)
		leave()
		time.Sleep(time.Second)
		is.True(!ended.Load())
		leaveToo()
		wg.Wait()
		synctest.Wait()
		is.True(ended.Load())
	})
}

// A call that ignores its cancelled context counts as a hung call of the backend, and Close waits for it.
func TestCloseWaitsForABatchThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var running, closedBefore atomic.Int64
		b := newBatching(secrets.Info{Name: "b", Batch: 20}, 0, func(ctx context.Context, _ []secrets.Ref) []secrets.Result {
			running.Add(1)
			defer running.Add(-1)
			<-ctx.Done()
			time.Sleep(time.Second)
			return nil
		})
		backend := closing{b, func() { closedBefore.Store(running.Load()) }}
		client, err := secrets.New(backend, secrets.WithTimeout(3*time.Second))
		is.NoErr(err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = client.GetMany(ctx, "a", "b")
		is.True(errors.Is(err, context.DeadlineExceeded))
		is.Equal(running.Load(), int64(1))
		is.NoErr(client.Close())
		is.Equal(running.Load(), int64(0))
		is.Equal(closedBefore.Load(), int64(0)) // the backend is closed after its calls have ended
	})
}

// closing is a backend that reports its Close.
type closing struct {
	secrets.Backend

	closed func()
}

func (c closing) Close() error {
	c.closed()
	return c.Backend.Close()
}

// A batch has no ref whose caller has left.
func TestABatchLeavesOutRefsWithoutCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBatching(secrets.Info{Name: "b", Batch: 20}, time.Second, nil)
		ctx, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = b.Fetch(ctx, secrets.Ref{Path: "gone"}) })
		synctest.Wait()
		wg.Go(func() {
			s, err := b.Fetch(t.Context(), secrets.Ref{Path: "here"})
			is.NoErr(err)
			is.Equal(s.Reveal(), "here")
		})
		synctest.Wait()
		leave()
		wg.Wait()
		is.Equal(b.calls, [][]secrets.Ref{{{Path: "here"}}})
	})
}

// A Batcher is a correct Fetcher even without the guard of a Client.
func TestABatcherWithoutAClient(t *testing.T) {
	for name, call := range map[string]func(context.Context, []secrets.Ref) []secrets.Result{
		"a panic":   func(context.Context, []secrets.Ref) []secrets.Result { panic("secret") },
		"no answer": func(_ context.Context, refs []secrets.Ref) []secrets.Result { return make([]secrets.Result, len(refs)) },
		"nil":       nil,
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			_, err := secrets.NewBatcher(20, 0, call).Fetch(t.Context(), secrets.Ref{Path: "a"})
			is.Equal(secrets.Class(err), secrets.ErrUnknown)
		})
	}
}

// Several callers of one ref in one window are one ref of the batch.
func TestABatchHasEachRefOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBatching(secrets.Info{Name: "b", Batch: 20}, time.Millisecond, nil)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				s, err := b.Fetch(t.Context(), secrets.Ref{Path: "a"})
				is.NoErr(err)
				is.Equal(s.Reveal(), "a")
			})
		}
		wg.Wait()
		is.Equal(b.sizes(), []int{1})
	})
}

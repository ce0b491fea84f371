package awssm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

const window = 10 * time.Millisecond

// recorder records the calls of a batcher.
type recorder struct {
	mu     sync.Mutex
	groups [][]secrets.Ref
	delay  time.Duration
	ended  int // calls whose context ended
}

func (a *recorder) call(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	a.mu.Lock()
	a.groups = append(a.groups, refs)
	a.mu.Unlock()
	results := make([]secrets.Result, len(refs))
	select {
	case <-time.After(a.delay):
		for i, ref := range refs {
			results[i].Secret = secrets.NewSecret(ref.Path, secrets.Meta{})
			if ref.Path == "missing" {
				results[i] = secrets.Result{Err: notFound("")}
			}
		}
	case <-ctx.Done():
		a.mu.Lock()
		a.ended++
		a.mu.Unlock()
		for i := range results {
			results[i].Err = ctx.Err()
		}
	}
	return results
}

// sizes returns how many refs each call was for.
func (a *recorder) sizes() []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	sizes := make([]int, len(a.groups))
	for i, g := range a.groups {
		sizes[i] = len(g)
	}
	return sizes
}

// coalescing runs f with a backend that coalesces within window, in a bubble. Its calls take delay.
func coalescing(t *testing.T, window, delay time.Duration, f func(is *is.I, a *recorder, b *Backend)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := &recorder{delay: delay}
		f(is.New(t), a, &Backend{name: "aws", region: "us-east-1", batchers: batchers{window: window, call: a.call}})
	})
}

func fetch(ctx context.Context, b *Backend, path string) (string, error) {
	s, err := b.Fetch(ctx, secrets.Ref{Path: path})
	return s.Reveal(), err
}

func TestGetsWithinTheWindowShareACall(t *testing.T) {
	coalescing(t, window, 0, func(is *is.I, a *recorder, b *Backend) {
		var wg sync.WaitGroup
		began := time.Now()
		for i := range 7 {
			wg.Go(func() {
				id := fmt.Sprint(i % 5) // two ids twice
				value, err := fetch(context.Background(), b, id)
				is.NoErr(err)
				is.Equal(value, id)
			})
			time.Sleep(time.Millisecond)
		}
		wg.Wait()
		is.Equal(time.Since(began), window)
		is.Equal(a.sizes(), []int{5})

		_, err := fetch(context.Background(), b, "0") // a later Get is a new call
		is.NoErr(err)
		is.Equal(a.sizes(), []int{5, 1})
	})
}

func TestASingleGetWaitsForTheWindow(t *testing.T) {
	for _, w := range []time.Duration{window, maxWindow} {
		coalescing(t, w, 0, func(is *is.I, a *recorder, b *Backend) {
			began := time.Now()
			_, err := fetch(context.Background(), b, "a")
			is.NoErr(err)
			is.Equal(time.Since(began), w)
			is.Equal(a.sizes(), []int{1})
		})
	}
}

func TestWithoutCoalescingNoGetWaits(t *testing.T) {
	coalescing(t, 0, 0, func(is *is.I, a *recorder, b *Backend) {
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				_, err := fetch(context.Background(), b, fmt.Sprint(i))
				is.NoErr(err)
			})
		}
		wg.Wait()
		is.Equal(time.Since(began), time.Duration(0))
		is.Equal(a.sizes(), slices.Repeat([]int{1}, 10))
	})
}

func TestAFullGroupDoesNotWait(t *testing.T) {
	coalescing(t, window, 0, func(is *is.I, a *recorder, b *Backend) {
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				_, err := fetch(context.Background(), b, fmt.Sprint(i))
				is.NoErr(err)
			})
		}
		began := time.Now()
		wg.Wait()
		is.Equal(time.Since(began), time.Duration(0))
		is.Equal(a.sizes(), []int{20, 20, 20, 20, 20})
	})
}

func TestRegionsDoNotShareACall(t *testing.T) {
	const arn = "arn:aws:secretsmanager:%s:123456789012:secret:%s"
	coalescing(t, window, 0, func(is *is.I, a *recorder, b *Backend) {
		var wg sync.WaitGroup
		for _, path := range []string{
			"a", fmt.Sprintf(arn, "eu-west-1", "a"), "b", fmt.Sprintf(arn, "eu-west-1", "b"),
			fmt.Sprintf(arn, "us-east-1", "b"), // the region of the backend
		} {
			wg.Go(func() {
				value, err := fetch(context.Background(), b, path)
				is.NoErr(err)
				is.Equal(value, path)
			})
		}
		wg.Wait()
		sizes := a.sizes()
		slices.Sort(sizes)
		is.Equal(sizes, []int{2, 3})
		for _, refs := range a.groups {
			for _, ref := range refs {
				is.Equal(strings.Contains(ref.Path, "eu-west-1"), len(refs) == 2)
			}
		}
	})
}

func TestEachCallerGetsItsOwnAnswer(t *testing.T) {
	coalescing(t, window, time.Second, func(is *is.I, a *recorder, b *Backend) {
		results := make(map[string]error)
		var mu sync.Mutex
		var wg sync.WaitGroup
		get := func(name string, ctx context.Context, id string) {
			wg.Go(func() {
				_, err := fetch(ctx, b, id)
				mu.Lock()
				defer mu.Unlock()
				results[name] = err
			})
			synctest.Wait()
		}
		first, leave := context.WithCancel(context.Background())
		hurried, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		get("the first, which leaves", first, "a")
		get("found", context.Background(), "b")
		get("missing", context.Background(), "missing")
		get("hurried", hurried, "c")
		leave()
		wg.Wait()
		is.Equal(results["the first, which leaves"], context.Canceled)
		is.Equal(results["hurried"], context.DeadlineExceeded)
		is.NoErr(results["found"])
		is.True(errors.Is(results["missing"], secrets.ErrNotFound))
		is.Equal(a.sizes(), []int{3}) // without the first, which has left
		is.Equal(a.ended, 0)
	})
}

func TestACallWithoutCallersEnds(t *testing.T) {
	coalescing(t, window, time.Hour, func(is *is.I, a *recorder, b *Backend) {
		var wg sync.WaitGroup
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		for i := range 3 {
			wg.Go(func() {
				_, err := fetch(ctx, b, fmt.Sprint(i))
				is.Equal(err, context.DeadlineExceeded)
			})
		}
		wg.Wait()
		synctest.Wait()
		is.Equal(a.ended, 1)

		// A caller that leaves within the window does not affect later callers.
		short, cancel := context.WithTimeout(context.Background(), window/2)
		defer cancel()
		a.delay = 0
		_, err := fetch(short, b, "x")
		is.Equal(err, context.DeadlineExceeded)
		_, err = fetch(context.Background(), b, "x")
		is.NoErr(err)
	})
}

// Closing the Client ends calls in flight and calls that wait for their window.
func TestClosingTheClientEndsACoalescedCall(t *testing.T) {
	coalescing(t, window, time.Hour, func(is *is.I, a *recorder, b *Backend) {
		client, err := secrets.New(b, secrets.WithTimeout(time.Minute))
		is.NoErr(err)
		errs := make(chan error, 2)
		get := func() {
			_, err := client.Get(context.Background(), "a")
			errs <- err
		}
		go get()
		time.Sleep(2 * window)
		go get() // still within its window
		synctest.Wait()
		closing := time.Now()
		is.NoErr(client.Close())
		for range 2 {
			is.True(errors.Is(<-errs, secrets.ErrClosed))
		}
		is.Equal(time.Since(closing), time.Duration(0))
		synctest.Wait()
		is.Equal(a.ended, 1)
		is.Equal(a.sizes(), []int{1}) // the second call was never made
		_, err = fetch(context.Background(), b, "a")
		is.True(errors.Is(err, secrets.ErrClosed))
	})
}

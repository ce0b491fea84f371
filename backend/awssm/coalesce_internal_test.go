package awssm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

const window = 10 * time.Millisecond

// asked records what a coalescer asks for.
type asked struct {
	mu     sync.Mutex
	groups [][]query
	delay  time.Duration
	ended  int // calls whose context ended
}

func (a *asked) ask(ctx context.Context, queries []query) []secrets.Result {
	a.mu.Lock()
	a.groups = append(a.groups, queries)
	a.mu.Unlock()
	results := make([]secrets.Result, len(queries))
	select {
	case <-time.After(a.delay):
		for i, q := range queries {
			results[i].Secret = secrets.NewSecret(q.region+q.id, secrets.Meta{})
			if q.id == "missing" {
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

func (a *asked) sizes() []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	sizes := make([]int, len(a.groups))
	for i, g := range a.groups {
		sizes[i] = len(g)
	}
	return sizes
}

// coalescing runs f with a coalescer, in a bubble.
func coalescing(t *testing.T, delay time.Duration, f func(is *is.I, a *asked, c *coalescer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := &asked{delay: delay}
		c := newCoalescer(window, a.ask)
		f(is.New(t), a, c)
		c.close()
	})
}

func TestGetsWithinTheWindowShareACall(t *testing.T) {
	coalescing(t, 0, func(is *is.I, a *asked, c *coalescer) {
		var wg sync.WaitGroup
		began := time.Now()
		for i := range 7 {
			wg.Go(func() {
				id := fmt.Sprint(i % 5) // two of them twice
				s, err := c.fetch(context.Background(), query{id: id})
				is.NoErr(err)
				is.Equal(s.Reveal(), id)
			})
			time.Sleep(time.Millisecond)
		}
		wg.Wait()
		is.Equal(time.Since(began), window)
		is.Equal(a.sizes(), []int{5})

		_, err := c.fetch(context.Background(), query{id: "0"}) // afterwards, it is asked for anew
		is.NoErr(err)
		is.Equal(a.sizes(), []int{5, 1})
	})
}

func TestAFullGroupDoesNotWait(t *testing.T) {
	coalescing(t, 0, func(is *is.I, a *asked, c *coalescer) {
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				_, err := c.fetch(context.Background(), query{id: fmt.Sprint(i)})
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
	coalescing(t, 0, func(is *is.I, a *asked, c *coalescer) {
		var wg sync.WaitGroup
		for _, region := range []string{"", "eu-west-1", "", "eu-west-1"} {
			wg.Go(func() {
				s, err := c.fetch(context.Background(), query{region: region, id: "a"})
				is.NoErr(err)
				is.Equal(s.Reveal(), region+"a")
			})
		}
		wg.Wait()
		is.Equal(a.sizes(), []int{1, 1})
	})
}

func TestEachCallerHasAnAnswerOfItsOwn(t *testing.T) {
	coalescing(t, time.Second, func(is *is.I, a *asked, c *coalescer) {
		results := make(map[string]error)
		var mu sync.Mutex
		var wg sync.WaitGroup
		get := func(name string, ctx context.Context, id string) {
			wg.Go(func() {
				_, err := c.fetch(ctx, query{id: id})
				mu.Lock()
				defer mu.Unlock()
				results[name] = err
			})
			synctest.Wait()
		}
		first, leave := context.WithCancel(context.Background())
		hurried, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		get("the first, who leaves", first, "a")
		get("found", context.Background(), "b")
		get("missing", context.Background(), "missing")
		get("hurried", hurried, "c")
		leave()
		wg.Wait()
		is.Equal(results["the first, who leaves"], context.Canceled)
		is.Equal(results["hurried"], context.DeadlineExceeded)
		is.NoErr(results["found"])
		is.True(errors.Is(results["missing"], secrets.ErrNotFound))
		is.Equal(a.sizes(), []int{4})
		is.Equal(a.ended, 0)
	})
}

func TestNobodyWaitingEndsTheCall(t *testing.T) {
	coalescing(t, time.Hour, func(is *is.I, a *asked, c *coalescer) {
		var wg sync.WaitGroup
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		for i := range 3 {
			wg.Go(func() {
				_, err := c.fetch(ctx, query{id: fmt.Sprint(i)})
				is.Equal(err, context.DeadlineExceeded)
			})
		}
		wg.Wait()
		synctest.Wait()
		is.Equal(a.ended, 1)

		// Those who leave within the window take nobody with them who comes later.
		short, cancel := context.WithTimeout(context.Background(), window/2)
		defer cancel()
		a.delay = 0
		_, err := c.fetch(short, query{id: "x"})
		is.Equal(err, context.DeadlineExceeded)
		_, err = c.fetch(context.Background(), query{id: "x"})
		is.NoErr(err)
	})
}

func TestCloseEndsACoalescedCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		a := &asked{delay: time.Hour}
		c := newCoalescer(window, a.ask)
		errs := make(chan error, 2)
		get := func() {
			_, err := c.fetch(context.Background(), query{id: "a"})
			errs <- err
		}
		go get()
		time.Sleep(2 * window)
		go get() // still within its window
		synctest.Wait()
		c.close()
		for range 2 {
			is.True(errors.Is(<-errs, secrets.ErrClosed))
		}
		_, err := c.fetch(context.Background(), query{id: "a"})
		is.True(errors.Is(err, secrets.ErrClosed))
	})
}

package fetchctx_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// counter counts the calls of OnIdle.
func counter(g *fetchctx.Group) *atomic.Int64 {
	n := new(atomic.Int64)
	g.OnIdle(func() { n.Add(1) })
	return n
}

func TestOnIdleIsCalledOnceWhenNoFetchIsOnItsWay(t *testing.T) {
	is := is.New(t)
	g := fetchctx.NewGroup(3)
	calls := counter(g)
	g.Park()
	g.Unpark()
	g.Park()
	g.Done()
	is.Equal(calls.Load(), int64(0)) // the third is on its way
	g.Park()
	is.Equal(calls.Load(), int64(1))
	g.Unpark()
	g.Park()
	is.Equal(calls.Load(), int64(1)) // once
	g.Unpark()
	again := counter(g)
	is.Equal(again.Load(), int64(0)) // not for the earlier idle state
	g.Done()
	is.Equal(again.Load(), int64(1))
}

// A fetch that continues after its caller has left must not delay a batch.
func TestOnIdleAfterTheLastFetch(t *testing.T) {
	is := is.New(t)
	g := fetchctx.NewGroup(1)
	g.Done()
	calls := counter(g)
	g.Park()
	is.Equal(calls.Load(), int64(1))
	g.Unpark()
}

// OnIdle holds no lock while it calls f: f may use the group.
func TestOnIdleHoldsNoLock(t *testing.T) {
	is := is.New(t)
	g := fetchctx.NewGroup(1)
	var second *atomic.Int64
	g.OnIdle(func() {
		second = counter(g)
		g.Unpark()
		g.Park()
	})
	g.Park()
	is.Equal(second.Load(), int64(1))
}

func TestNoGroup(t *testing.T) {
	is := is.New(t)
	var g *fetchctx.Group
	g.Park()
	g.Unpark()
	g.Done()
	e := g.NewEvent()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	is.Equal(e.Wait(ctx), context.Canceled)
	e.End()
	is.NoErr(e.Wait(t.Context()))
}

func TestGatherWaitsForAllOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := fetchctx.NewGroup(4)
		calls := counter(g)
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Second)
				is.True(g.Gather(nil))
				is.Equal(time.Since(began), 5*time.Second)
				is.Equal(calls.Load(), int64(1))
				g.Done()
			})
		}
		time.Sleep(5 * time.Second)
		g.Done()
		wg.Wait()
	})
}

func TestGatherGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := fetchctx.NewGroup(3)
		over := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { is.True(!g.Gather(over)) })
		synctest.Wait()
		close(over)
		wg.Wait()
		calls := counter(g)
		g.Park()
		g.Park()
		is.Equal(calls.Load(), int64(0)) // the fetch that gave up is on its way
		g.Park()
		is.Equal(calls.Load(), int64(1))
	})
}

// Gathering fetches continue in one step: none of them sees itself as the last.
func TestGatheringFetchesContinueInOneStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		const n = 50
		g := fetchctx.NewGroup(n)
		var arrived atomic.Int64
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				is.True(g.Gather(nil))
				g.OnIdle(func() { is.Equal(arrived.Load(), int64(n)) })
				arrived.Add(1)
				g.Done()
			})
		}
		wg.Wait()
	})
}

func TestEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		const n = 50
		g := fetchctx.NewGroup(n + 1)
		e := g.NewEvent()
		idle := counter(g)
		ctx, cancel := context.WithCancel(t.Context())
		var arrived atomic.Int64
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				is.NoErr(e.Wait(t.Context()))
				g.OnIdle(func() { is.Equal(arrived.Load(), int64(n)) }) // all continue in one step
				arrived.Add(1)
				g.Done()
			})
		}
		wg.Go(func() {
			is.Equal(e.Wait(ctx), context.Canceled)
			is.Equal(arrived.Load(), int64(0))
			g.Done()
		})
		synctest.Wait()
		is.Equal(idle.Load(), int64(1)) // waiting fetches are not on their way
		cancel()
		synctest.Wait()
		e.End()
		wg.Wait()
		is.NoErr(e.Wait(ctx)) // the end wins over a done ctx
	})
}

func TestJoinRunsADocumentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := fetchctx.NewGroup(10)
		var runs atomic.Int64
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				defer g.Done()
				key := i % 2
				s, mine := g.Join(key)
				if mine {
					runs.Add(1)
					time.Sleep(time.Second)
					s.Value = fmt.Sprint("value of ", key)
					s.End()
				}
				is.NoErr(s.Wait(t.Context()))
				is.Equal(s.Value, fmt.Sprint("value of ", key))
			})
		}
		wg.Wait()
		is.Equal(runs.Load(), int64(2))
	})
}

func TestForgetStartsANewFetch(t *testing.T) {
	is := is.New(t)
	g := fetchctx.NewGroup(1)
	first, mine := g.Join("key")
	is.True(mine)
	same, mine := g.Join("key")
	is.True(!mine)
	is.True(same == first)
	g.Forget("key", first)
	second, mine := g.Join("key")
	is.True(mine)
	is.True(second != first)
	g.Forget("key", first) // no longer there
	same, mine = g.Join("key")
	is.True(!mine)
	is.True(same == second)
}

func TestAcquireLimitsEachBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := fetchctx.NewGroup(20)
		var atOnce [2]atomic.Int64
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				defer g.Done()
				key := i % 2
				release, err := g.Acquire(t.Context(), key, 3)
				is.NoErr(err)
				is.True(atOnce[key].Add(1) <= 3)
				time.Sleep(time.Second)
				atOnce[key].Add(-1)
				release()
			})
		}
		wg.Wait()
		is.Equal(time.Since(began), 4*time.Second) // 10 of each, 3 at a time
	})
}

// A canceled Acquire neither keeps nor loses a slot.
func TestCanceledAcquire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := fetchctx.NewGroup(3)
		idle := counter(g)
		release, err := g.Acquire(t.Context(), "key", 1)
		is.NoErr(err)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			defer g.Done()
			_, err := g.Acquire(ctx, "key", 1)
			is.Equal(err, context.Canceled)
		})
		wg.Go(func() {
			defer g.Done()
			release, err := g.Acquire(t.Context(), "key", 1)
			is.NoErr(err)
			release()
		})
		synctest.Wait()
		is.Equal(idle.Load(), int64(0))
		cancel()
		synctest.Wait()
		release()
		wg.Wait()
		is.Equal(idle.Load(), int64(0)) // the first is on its way
		g.Done()
		is.Equal(idle.Load(), int64(1))
		release, err = g.Acquire(t.Context(), "key", 1) // a free slot
		is.NoErr(err)
		release()
	})
}

// Acquire passes slots on as others are answered: between the two, some fetch is always on its way, so sequential fetches form a batch.
func TestAcquirePassesSlotsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		const n, atOnce = 100, 10
		g := fetchctx.NewGroup(n)
		var arrived atomic.Int64
		batch := g.NewEvent()
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				defer g.Done()
				release, err := g.Acquire(t.Context(), "key", atOnce)
				is.NoErr(err)
				defer release()
				mu.Lock()
				mine := batch
				if arrived.Add(1)%atOnce == 1 {
					g.OnIdle(func() {
						is.Equal(arrived.Load()%atOnce, int64(0)) // the batch is full
						mu.Lock()
						batch = g.NewEvent()
						mu.Unlock()
						go mine.End()
					})
				}
				mu.Unlock()
				is.NoErr(mine.Wait(t.Context()))
			})
		}
		wg.Wait()
	})
}

// All methods run concurrently, with callers that give up: no fetch is stuck, and all counts end at zero.
func TestGroupUnderConcurrency(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			const n = 30
			g := fetchctx.NewGroup(n)
			var wg sync.WaitGroup
			for i := range uint64(n) {
				r := rand.New(rand.NewPCG(seed, i))
				wg.Go(func() {
					defer g.Done()
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+r.IntN(20)))
					defer cancel()
					for range 5 {
						time.Sleep(time.Duration(r.IntN(3)))
						switch r.IntN(4) {
						case 0:
							g.Gather(ctx.Done())
						case 1:
							if release, err := g.Acquire(ctx, r.IntN(2), 3); err == nil {
								time.Sleep(time.Duration(r.IntN(3)))
								release()
							}
						case 2:
							key := r.IntN(3)
							if s, mine := g.Join(key); mine {
								time.Sleep(time.Duration(r.IntN(5)))
								s.End()
								g.Forget(key, s)
							} else {
								_ = s.Wait(ctx)
							}
						default:
							sent := make(chan struct{})
							g.OnIdle(func() { close(sent) })
							g.Park()
							select {
							case <-sent:
							case <-ctx.Done():
							}
							g.Unpark()
						}
					}
				})
			}
			wg.Wait()
			for range n { // all are answered: the count of fetches on their way must be zero
				g.Unpark()
			}
			idle := counter(g)
			for range n {
				is.Equal(idle.Load(), int64(0))
				g.Park()
			}
			is.Equal(idle.Load(), int64(1))
			for key := range 2 { // and all slots are free
				for range 3 {
					_, err := g.Acquire(t.Context(), key, 3)
					is.NoErr(err)
				}
			}
		})
	}
}

// Fetches that replace an expired answer have Renewed set, whichever caller starts them.
func TestRenewMarksLaterFetches(t *testing.T) {
	is := is.New(t)
	g := fetchctx.NewGroup(2)
	first, _ := g.Join("key")
	is.True(!first.Renewed)
	g.Renew("key", first)
	g.Renew("key", first) // no longer there
	second, mine := g.Join("key")
	is.True(mine)
	is.True(second.Renewed)
	g.Renew("key", first)
	again, mine := g.Join("key")
	is.True(!mine)
	is.True(again == second)
	other, _ := g.Join("other")
	is.True(!other.Renewed)
}

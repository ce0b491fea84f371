package fetchctx_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// crowd notes the names of the callers that it is told of.
type crowd struct {
	mu    sync.Mutex
	names []string
}

func (c *crowd) join(caller context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = append(c.names, fmt.Sprint(caller.Value(nameKey{})))
}

func (c *crowd) sorted() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(slices.Values(c.names))
}

func TestFlightTellsOfThoseBeforeAndAfter(t *testing.T) {
	is := is.New(t)
	f := fetchctx.NewFlight(callerNamed("first"))
	var one, two, none crowd
	f.OnJoin(one.join)
	is.Equal(len(one.names), 0) // the first caller has begun it, and has not joined
	f.Join(callerNamed("second"))
	f.OnJoin(two.join)
	f.Join(callerNamed("third"))
	is.Equal(one.names, []string{"second", "third"})
	is.Equal(two.names, []string{"second", "third"})

	f.End()
	f.Join(callerNamed("fourth"))
	f.OnJoin(none.join)
	is.Equal(len(one.names), 2)
	is.Equal(len(none.names), 0)
	f.End() // again does nothing
}

func TestFlightKeepsABoundedNumberOfCallers(t *testing.T) {
	is := is.New(t)
	f := fetchctx.NewFlight(t.Context())
	var before, after crowd
	f.OnJoin(before.join)
	for i := range 2 * fetchctx.MaxJoined {
		f.Join(callerNamed(fmt.Sprint(i)))
	}
	f.OnJoin(after.join)
	is.Equal(len(before.names), fetchctx.MaxJoined)
	is.Equal(len(after.names), fetchctx.MaxJoined)
}

// within returns the context of a caller that waits in flight.
func within(name string, flight *fetchctx.Flight) context.Context {
	return fetchctx.With(callerNamed(name), fetchctx.Fetch{Flight: flight})
}

// TestFlightWithinFlights has the callers of two renewals share a flight: all of them wait for it.
func TestFlightWithinFlights(t *testing.T) {
	is := is.New(t)
	renewal, other := fetchctx.NewFlight(callerNamed("a")), fetchctx.NewFlight(callerNamed("b"))
	renewal.Join(callerNamed("a2"))
	other.Join(callerNamed("b2"))
	inner := fetchctx.NewFlight(within("renewal", renewal))
	var seen crowd
	inner.OnJoin(seen.join)
	is.Equal(seen.sorted(), []string{"a2"})
	inner.Join(within("other", other))
	is.Equal(seen.sorted(), []string{"a2", "b2", "other"})
	renewal.Join(callerNamed("a3"))
	other.Join(callerNamed("b3"))
	is.Equal(seen.sorted(), []string{"a2", "a3", "b2", "b3", "other"})

	renewal.End()
	renewal.Join(callerNamed("a4"))
	other.Join(callerNamed("b4")) // which has not ended
	is.Equal(seen.sorted(), []string{"a2", "a3", "b2", "b3", "b4", "other"})
}

// An observer may use the flight: no lock is held meanwhile.
func TestFlightHoldsNoLock(t *testing.T) {
	is := is.New(t)
	f := fetchctx.NewFlight(t.Context())
	var seen crowd
	var called bool
	f.OnJoin(func(caller context.Context) {
		seen.join(caller)
		if called {
			return
		}
		called = true
		f.Join(callerNamed("by the observer"))
		f.OnJoin(func(context.Context) { f.End() })
	})
	f.Join(callerNamed("second"))
	is.Equal(seen.sorted(), []string{"by the observer", "second"})
}

// TestFlightTellsEachObserverOfEachCallerOnce joins and observes at the same time.
func TestFlightTellsEachObserverOfEachCallerOnce(t *testing.T) {
	is := is.New(t)
	f := fetchctx.NewFlight(t.Context())
	const n = fetchctx.MaxJoined
	crowds := make([]crowd, 16)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f.Join(callerNamed(fmt.Sprintf("%03d", i))) })
		if i%8 == 0 {
			wg.Go(func() { f.OnJoin(crowds[i/8].join) })
		}
	}
	wg.Wait()
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%03d", i))
	}
	for i := range crowds {
		is.Equal(crowds[i].sorted(), all)
	}
}

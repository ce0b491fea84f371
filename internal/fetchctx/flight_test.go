package fetchctx_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// names returns the names of the callers that have joined f.
func names(f *fetchctx.Flight) (all []string) {
	for _, caller := range f.Joined() {
		all = append(all, fmt.Sprint(caller.Value(nameKey{})))
	}
	return all
}

func TestFlightRecordsJoinedCallers(t *testing.T) {
	is := is.New(t)
	f := new(fetchctx.Flight)
	is.Equal(len(f.Joined()), 0) // the first caller began it, and is not counted
	f.Join(callerNamed("second"))
	seen := f.Joined()
	f.Join(callerNamed("third"))
	is.Equal(len(seen), 1) // a copy
	is.Equal(names(f), []string{"second", "third"})

	f.End()
	f.Join(callerNamed("fourth"))
	is.Equal(len(f.Joined()), 0)
	f.End() // a second End does nothing

	var none *fetchctx.Flight
	is.Equal(len(none.Joined()), 0)
}

func TestFlightRecordsABoundedNumberOfCallers(t *testing.T) {
	is := is.New(t)
	f := new(fetchctx.Flight)
	var wg sync.WaitGroup
	for range 2 * fetchctx.MaxJoined {
		wg.Go(func() { f.Join(context.Background()) })
	}
	wg.Wait()
	is.Equal(len(f.Joined()), fetchctx.MaxJoined)
}

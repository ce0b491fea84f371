package dedup_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

type nameKey struct{}

func callerNamed(name string) context.Context {
	return context.WithValue(context.Background(), nameKey{}, name)
}

func TestFlightRecordsWhoJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var early, late []any
		names := func(f *fetchctx.Flight) (all []any) {
			for _, caller := range f.Joined() {
				all = append(all, caller.Value(nameKey{}))
			}
			return all
		}
		var flight *fetchctx.Flight
		f := layer(&source{fetch: func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
			is.Equal(ctx.Value(nameKey{}), "first")
			flight = fetchctx.Of(ctx).Flight
			time.Sleep(2 * time.Second)
			early = names(flight)
			time.Sleep(2 * time.Second)
			late = names(flight)
			return secrets.NewSecret("value", secrets.Meta{}), nil
		}})
		var wg sync.WaitGroup
		for name, wait := range map[string]time.Duration{"first": 0, "second": time.Second, "third": 3 * time.Second} {
			wg.Go(func() {
				time.Sleep(wait)
				_, err := f.Fetch(callerNamed(name), db)
				is.NoErr(err)
			})
		}
		wg.Go(func() { // no caller waits for a fetch in the background
			time.Sleep(time.Second)
			_, err := f.Fetch(fetchctx.With(callerNamed("renewal"), fetchctx.Fetch{Background: true}), db)
			is.NoErr(err)
		})
		wg.Wait()
		is.Equal(early, []any{"second"})
		is.Equal(late, []any{"second", "third"})
		is.Equal(len(flight.Joined()), 0) // the flight has ended
	})
}

// A flight has the fetchctx of its first caller, without the parts that concern only that caller.
func TestFlightHasTheFetchOfItsFirstCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		group := fetchctx.NewGroup(2)
		var seen fetchctx.Fetch
		f := layer(&source{fetch: func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
			seen = fetchctx.Of(ctx)
			time.Sleep(time.Second)
			return secrets.NewSecret("value", secrets.Meta{}), nil
		}})
		idle := false
		group.OnIdle(func() { idle = true })
		var wg sync.WaitGroup
		fetch := func(what fetchctx.Fetch) {
			wg.Go(func() {
				_, err := f.Fetch(fetchctx.With(t.Context(), what), db)
				is.NoErr(err)
			})
			synctest.Wait()
		}
		fetch(fetchctx.Fetch{Probe: true, Attempt: 3, Group: group})
		is.True(seen.Probe)
		is.Equal(seen.Attempt, 3)
		is.True(seen.Group == group)
		is.True(seen.Origin != nil) // where a Batcher records its call
		fetch(fetchctx.Fetch{Group: group})
		is.True(!idle) // the second waits for the flight, and the first is on its way in it
		group.Done()
		is.True(idle)
		wg.Wait()
	})
}

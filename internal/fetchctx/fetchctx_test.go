package fetchctx_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type nameKey struct{}

func callerNamed(name string) context.Context {
	return context.WithValue(context.Background(), nameKey{}, name)
}

func TestWithReplacesTheFetch(t *testing.T) {
	is := is.New(t)
	is.Equal(fetchctx.Of(t.Context()), fetchctx.Fetch{})
	f := fetchctx.Fetch{
		Fresh: true, Peek: true, Background: true, Probe: true, Gathered: true, Attempt: 3,
		Flight: new(fetchctx.Flight), Group: fetchctx.NewGroup(1), Origin: new(fetchctx.Origin),
	}
	ctx := fetchctx.With(callerNamed("caller"), f)
	is.Equal(fetchctx.Of(ctx), f)
	is.Equal(fetchctx.Of(context.WithValue(ctx, nameKey{}, "other")), f) // other values do not hide it
	is.Equal(ctx.Value(nameKey{}), "caller")
	is.Equal(fetchctx.Of(fetchctx.With(ctx, fetchctx.Fetch{Attempt: 1})), fetchctx.Fetch{Attempt: 1})

	changed := fetchctx.Of(ctx)
	changed.Attempt = 7
	is.Equal(fetchctx.Of(ctx).Attempt, 3) // a copy
}

func TestWithEndsWithItsParentAndDetachDoesNot(t *testing.T) {
	is := is.New(t)
	ctx, cancel := context.WithCancel(callerNamed("caller"))
	attached := fetchctx.With(ctx, fetchctx.Fetch{Attempt: 2})
	detached := fetchctx.Detach(ctx, fetchctx.Fetch{Attempt: 2})
	is.NoErr(attached.Err())
	cancel()
	is.Equal(attached.Err(), context.Canceled)
	is.NoErr(detached.Err())
	is.Equal(detached.Done(), (<-chan struct{})(nil))
	is.Equal(fetchctx.Of(detached).Attempt, 2)
	is.Equal(detached.Value(nameKey{}), "caller")
}

// Printing a context must not print the layers' data: a group holds values.
func TestContextsPrintNothing(t *testing.T) {
	is := is.New(t)
	group := fetchctx.NewGroup(1)
	shared, _ := group.Join("hunter2")
	shared.Value = "hunter2"
	ctx := context.WithValue(fetchctx.With(t.Context(), fetchctx.Fetch{Group: group}), nameKey{}, "name")
	for _, format := range []string{"%v", "%s", "%+v"} {
		is.True(!strings.Contains(fmt.Sprintf(format, ctx), "hunter2"))
	}
	is.Equal(fmt.Sprint(fetchctx.With(t.Context(), fetchctx.Fetch{})), "secrets.fetch")
}

func TestOriginOfASingleCall(t *testing.T) {
	is := is.New(t)
	for _, a := range []*fetchctx.Origin{nil, new(fetchctx.Origin)} {
		is.Equal(a.Size(), 1)
		is.Equal(a.Results(), nil)
		for range 3 {
			is.True(a.CountFailure()) // each failure counts
		}
	}
	var none *fetchctx.Origin
	none.Set(new(fetchctx.Batch)) // a nil Origin ignores it
	is.Equal(none.Size(), 1)
}

func TestOriginsOfOneBatch(t *testing.T) {
	is := is.New(t)
	var batch fetchctx.Batch
	answers := make([]fetchctx.Origin, 20)
	for i := range answers {
		answers[i].Set(&batch)
		is.Equal(answers[i].Size(), 1) // not begun
	}
	batch.Begin(20)
	is.Equal(answers[0].Size(), 20)
	is.Equal(answers[0].Results(), nil)
	batch.End([]string{"a", "b"})
	is.Equal(answers[19].Results(), []string{"a", "b"})

	var wg sync.WaitGroup
	var mu sync.Mutex
	counted := 0
	for i := range answers {
		wg.Go(func() {
			if answers[i].CountFailure() {
				mu.Lock()
				defer mu.Unlock()
				counted++
			}
		})
	}
	wg.Wait()
	is.Equal(counted, 1)

	answers[0].Set(new(fetchctx.Batch)) // a second attempt is another call
	is.True(answers[0].CountFailure())
	is.True(!answers[1].CountFailure())
}

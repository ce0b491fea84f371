package joined_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets/internal/joined"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type key struct{}

func named(name string) context.Context { return context.WithValue(context.Background(), key{}, name) }

func TestList(t *testing.T) {
	is := is.New(t)
	var l joined.List
	var early, late []any
	l.OnJoin(func(ctx context.Context) { early = append(early, ctx.Value(key{})) })
	l.Join(named("a"))
	l.OnJoin(func(ctx context.Context) { late = append(late, ctx.Value(key{})) })
	l.Join(named("b"))
	is.Equal(early, []any{"a", "b"})
	is.Equal(late, []any{"a", "b"})

	l.End()
	l.Join(named("c"))
	l.OnJoin(func(context.Context) { t.Error("told after the end") })
	is.Equal(len(early), 2)
}

func TestListIsBounded(t *testing.T) {
	is := is.New(t)
	var l joined.List
	var before, after int
	l.OnJoin(func(context.Context) { before++ })
	for range 2 * joined.Most {
		l.Join(t.Context())
	}
	l.OnJoin(func(context.Context) { after++ })
	is.Equal(before, joined.Most)
	is.Equal(after, joined.Most)
}

// An observer may use the list that calls it.
func TestListHoldsNoLock(t *testing.T) {
	is := is.New(t)
	var l joined.List
	var told int
	l.OnJoin(func(context.Context) {
		if told++; told == 1 {
			l.Join(named("inner"))
			l.End()
		}
	})
	l.Join(named("outer"))
	is.Equal(told, 2)
}

// Each observer is told of each context once, whoever comes first.
func TestListConcurrently(t *testing.T) {
	is := is.New(t)
	var l joined.List
	var told atomic.Int64
	var wg sync.WaitGroup
	for range joined.Most {
		wg.Go(func() { l.Join(named("x")) })
	}
	for range 10 {
		wg.Go(func() { l.OnJoin(func(context.Context) { told.Add(1) }) })
	}
	wg.Wait()
	is.Equal(told.Load(), int64(10*joined.Most))
}

package secrets

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"
)

// A program drops a Live and its handle at the same time. The cleanup of the handle may run first.
func TestAHandleThatIsDroppedBeforeItsLive(t *testing.T) {
	for _, isDropped := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			client, err := New(NewBackend(Info{Name: "fake"}, func(context.Context, Ref) (Secret, error) {
				return NewSecret("value", Meta{}), nil
			}))
			is.NoErr(err)
			h, err := client.Watch(t.Context(), "db")
			is.NoErr(err)
			ends := 0
			live, err := Derive(h, func(Secret) (int, error) { return 0, nil }, Closing(func(int) { ends++ }))
			is.NoErr(err)
			h.f.dropped.Store(isDropped)
			client.Invalidate("db") // the next poll removes it
			synctest.Wait()
			is.Equal(Class(h.Err()) == ErrClosed, isDropped)
			is.Equal(ends, 0) // somebody may use it
			is.NoErr(client.Close())
			is.Equal(ends == 0, isDropped)
			is.NoErr(live.Close())
		})
	}
}

// However a Live ends, its handles, which may live for long, do not keep it.
func TestHandlesRemoveALiveThatHasEnded(t *testing.T) {
	for name, end := range map[string]func(l *Live[int], handles []*Handle) error{
		"with Close":            func(l *Live[int], _ []*Handle) error { return l.Close() },
		"with the first handle": func(_ *Live[int], handles []*Handle) error { return handles[0].Close() },
		"with another":          func(_ *Live[int], handles []*Handle) error { return handles[2].Close() },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			client, err := New(NewBackend(Info{Name: "fake"}, func(context.Context, Ref) (Secret, error) {
				return NewSecret("value", Meta{}), nil
			}))
			is.NoErr(err)
			defer client.Close()
			handles := make([]*Handle, 3)
			for i := range handles {
				handles[i], err = client.Watch(t.Context(), "db")
				is.NoErr(err)
			}
			listeners := func() (n int) {
				for _, h := range handles {
					h.f.mu.Lock()
					n += len(h.f.listeners)
					h.f.mu.Unlock()
				}
				return n
			}
			live, err := Derive(handles[0], func(Secret) (int, error) { return 0, nil }, Also[int](handles[1:]...))
			is.NoErr(err)
			is.Equal(listeners(), 3)
			is.NoErr(end(live, handles))
			is.Equal(listeners(), 0)

			build := func(Secret) (int, error) { return 0, end(live, handles) } // it may end meanwhile
			if live, err = Derive(handles[1], build, Also[int](handles...)); err == nil {
				is.NoErr(end(live, handles))
			}
			is.Equal(listeners(), 0)
		})
	}
}

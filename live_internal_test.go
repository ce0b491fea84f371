package secrets

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"
)

// A program drops a Live and its handle at the same time. The collector may tell of the handle first.
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
			client.Invalidate("db") // the next look lets it go
			synctest.Wait()
			is.Equal(Class(h.Err()) == ErrClosed, isDropped)
			is.Equal(ends, 0) // somebody may use it
			is.NoErr(client.Close())
			is.Equal(ends == 0, isDropped)
			is.NoErr(live.Close())
		})
	}
}

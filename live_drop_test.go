package secrets_test

import (
	"runtime"
	"sync/atomic"
	"testing"
	"weak"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// The garbage collector runs cleanups outside of a bubble: these tests run in real time, and wait for changes alone.

// dropped counts the pools of a Live without a reference to one of them.
type dropped struct {
	builds, ends atomic.Int64
	last         atomic.Pointer[weak.Pointer[pool]]
}

func (d *dropped) build(s secrets.Secret) (*pool, error) {
	p := &pool{of: s.Reveal()}
	w := weak.Make(p)
	d.last.Store(&w)
	d.builds.Add(1)
	return p, nil
}

func (d *dropped) derive(t *testing.T, h *secrets.Handle) *secrets.Live[*pool] {
	t.Helper()
	live, err := secrets.Derive(h, d.build, secrets.Closing(func(*pool) { d.ends.Add(1) }))
	if err != nil {
		t.Fatal(err)
	}
	return live
}

// isLost reports whether the last pool, and so the state of its Live, has been collected.
func (d *dropped) isLost() bool {
	runtime.GC()
	return d.last.Load().Value() == nil
}

// rotateUntilLost rotates db until isLost is true. The handle of kept gets each value.
func (d *dropped) rotateUntilLost(t *testing.T, backend *secretstest.Backend, client *secrets.Client, kept *secrets.Live[*pool]) {
	t.Helper()
	for range 100 {
		changed := kept.Changed()
		backend.Set("db", "another")
		client.Invalidate("db")
		<-changed
		if d.isLost() {
			return
		}
	}
	t.Fatal("after 100 changes, the state of a Live that the program has dropped is still held")
}

func TestALiveThatIsDropped(t *testing.T) {
	for name, keepHandle := range map[string]bool{"and its handle is kept": true, "with its handle": false} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			backend := secretstest.NewBackend(map[string]string{"db": "one"})
			client := open(t, backend)
			watch := func() *secrets.Handle {
				h, err := client.Watch(t.Context(), "db")
				is.NoErr(err)
				return h
			}
			var lost, kept dropped
			h := watch()
			lost.derive(t, h)
			if !keepHandle {
				h = watch()
			}
			live := kept.derive(t, h)
			lost.rotateUntilLost(t, backend, client, live)
			is.Equal(lost.ends.Load(), lost.builds.Load()-1) // somebody may use the last one
			is.True(!kept.isLost())

			builds, seen := lost.builds.Load(), kept.builds.Load()
			for range 3 {
				changed := live.Changed()
				backend.Set("db", "another")
				client.Invalidate("db")
				<-changed
			}
			is.Equal(kept.builds.Load(), seen+3) // the changes reached other Lives
			is.Equal(lost.builds.Load(), builds)
			is.NoErr(client.Close())
			is.Equal(lost.ends.Load(), builds-1)
			is.Equal(kept.ends.Load(), kept.builds.Load())
			runtime.KeepAlive(live)
		})
	}
}

// A program may hold only the Live.
func TestALiveKeepsItsHandle(t *testing.T) {
	is := is.New(t)
	backend := secretstest.NewBackend(map[string]string{"db": "one"})
	client := open(t, backend)
	var collected atomic.Int64
	watch := func() *secrets.Handle {
		h, err := client.Watch(t.Context(), "db")
		is.NoErr(err)
		runtime.AddCleanup(h, func(n *atomic.Int64) { n.Add(1) }, &collected)
		return h
	}
	watch() // as a control
	live, err := secrets.Derive(watch(), func(s secrets.Secret) (string, error) { return s.Reveal(), nil })
	is.NoErr(err)
	for collected.Load() == 0 {
		runtime.GC()
	}
	for range 5 {
		runtime.GC()
	}
	changed := live.Changed()
	backend.Set("db", "two")
	client.Invalidate("db")
	<-changed
	is.NoErr(live.Err())
	is.Equal(live.Load(), "two")
	is.Equal(collected.Load(), int64(1))
	runtime.KeepAlive(live)
}

package secrets_test

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// ending is a way to end a Live.
type ending struct {
	close      func(d *deriving, cancel func())
	inline     bool // when close returns, the Live has ended
	keepHandle bool
}

func endings() map[string]ending {
	return map[string]ending{
		"with Close":      {func(d *deriving, _ func()) { d.NoErr(d.live.Close()) }, true, true},
		"with its handle": {func(d *deriving, _ func()) { d.NoErr(d.handle.Close()) }, true, false},
		"with the Client": {func(d *deriving, _ func()) { d.NoErr(d.client.Close()) }, true, false},
		"with ctx":        {func(_ *deriving, cancel func()) { cancel() }, false, false},
	}
}

// deriveUnder is derive with a handle of a context that cancel ends.
func deriveUnder(t *testing.T, test func(d *deriving, cancel func())) {
	t.Helper()
	derive(t, func(d *deriving) {
		ctx, cancel := context.WithCancel(d.Context())
		defer cancel()
		d.NoErr(d.live.Close())
		var err error
		d.handle, err = d.client.Watch(ctx, "db")
		d.NoErr(err)
		d.factory = &factory{}
		d.live, err = secrets.Derive(d.handle, d.build, secrets.Closing((*pool).end))
		d.NoErr(err)
		elapse(0)
		test(d, cancel)
	})
}

// hasEnded checks that the Live has ended and builds no more. Its last T was built from last.
func (d *deriving) hasEnded(last string) {
	d.Helper()
	d.Equal(secrets.Class(d.live.Err()), secrets.ErrClosed)
	d.Equal(d.live.Err().Error(), "secrets: db: closed")
	d.True(isClosed(d.live.Changed()))
	d.Equal(d.live.Load().of, last)
	err := d.live.Use(func(*pool) error {
		d.Error("Use calls f")
		return nil
	})
	d.Equal(secrets.Class(err), secrets.ErrClosed)
	n := d.builds()
	d.backend.Set("db", "a value that comes too late")
	d.client.Invalidate("db")
	elapse(time.Hour)
	d.Equal(d.builds(), n)
	d.Equal(d.live.Load().of, last)
}

func TestLiveEnds(t *testing.T) {
	for name, how := range endings() {
		t.Run(name, func(t *testing.T) {
			deriveUnder(t, func(d *deriving, cancel func()) {
				d.rotate("two")
				d.Equal(d.ends(), []int64{1, 0})
				changed := d.live.Changed()
				how.close(d, cancel)
				if !how.inline {
					elapse(0)
				}
				d.Equal(d.ends(), []int64{1, 1})
				d.True(isClosed(changed))
				d.hasEnded("two")
				d.Equal(d.handle.Err() == nil, how.keepHandle)
				for range 2 {
					d.NoErr(d.live.Close())
					d.NoErr(d.handle.Close())
				}
				d.Equal(d.ends(), []int64{1, 1})
			})
		})
	}
}

// If a Live ends while its T is in use, the T ends after its last user. New users get ErrClosed.
func TestLiveEndsInUse(t *testing.T) {
	for name, how := range endings() {
		t.Run(name, func(t *testing.T) {
			deriveUnder(t, func(d *deriving, cancel func()) {
				used := errors.New("what f returns")
				err := d.live.Use(func(p *pool) error {
					how.close(d, cancel)
					elapse(0)
					d.hasEnded("one")
					d.Equal(p.ends.Load(), int64(0))
					return used
				})
				d.True(err == used)
				d.Equal(d.ends(), []int64{1})
			})
		})
	}
}

// A Live may end at any point of a build. The T of that build ends at once.
func TestABuildThatEndsAfterTheLive(t *testing.T) {
	for name, how := range endings() {
		for what, finish := range map[string]func() error{
			"that succeeds":           func() error { return nil },
			"that fails":              func() error { return errors.New("connection refused") },
			"that panics":             func() error { panic("no") },
			"that ends its goroutine": func() error { runtime.Goexit(); return nil },
		} {
			t.Run(what+" "+name, func(t *testing.T) {
				deriveUnder(t, func(d *deriving, cancel func()) {
					d.do(func(secrets.Secret) error { time.Sleep(time.Minute); return finish() })
					d.rotate("two")
					d.Equal(d.builds(), 2)
					how.close(d, cancel)
					elapse(0)
					d.Equal(d.ends(), []int64{1})
					elapse(time.Minute)
					for _, n := range d.ends() {
						d.Equal(n, int64(1))
					}
					d.Equal(len(d.ends()) == 2, what == "that succeeds")
					d.hasEnded("one")
				})
			})
		}
	}
}

func TestATEndsAfterItsLastUser(t *testing.T) {
	derive(t, func(d *deriving) {
		leave := make(map[string]chan struct{})
		use := func(name string) {
			leave[name] = make(chan struct{})
			go func() {
				_ = d.live.Use(func(p *pool) error {
					<-leave[name]
					if p.ends.Load() > 0 {
						d.Error("it has ended in use")
					}
					return nil
				})
			}()
			elapse(0)
		}
		use("a of one")
		use("b of one")
		d.rotate("two")
		use("c of two")
		d.Equal(d.live.Load().of, "two") // without a wait
		d.Equal(d.ends(), []int64{0, 0})
		close(leave["a of one"])
		elapse(0)
		d.Equal(d.ends(), []int64{0, 0})
		close(leave["b of one"])
		elapse(0)
		d.Equal(d.ends(), []int64{1, 0})
		close(leave["c of two"])
		elapse(0)
		d.Equal(d.ends(), []int64{1, 0}) // it is the current one
		d.NoErr(d.live.Close())
		d.Equal(d.ends(), []int64{1, 1})
	})
}

// The last user of a replaced T ends it before Use returns, not some time later.
func TestTheLastUserEndsTheT(t *testing.T) {
	for range 200 {
		derive(t, func(d *deriving) {
			d.NoErr(d.live.Use(func(*pool) error {
				changed := d.live.Changed()
				d.backend.Set("db", "two")
				d.client.Invalidate("db")
				<-changed
				return nil
			}))
			d.Equal(d.ends(), []int64{1, 0})
			d.NoErr(d.live.Use(func(*pool) error {
				changed := d.live.Changed()
				go func() { _ = d.live.Close() }()
				<-changed
				return nil
			}))
			d.Equal(d.ends(), []int64{1, 1})
		})
	}
}

func TestUseReturnsWhatFDoes(t *testing.T) {
	derive(t, func(d *deriving) {
		own := errors.New("query failed")
		d.True(d.live.Use(func(*pool) error { return own }) == own)
		d.NoErr(d.live.Use(func(p *pool) error {
			d.Equal(p, d.live.Load())
			return d.live.Use(func(again *pool) error { // within another
				d.Equal(p, again)
				return nil
			})
		}))
	})
}

// An f that panics or ends its goroutine releases the T.
func TestUseReleasesAfterPanicAndGoexit(t *testing.T) {
	for name, leave := range map[string]func(){"panic": func() { panic("own") }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			derive(t, func(d *deriving) {
				var recovered any
				go func() {
					defer func() { recovered = recover() }()
					_ = d.live.Use(func(*pool) error { leave(); return nil })
				}()
				elapse(0)
				d.Equal(recovered != nil, name == "panic") // it is the caller's
				d.rotate("two")
				d.Equal(d.ends(), []int64{1, 0})
			})
		})
	}
}

// Without Closing, the Live ends no T.
func TestALiveWithoutClosing(t *testing.T) {
	watch(t, func(w *watching) {
		f := &factory{}
		live, err := secrets.Derive(w.handle, f.build)
		w.NoErr(err)
		w.rotate("two")
		w.NoErr(live.Use(func(*pool) error { return live.Close() }))
		w.Equal(f.ends(), []int64{0, 0})
	})
}

// build, f and end may close the Live, its handle or the Client.
func TestCloseFromInside(t *testing.T) {
	for name, closing := range map[string]func(d *deriving) error{
		"of the Live":   func(d *deriving) error { return d.live.Close() },
		"of the handle": func(d *deriving) error { return d.handle.Close() },
		"of the Client": func(d *deriving) error { return d.client.Close() },
	} {
		t.Run(name+" in f", func(t *testing.T) {
			derive(t, func(d *deriving) {
				d.NoErr(d.live.Use(func(*pool) error { return closing(d) }))
				d.Equal(d.ends(), []int64{1})
				d.hasEnded("one")
			})
		})
		t.Run(name+" in build", func(t *testing.T) {
			derive(t, func(d *deriving) {
				d.do(func(secrets.Secret) error { return closing(d) })
				d.rotate("two")
				d.Equal(d.ends(), []int64{1, 1})
				d.hasEnded("one")
			})
		})
		if name == "of the Client" {
			continue // its Close calls end, and would wait for itself
		}
		t.Run(name+" in end", func(t *testing.T) {
			watch(t, func(w *watching) {
				d := &deriving{watching: w, factory: &factory{}}
				var err error
				d.live, err = secrets.Derive(d.handle, d.build, secrets.Closing(func(p *pool) {
					p.end()
					if err := closing(d); err != nil {
						d.Errorf("Close: %v", err)
					}
				}))
				d.NoErr(err)
				d.rotate("two")
				d.Equal(d.ends(), []int64{1, 1})
				d.hasEnded("two")
			})
		})
	}
	t.Run("of the Live in end, by Close", func(t *testing.T) {
		watch(t, func(w *watching) {
			d := &deriving{watching: w, factory: &factory{}}
			var err error
			d.live, err = secrets.Derive(d.handle, d.build, secrets.Closing(func(p *pool) {
				p.end()
				_, _ = d.live.Close(), d.handle.Close()
			}))
			d.NoErr(err)
			d.NoErr(d.client.Close())
			d.Equal(d.ends(), []int64{1})
			d.hasEnded("one")
		})
	})
}

// end may take long, or never return. The next builds do not wait for it.
func TestAnEndThatTakesLong(t *testing.T) {
	for name, finish := range map[string]func(){
		"takes long":         func() { time.Sleep(time.Hour) },
		"ends its goroutine": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			watch(t, func(w *watching) {
				f := &factory{}
				live, err := secrets.Derive(w.handle, f.build, secrets.Closing(func(p *pool) { p.end(); finish() }))
				w.NoErr(err)
				for _, value := range []string{"two", "three", "four"} {
					w.rotate(value)
					w.Equal(live.Load().of, value)
				}
				w.Equal(f.ends(), []int64{1, 1, 1, 0})
				elapse(2 * time.Hour)
				w.Equal(f.ends(), []int64{1, 1, 1, 0})
				go live.Close() //nolint:errcheck // it has none to return
				elapse(2 * time.Hour)
				w.Equal(f.ends(), []int64{1, 1, 1, 1})
			})
		})
	}
}

// If an end panics, hangs or ends its goroutine, Close still closes the backends and ends the other T, and returns an error.
func TestAnEndThatBreaksClose(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func()
		says string
	}{
		"panics":             {func() { panic("canary") }, "secrets: close a handle: a panic with a string"},
		"ends its goroutine": {runtime.Goexit, "secrets: close a handle: it ended its goroutine"},
		"hangs":              {func() { time.Sleep(time.Hour) }, "secrets: close: a handle still runs after 5s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				backend := secretstest.NewBackend(map[string]string{"a": "1", "b": "2"})
				client, err := secrets.New(backend)
				is.NoErr(err)
				var ends atomic.Int64
				for _, key := range []string{"a", "a", "b"} {
					h, err := client.Watch(t.Context(), key)
					is.NoErr(err)
					for range 2 {
						_, err := secrets.Derive(h, func(s secrets.Secret) (string, error) { return s.Reveal(), nil },
							secrets.Closing(func(string) { ends.Add(1); tc.end() }))
						is.NoErr(err)
					}
				}
				is.Equal(client.Close().Error(), tc.says)
				is.True(backend.Closed())
				elapse(24 * time.Hour)
				is.Equal(ends.Load(), int64(6))
			})
		})
	}
}

// In any order of ends and uses, each T ends once, after its users.
func TestLivesEndInAnyOrder(t *testing.T) {
	for range 100 {
		deriveUnder(t, func(d *deriving, cancel func()) {
			for range 8 {
				go func() {
					for {
						err := d.live.Use(func(p *pool) error {
							runtime.Gosched()
							if p.ends.Load() > 0 {
								d.Error("it has ended in use")
							}
							time.Sleep(time.Millisecond)
							return nil
						})
						if err != nil {
							return
						}
					}
				}()
			}
			d.backend.Set("db", "two")
			go d.client.Invalidate("db")
			go cancel()
			for _, how := range endings() {
				go how.close(d, cancel)
			}
			elapse(time.Second)
			for _, n := range d.ends() {
				d.Equal(n, int64(1))
			}
			d.hasEnded(d.live.Load().of)
		})
	}
}

// The Client closes all handles and Lives before it ends a T.
func TestAnEndThatHangsDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := secretstest.NewBackend(map[string]string{"db": "one", "other": "x"})
		c, err := secrets.New(b, secrets.WithTimeout(time.Second))
		is.NoErr(err)
		release := make(chan struct{})
		h, err := c.Watch(t.Context(), "db")
		is.NoErr(err)
		_, err = secrets.Derive(h, func(secrets.Secret) (int, error) { return 1, nil }, secrets.Closing(func(int) { <-release }))
		is.NoErr(err)
		var others []*secrets.Handle
		for range 20 {
			other, err := c.Watch(t.Context(), "other")
			is.NoErr(err)
			others = append(others, other)
		}
		var lives []*secrets.Live[int]
		for range 5 {
			l, err := secrets.Derive(h, func(secrets.Secret) (int, error) { return 1, nil }, secrets.Closing(func(int) {}))
			is.NoErr(err)
			lives = append(lives, l)
		}
		is.True(c.Close() != nil)
		elapse(time.Hour)
		open := 0
		for _, o := range others {
			if !isClosed(o.Changed()) {
				open++
			}
		}
		openLives := 0
		for _, l := range lives {
			if !isClosed(l.Changed()) {
				openLives++
			}
		}
		close(release)
		synctest.Wait()
		is.Equal(open, 0)
		is.Equal(openLives, 0)
	})
}

// Dropped Lives are collected after the next poll, even if the value does not change.
func TestDroppedLivesAreFreed(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(map[string]string{"db": "one"})
	c := open(t, b)
	h, err := c.Watch(t.Context(), "db", secrets.WatchInterval(time.Millisecond))
	is.NoErr(err)
	var freed atomic.Int64
	for range 1000 {
		_, err := secrets.Derive(h, func(secrets.Secret) (*[1 << 14]byte, error) {
			p := new([1 << 14]byte)
			runtime.AddCleanup(p, func(int) { freed.Add(1) }, 0)
			return p, nil
		})
		is.NoErr(err)
	}
	for freed.Load() < 900 && t.Context().Err() == nil {
		runtime.GC()
		runtime.Gosched()
	}
	runtime.KeepAlive(h)
}

package secrets_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

// pool stands for something built from a secret.
type pool struct {
	of   string // the value that it was built of
	ends atomic.Int64
}

func (p *pool) end() { p.ends.Add(1) }

// factory builds pools, and records all of them.
type factory struct {
	mu             sync.Mutex
	all            []*pool
	began          []time.Time                  // of each build, those that fail included
	building, peak int                          // builds at the same time
	before         func(s secrets.Secret) error // runs in each build, if it is set
}

func (f *factory) build(s secrets.Secret) (*pool, error) {
	f.mu.Lock()
	f.began = append(f.began, time.Now())
	f.building++
	f.peak = max(f.peak, f.building)
	before := f.before
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.building--
	}()
	if before != nil {
		if err := before(s); err != nil {
			return nil, err
		}
	}
	p := &pool{of: s.Reveal()}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, p)
	return p, nil
}

// do makes each build run before first. A nil one ends it.
func (f *factory) do(before func(s secrets.Secret) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = before
}

// builds returns how many builds have begun.
func (f *factory) builds() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.began)
}

// pauses returns the times between the last n builds, and before the first of these.
func (f *factory) pauses(n int) []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	pauses := make([]time.Duration, 0, n)
	for i := len(f.began) - n; i < len(f.began); i++ {
		pauses = append(pauses, f.began[i].Sub(f.began[i-1]))
	}
	return pauses
}

// ends returns how often each pool has ended, in the order in which they were built.
func (f *factory) ends() []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	ends := make([]int64, len(f.all))
	for i, p := range f.all {
		ends[i] = p.ends.Load()
	}
	return ends
}

// deriving is a watching with a Live of pools.
type deriving struct {
	*watching
	*factory

	live *secrets.Live[*pool]
}

// derive runs test in a bubble, with a Live of a handle of db.
func derive(t *testing.T, test func(d *deriving), opts ...any) {
	t.Helper()
	watch(t, func(w *watching) {
		d := &deriving{watching: w, factory: &factory{}}
		var err error
		d.live, err = secrets.Derive(w.handle, d.build, secrets.Closing((*pool).end))
		w.NoErr(err)
		elapse(0)
		test(d)
	}, opts...)
}

// rotate sets the value of db, and makes the handle poll.
func (w *watching) rotate(value string) {
	w.backend.Set("db", value)
	w.client.Invalidate("db")
	elapse(100 * time.Millisecond) // the minimum time between two polls
}

func TestDeriveBuildsAfterEachChange(t *testing.T) {
	derive(t, func(d *deriving) {
		d.Equal(d.live.Load().of, "one")
		elapse(time.Hour)
		d.Equal(d.builds(), 1) // nothing has changed
		for i, value := range []string{"two", "three", "two"} {
			d.rotate(value)
			d.Equal(d.live.Load().of, value)
			d.Equal(d.builds(), i+2)
			d.NoErr(d.live.Err())
		}
	})
}

// A new version of the same value is a change, as for the handle. Stale is none.
func TestWhatMakesALiveBuild(t *testing.T) {
	derive(t, func(d *deriving) {
		d.rotate("one")
		d.Equal(d.builds(), 2)
		d.backend.Fail(secrets.ErrUnavailable)
		elapse(time.Hour)
		d.True(d.handle.Secret().Meta().Stale)
		d.Equal(d.builds(), 2)
		d.Equal(secrets.Class(d.live.Err()), secrets.ErrUnavailable) // that of the handle
		d.backend.Recover()
		elapse(time.Minute)
		d.NoErr(d.live.Err())
		d.Equal(d.builds(), 2)
	})
}

func TestTheFirstBuildFails(t *testing.T) {
	watch(t, func(w *watching) {
		own := errors.New("no such host")
		f := &factory{before: func(secrets.Secret) error { return own }}
		live, err := secrets.Derive(w.handle, f.build, secrets.Closing((*pool).end))
		w.True(live == nil)
		w.True(err == own) // as it is
		f.do(func(secrets.Secret) error { panic("of one") })
		_, err = secrets.Derive(w.handle, f.build)
		w.Equal(secrets.Class(err), secrets.ErrUnknown)
		w.True(!strings.Contains(err.Error(), "of one"))
		w.rotate("two")
		elapse(time.Hour)
		w.Equal(f.builds(), 2) // it is not tried again
	})
}

func TestFaultsOfDerive(t *testing.T) {
	watch(t, func(w *watching) {
		build := func(secrets.Secret) (int, error) {
			w.Error("it builds")
			return 0, nil
		}
		for want, derive := range map[string]func() (*secrets.Live[int], error){
			"a nil Handle":            func() (*secrets.Live[int], error) { return secrets.Derive(nil, build) },
			"a nil build":             func() (*secrets.Live[int], error) { return secrets.Derive[int](w.handle, nil) },
			"Closing: a nil function": func() (*secrets.Live[int], error) { return secrets.Derive(w.handle, build, secrets.Closing[int](nil)) },
			"option 1 is nil":         func() (*secrets.Live[int], error) { return secrets.Derive(w.handle, build, nil) },
		} {
			live, err := derive()
			w.True(live == nil)
			w.Equal(err.Error(), "secrets: Derive: "+want)
		}
		_, err := secrets.Derive[int](nil, nil, nil)
		w.Equal(strings.Count(err.Error(), "\n"), 2) // all of them
	})
}

func TestDeriveOfAHandleThatHasEnded(t *testing.T) {
	watch(t, func(w *watching) {
		f := &factory{before: func(secrets.Secret) error { return w.handle.Close() }}
		live, err := secrets.Derive(w.handle, f.build, secrets.Closing((*pool).end)) // it ends meanwhile
		if err == nil {
			err = live.Err()
		}
		w.Equal(secrets.Class(err), secrets.ErrClosed)
		w.Equal(f.ends(), []int64{1})

		live, err = secrets.Derive(w.handle, f.build)
		w.True(live == nil)
		w.Equal(secrets.Class(err), secrets.ErrClosed)
		w.Equal(f.builds(), 1)
	})
}

// Changes during a build, including the first one, cause one more build, of the last value.
func TestBuildRunsOnceAtATime(t *testing.T) {
	watch(t, func(w *watching) {
		slow := func(secrets.Secret) error { time.Sleep(10 * time.Second); return nil }
		f := &factory{before: slow}
		change := func() {
			for _, value := range []string{"two", "three", "four", "five"} {
				w.rotate(value)
			}
		}
		go change()
		live, err := secrets.Derive(w.handle, f.build, secrets.Closing((*pool).end))
		w.NoErr(err)
		w.Equal(live.Load().of, "one")
		elapse(10 * time.Second)
		w.Equal(live.Load().of, "five")
		w.rotate("six")
		change()
		elapse(20 * time.Second)
		w.Equal(live.Load().of, "five")
		w.Equal(f.builds(), 4)
		w.Equal(f.peak, 1)
		w.Equal(f.ends(), []int64{1, 1, 1, 0})
	})
}

func TestAFailedBuildKeepsTheLastT(t *testing.T) {
	derive(t, func(d *deriving) {
		own, changed := errors.New("connection refused"), d.live.Changed()
		d.do(func(secrets.Secret) error { return own })
		d.rotate("two")
		d.True(d.live.Err() == own) // as it is
		d.Equal(d.live.Load().of, "one")
		d.True(!isClosed(changed))
		d.Equal(d.ends(), []int64{0})
		d.do(nil)
		elapse(time.Second)
		d.NoErr(d.live.Err())
		d.Equal(d.live.Load().of, "two")
		d.True(isClosed(changed))
		d.Equal(d.ends(), []int64{1, 0})
	})
}

func TestWhenAFailedBuildIsTriedAgain(t *testing.T) {
	derive(t, func(d *deriving) {
		var pauses []time.Duration
		for _, s := range []int{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			pauses = append(pauses, time.Duration(s)*time.Second)
		}
		own := errors.New("connection refused")
		for range 2 { // a build that succeeds resets the pauses
			d.do(func(secrets.Secret) error { return own })
			d.rotate("two")
			elapse(243 * time.Second)
			d.Equal(d.pauses(len(pauses)), pauses)
			d.rotate("three") // at once
			d.True(d.pauses(1)[0] < time.Second)
			d.True(d.live.Err() == own)
			d.do(nil)
			d.rotate("four")
			d.True(d.pauses(1)[0] < time.Second)
			d.NoErr(d.live.Err())
			d.Equal(d.live.Load().of, "four")
			n := d.builds()
			elapse(time.Hour)
			d.Equal(d.builds(), n) // no try is left over
		}
	})
}

func TestAChangeDuringABuildThatFails(t *testing.T) {
	derive(t, func(d *deriving) {
		d.do(func(s secrets.Secret) error {
			if s.Reveal() == "two" {
				time.Sleep(10 * time.Second)
				return errors.New("connection refused")
			}
			return nil
		})
		d.rotate("two")
		d.rotate("three")
		elapse(10 * time.Second)
		d.Equal(d.live.Load().of, "three")
		d.NoErr(d.live.Err())
		d.Equal(d.builds(), 3)
	})
}

func TestAValueThatComesBackNeedsNoBuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var value atomic.Value
		client := open(t, failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
			return secrets.NewSecret(value.Load().(string), secrets.Meta{}), nil
		}))
		value.Store("one")
		h, err := client.Watch(t.Context(), "db")
		is.NoErr(err)
		f := &factory{}
		live, err := secrets.Derive(h, f.build, secrets.Closing((*pool).end))
		is.NoErr(err)
		own := errors.New("connection refused")
		f.do(func(secrets.Secret) error { return own })
		value.Store("two")
		client.Invalidate("db")
		elapse(0)
		is.True(live.Err() == own)
		value.Store("one")
		client.Invalidate("db")
		elapse(100 * time.Millisecond)
		is.Equal(h.Secret().Reveal(), "one")
		is.NoErr(live.Err())
		elapse(time.Hour)
		is.Equal(f.builds(), 2)
		is.Equal(f.ends(), []int64{0})
	})
}

// A build that panics or ends its goroutine has failed. The error does not hold the text of the panic, which may quote the secret.
func TestPanicAndGoexitOfBuild(t *testing.T) {
	for name, end := range map[string]func(s secrets.Secret){
		"build: a panic with a string":        func(s secrets.Secret) { panic("no login with " + s.Reveal()) },
		"build: the call ended its goroutine": func(secrets.Secret) { runtime.Goexit() },
	} {
		t.Run(name, func(t *testing.T) {
			derive(t, func(d *deriving) {
				quotes := ""
				d.do(func(s secrets.Secret) error {
					quotes = s.Reveal()
					end(s)
					return nil
				})
				d.rotate("two")
				d.Equal(quotes, "two") // it had the value
				d.Equal(d.live.Err().Error(), "secrets: db: unknown failure: "+name)
				d.Equal(secrets.Class(d.live.Err()), secrets.ErrUnknown)
				d.Equal(d.live.Load().of, "one")
				d.Equal(d.ends(), []int64{0})
				own, ok := errors.AsType[*secrets.Error](d.live.Err())
				d.True(ok)
				own.Detail = "a caller writes into it"
				d.do(nil)
				elapse(time.Second)
				d.NoErr(d.live.Err())
				d.Equal(d.live.Load().of, "two")
				d.do(func(s secrets.Secret) error { end(s); return nil })
				d.rotate("three")
				d.Equal(d.live.Err().Error(), "secrets: db: unknown failure: "+name)
			})
		})
	}
}

func TestSeveralLivesOfOneHandle(t *testing.T) {
	derive(t, func(d *deriving) {
		length, err := secrets.Derive(d.handle, func(s secrets.Secret) (int, error) { return len(s.Reveal()), nil })
		d.NoErr(err)
		d.rotate("three")
		d.Equal(d.live.Load().of, "three")
		d.Equal(length.Load(), 5)
		d.NoErr(d.live.Close())
		d.rotate("eleven")
		d.Equal(length.Load(), 6)
		d.Equal(d.live.Load().of, "three") // the last one
		d.NoErr(d.handle.Close())
		d.Equal(secrets.Class(length.Err()), secrets.ErrClosed)
		d.Equal(length.Load(), 6)
	})
}

// The loop of the documentation takes Changed before it reads. So the last value that it reads is the current one, at any speed.
func TestTheLoopMissesNothing(t *testing.T) {
	for _, pause := range []time.Duration{0, 70 * time.Millisecond, 250 * time.Millisecond, time.Second} {
		derive(t, func(d *deriving) {
			var ofHandle, ofLive []string
			var wg sync.WaitGroup
			wg.Go(func() {
				for !errors.Is(d.handle.Err(), secrets.ErrClosed) {
					changed := d.handle.Changed()
					ofHandle = append(ofHandle, d.handle.Secret().Reveal())
					time.Sleep(pause)
					<-changed
				}
			})
			wg.Go(func() {
				for !errors.Is(d.live.Err(), secrets.ErrClosed) {
					changed := d.live.Changed()
					ofLive = append(ofLive, d.live.Load().of)
					time.Sleep(pause)
					<-changed
				}
			})
			elapse(0)
			for range 5 {
				for _, value := range []string{"two", "three", "four"} {
					d.rotate(value)
				}
				elapse(2 * time.Second)
				d.Equal(ofHandle[len(ofHandle)-1], "four")
				d.Equal(ofLive[len(ofLive)-1], "four")
			}
			d.NoErr(d.client.Close())
			wg.Wait()
			t.Logf("a pause of %v: %d and %d of 16 values", pause, len(ofHandle), len(ofLive))
		})
	}
}

// Between changes, neither a handle nor a Live has a goroutine.
func TestNoGoroutineBetweenChanges(t *testing.T) {
	derive(t, func(d *deriving) {
		const own = "github.com/seed-5482dd03/secrets.("
		running := func() int {
			stacks := make([]byte, 1<<20)
			n := 0
			for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
				if strings.Contains(stack, own) && strings.Contains(stack, "synctest bubble") {
					n++
				}
			}
			return n
		}
		d.rotate("two")
		d.Equal(running(), 0)
		elapse(29 * time.Second)
		d.Equal(running(), 0)
		d.do(func(secrets.Secret) error { time.Sleep(time.Minute); return nil })
		d.rotate("three")
		d.True(running() > 0) // a build that runs is seen
		elapse(time.Minute)
		d.do(func(secrets.Secret) error { return errors.New("connection refused") })
		d.rotate("four")
		d.Equal(running(), 0) // also while it waits to try again
	})
}

// A build of a new value is tried again after a second, even after many failures of the old value.
func TestANewValueBeginsThePausesAnew(t *testing.T) {
	watch(t, func(w *watching) {
		var fail atomic.Bool
		l, err := secrets.Derive(w.handle, func(s secrets.Secret) (string, error) {
			if fail.Load() {
				return "", errors.New("not yet")
			}
			return s.Reveal(), nil
		})
		w.NoErr(err)
		fail.Store(true)
		w.backend.Set("db", "two")
		elapse(time.Hour)
		w.backend.Set("db", "three")
		changed := w.handle.Changed()
		<-changed
		synctest.Wait() // the first build of the new value has failed
		fail.Store(false)
		elapse(5 * time.Second)
		w.Equal(l.Load(), "three")
	})
}

package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// several is a Live of pools of three handles: db, other and third.
type several struct {
	*watching
	*factory

	handles []*secrets.Handle
	live    *secrets.Live[*pool]
}

// deriveAlso runs test in a bubble. The pools are of the values of all handles. cancel ends the context of the last one.
func deriveAlso(t *testing.T, test func(s *several, cancel func())) {
	t.Helper()
	watch(t, func(w *watching) {
		s := &several{watching: w, factory: &factory{}, handles: []*secrets.Handle{w.handle}}
		w.backend.Set("third", "3")
		ctx, cancel := context.WithCancel(w.Context())
		defer cancel()
		other, err := w.client.Watch(w.Context(), "other")
		w.NoErr(err)
		third, err := w.client.Watch(ctx, "third")
		w.NoErr(err)
		s.handles = append(s.handles, other, third)
		s.live, err = secrets.Derive(w.handle, s.build, secrets.Closing((*pool).end),
			secrets.Also[*pool](s.handles[1]), secrets.Also[*pool](s.handles[2]))
		w.NoErr(err)
		elapse(0)
		test(s, cancel)
	})
}

// build makes a pool of all values.
func (s *several) build(first secrets.Secret) (*pool, error) {
	p, err := s.factory.build(first)
	if err != nil {
		return nil, err
	}
	for _, h := range s.handles[1:] {
		p.of += " " + h.Secret().Reveal()
	}
	return p, nil
}

// set sets each of paths to value, and makes the handles poll.
func (s *several) set(value string, paths ...string) {
	for _, path := range paths {
		s.backend.Set(path, value)
	}
	s.client.Invalidate(paths...)
	elapse(200 * time.Millisecond)
}

func TestALiveOfSeveralHandlesBuildsAfterAChangeOfAny(t *testing.T) {
	deriveAlso(t, func(s *several, _ func()) {
		s.Equal(s.live.Load().of, "one x 3")
		elapse(time.Hour)
		s.Equal(s.builds(), 1) // nothing has changed
		for i, step := range []struct{ path, want string }{
			{"other", "one two 3"}, {"third", "one two two"}, {"db", "two two two"}, {"other", "two two two"},
		} {
			changed := s.live.Changed()
			s.set("two", step.path)
			s.Equal(s.live.Load().of, step.want)
			s.Equal(s.builds(), i+2) // once each
			s.True(isClosed(changed))
			s.NoErr(s.live.Err())
		}
		s.Equal(s.ends(), []int64{1, 1, 1, 1, 0})
		s.set("three", "db", "other", "third") // together
		s.Equal(s.live.Load().of, "three three three")
		s.Equal(s.builds(), 6)
	})
}

// The fields of a document change one after the other, and cause one build.
func TestFieldsOfOneDocumentMakeOneBuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		const fields = 50
		document := func(value int) string {
			members := make([]string, fields)
			for i := range members {
				members[i] = fmt.Sprintf(`"field-%d":"%d"`, i, value)
			}
			return "{" + strings.Join(members, ",") + "}"
		}
		backend := secretstest.NewBackend(map[string]string{"db": document(0)})
		client := open(t, backend)
		handles := make([]*secrets.Handle, fields)
		for i := range handles {
			var err error
			handles[i], err = client.Watch(t.Context(), fmt.Sprintf("db#field-%d", i))
			is.NoErr(err)
		}
		builds := 0
		live, err := secrets.Derive(handles[0], func(secrets.Secret) (map[string]bool, error) {
			builds++
			values := make(map[string]bool)
			for _, h := range handles {
				values[h.Secret().Reveal()] = true
			}
			return values, nil
		}, secrets.Also[map[string]bool](handles[1:]...))
		is.NoErr(err)
		for n := 1; n <= 100; n++ {
			backend.Set("db", document(n))
			_, err := client.Refresh(t.Context(), "db")
			is.NoErr(err)
			elapse(time.Second)
			is.Equal(live.Load(), map[string]bool{fmt.Sprint(n): true})
			is.Equal(builds, n+1)
		}
	})
}

// A change before the Live listens, or during a build, causes another build.
func TestAChangeOfAnotherHandleDuringABuild(t *testing.T) {
	deriveAlso(t, func(s *several, _ func()) {
		s.NoErr(s.live.Close())
		slow := func(secrets.Secret) error { time.Sleep(10 * time.Second); return nil }
		s.do(slow)
		go s.set("two", "third")
		live, err := secrets.Derive(s.handle, s.factory.build, secrets.Also[*pool](s.handles[1:]...))
		s.NoErr(err)
		s.Equal(s.builds(), 2)
		elapse(11 * time.Second)
		s.Equal(s.builds(), 3) // one more
		s.set("two", "other")
		s.Equal(s.builds(), 4)
		s.set("three", "third")
		s.set("three", "other")
		s.Equal(s.builds(), 4)
		elapse(21 * time.Second)
		s.Equal(s.builds(), 5) // for both
		s.Equal(s.peak, 1)
		s.NoErr(live.Err())
	})
}

func TestAFailedBuildOfSeveralHandles(t *testing.T) {
	deriveAlso(t, func(s *several, _ func()) {
		own := errors.New("connection refused")
		s.do(func(secrets.Secret) error { return own })
		s.set("two", "third")
		s.True(s.live.Err() == own)
		s.Equal(s.live.Load().of, "one x 3")
		elapse(10 * time.Second) // tries after 1, 3 and 7 s
		s.Equal(s.builds(), 5)
		s.set("two", "other") // another value restarts the pauses
		s.Equal(s.builds(), 6)
		elapse(time.Second)
		s.Equal(s.builds(), 7)
		s.do(nil)
		elapse(3 * time.Second)
		s.NoErr(s.live.Err())
		s.Equal(s.live.Load().of, "one two two")
	})
}

func TestErrOfALiveIsTheFirstOfItsHandles(t *testing.T) {
	deriveAlso(t, func(s *several, _ func()) {
		for i, path := range []string{"third", "other", "db"} {
			s.backend.FailPath(path, secrets.ErrPermissionDenied)
			elapse(time.Minute)
			want := s.handles[len(s.handles)-1-i].Err()
			s.True(want != nil)
			s.Equal(s.live.Err().Error(), want.Error())
			s.True(strings.Contains(s.live.Err().Error(), path))
		}
		s.backend.Recover()
		elapse(time.Minute)
		s.NoErr(s.live.Err())
		s.Equal(s.builds(), 1)
	})
}

func TestALiveEndsWithAnyOfItsHandles(t *testing.T) {
	for name, end := range map[string]func(s *several, cancel func()){
		"with Close":              func(s *several, _ func()) { s.NoErr(s.live.Close()) },
		"with the first handle":   func(s *several, _ func()) { s.NoErr(s.handles[0].Close()) },
		"with another":            func(s *several, _ func()) { s.NoErr(s.handles[1].Close()) },
		"with the ctx of another": func(_ *several, cancel func()) { cancel() },
		"with the Client":         func(s *several, _ func()) { s.NoErr(s.client.Close()) },
		"with two of them":        func(s *several, cancel func()) { go cancel(); s.NoErr(s.handles[1].Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			deriveAlso(t, func(s *several, cancel func()) {
				s.set("two", "other")
				s.Equal(s.live.Load().of, "one two 3")
				changed := s.live.Changed()
				end(s, cancel)
				elapse(0)
				s.Equal(s.ends(), []int64{1, 1})
				s.True(isClosed(changed))
				s.Equal(s.live.Err().Error(), "secrets: db: closed")
				s.Equal(secrets.Class(s.live.Use(func(*pool) error { return nil })), secrets.ErrClosed)
				for _, value := range []string{"four", "five"} {
					s.set(value, "db", "other", "third")
				}
				elapse(time.Hour)
				s.Equal(s.builds(), 2)
				s.Equal(s.live.Load().of, "one two 3")
				for _, h := range s.handles { // those that go on show what is new
					s.Equal(h.Err() == nil, h.Secret().Reveal() == "five")
				}
				s.Equal(s.handles[0].Err() == nil, name != "with the first handle" && name != "with the Client")
			})
		})
	}
}

func TestFaultsOfAlso(t *testing.T) {
	deriveAlso(t, func(s *several, _ func()) {
		n := s.builds()
		_, err := secrets.Derive(s.handle, s.build, secrets.Also[*pool](), secrets.Also[*pool](s.handles[1], nil, nil))
		s.Equal(err.Error(), "secrets: Derive: Also: no Handle\n"+
			"secrets: Derive: Also: handle 2 is nil\nsecrets: Derive: Also: handle 3 is nil")
		s.NoErr(s.handles[2].Close())
		live, err := secrets.Derive(s.handle, s.build, secrets.Also[*pool](s.handles[1:]...))
		s.True(live == nil)
		s.Equal(err.Error(), "secrets: third: closed")
		s.Equal(s.builds(), n)
	})
}

// A handle that ends during the first build ends the Live.
func TestAnotherHandleEndsDuringTheFirstBuild(t *testing.T) {
	deriveAlso(t, func(s *several, _ func()) {
		s.NoErr(s.live.Close())
		s.do(func(secrets.Secret) error { return s.handles[1].Close() })
		live, err := secrets.Derive(s.handle, s.build, secrets.Closing((*pool).end), secrets.Also[*pool](s.handles[1:]...))
		s.NoErr(err)
		s.Equal(secrets.Class(live.Err()), secrets.ErrClosed)
		s.Equal(s.ends(), []int64{1, 1})
	})
}

// Lives that share handles in any order end at the same time, each T once.
func TestLivesThatShareHandlesEnd(t *testing.T) {
	for range 50 {
		deriveAlso(t, func(s *several, cancel func()) {
			a, b, c := s.handles[0], s.handles[1], s.handles[2]
			for range 4 {
				for _, order := range [][]*secrets.Handle{{a, b, c}, {c, b, a}, {b, c, a}} {
					_, err := secrets.Derive(order[0], s.build, secrets.Closing((*pool).end), secrets.Also[*pool](order[1:]...))
					s.NoErr(err)
				}
			}
			s.backend.Set("other", "two")
			go s.client.Invalidate("other")
			go cancel()
			for _, h := range s.handles {
				go h.Close() //nolint:errcheck // it has none to return
			}
			elapse(time.Second)
			s.True(len(s.ends()) >= 13)
			for _, n := range s.ends() {
				s.Equal(n, int64(1))
			}
		})
	}
}

// The program holds only the Live, which keeps all its handles. A dropped Live is collected, with or without its handles.
func TestALiveOfSeveralHandlesIsDropped(t *testing.T) {
	for name, keepHandles := range map[string]bool{"and its handles are kept": true, "with its handles": false} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			backend := secretstest.NewBackend(map[string]string{"db": "one", "other": "x"})
			client := open(t, backend)
			var collected atomic.Int64
			watch := func(key string) *secrets.Handle {
				h, err := client.Watch(t.Context(), key)
				is.NoErr(err)
				runtime.AddCleanup(h, func(n *atomic.Int64) { n.Add(1) }, &collected)
				return h
			}
			derive := func(d *dropped, handles ...*secrets.Handle) *secrets.Live[*pool] {
				live, err := secrets.Derive(handles[0], d.build, secrets.Closing(func(*pool) { d.ends.Add(1) }),
					secrets.Also[*pool](handles[1:]...))
				is.NoErr(err)
				return live
			}
			var lost, kept dropped
			a, b := watch("other"), watch("db")
			derive(&lost, a, b)
			if keepHandles {
				defer runtime.KeepAlive([]*secrets.Handle{a, b})
			}
			live := derive(&kept, watch("db"), watch("other"))
			for !lost.isLost() { // each handle removes it at its next poll
				changed := live.Changed()
				backend.Set("db", "another")
				client.Invalidate("db", "other")
				<-changed
			}
			is.Equal(lost.ends.Load(), lost.builds.Load()-1) // somebody may use the last one
			is.True(!kept.isLost())
			for collected.Load() < 2 && !keepHandles {
				runtime.GC()
			}
			for range 5 {
				runtime.GC()
			}
			is.Equal(collected.Load() == 0, keepHandles) // none of those of live
			for _, path := range []string{"db", "other"} {
				changed := live.Changed()
				backend.Set(path, "the last")
				client.Invalidate(path)
				<-changed
			}
			is.NoErr(live.Err())
			runtime.KeepAlive(live)
		})
	}
}

// Builds, uses, changes and ends run concurrently. Each T ends once, after its users.
func TestALiveOfSeveralHandlesUnderLoad(t *testing.T) {
	is := is.New(t)
	backend := secretstest.NewBackend(map[string]string{"db": "0", "other": "0"})
	client := open(t, backend)
	a, err := client.Watch(t.Context(), "db", secrets.WatchInterval(time.Millisecond))
	is.NoErr(err)
	b, err := client.Watch(t.Context(), "other", secrets.WatchInterval(time.Millisecond))
	is.NoErr(err)
	f := &factory{}
	live, err := secrets.Derive(a, f.build, secrets.Closing((*pool).end), secrets.Also[*pool](b))
	is.NoErr(err)
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for {
				err := live.Use(func(p *pool) error {
					runtime.Gosched()
					if p.ends.Load() > 0 {
						t.Error("it has ended in use")
					}
					return nil
				})
				if err != nil {
					return
				}
			}
		})
	}
	for n := range 10 {
		changed := live.Changed()
		backend.Set([]string{"db", "other"}[n%2], fmt.Sprint(n))
		<-changed
	}
	go live.Close() //nolint:errcheck // it has none to return
	is.NoErr(b.Close())
	users.Wait()
	is.NoErr(live.Close())
	is.True(f.builds() >= 11)
	is.Equal(f.peak, 1)
}

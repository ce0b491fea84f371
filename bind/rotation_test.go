package bind_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/bind"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// A handle polls at most ten times a second, so many programs share the rotations.
const (
	programs         = 40
	rotationsOfEach  = 30
	readersOfProgram = 3
)

// login has two values that must match.
type login struct {
	User     string         `secret:"database#user"`
	Password secrets.Secret `secret:"database#password"`
	Token    string         `secret:"token,optional"`
}

// program follows one document.
type program struct {
	client         *secrets.Client
	backend        *secretstest.Backend
	live           *secrets.Live[login]
	user, password *secrets.Handle // control: each field has its own handle
	done           atomic.Bool
}

func (p *program) set(n int) {
	p.backend.Set("database", fmt.Sprintf(`{"user":"%d","password":"%d"}`, n, n))
}

// rotate replaces the document repeatedly, and waits until each change is visible.
func (p *program) rotate(t *testing.T) {
	t.Helper()
	defer p.done.Store(true)
	for n := 1; n <= rotationsOfEach; n++ {
		p.set(n)
		if n%2 == 0 {
			p.client.Invalidate("database")
		} else if _, err := p.client.Refresh(t.Context(), "database"); err != nil {
			t.Error(err)
		}
		for {
			changed := p.live.Changed()
			if p.live.Load().User == fmt.Sprint(n) {
				break
			}
			<-changed
		}
	}
}

// A credential changes 1,200 times under its readers. No reader gets a user and a password of different versions. A struct filled field by
// field shows some.
func TestAStructNeverMixesVersions(t *testing.T) {
	for name, opts := range map[string]func() []secrets.Option{
		"without layers": func() []secrets.Option { return nil },
		"with a cache":   func() []secrets.Option { return []secrets.Option{standard()} },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			var reads, torn, control atomic.Int64
			var running sync.WaitGroup
			for range programs {
				p := new(program)
				p.client, p.backend = open(t, nil, opts()...)
				p.set(0)
				var err error
				p.live, err = bind.Watch[login](t.Context(), p.client)
				is.NoErr(err)
				p.user, err = p.client.Watch(t.Context(), "database#user")
				is.NoErr(err)
				p.password, err = p.client.Watch(t.Context(), "database#password")
				is.NoErr(err)
				running.Go(func() { p.rotate(t) })
				for range readersOfProgram {
					running.Go(func() {
						for !p.done.Load() {
							one := p.live.Load()
							if one.User != one.Password.Reveal() {
								torn.Add(1)
							}
							reads.Add(1)
							user := p.user.Secret().Reveal()
							runtime.Gosched()
							if user != p.password.Secret().Reveal() {
								control.Add(1)
							}
						}
					})
				}
			}
			running.Wait()
			t.Logf("%d rotations, %d reads: %d torn (control: %d)", programs*rotationsOfEach, reads.Load(), torn.Load(), control.Load())
			is.Equal(torn.Load(), int64(0))
			is.True(control.Load() > 0)
		})
	}
}

// The program may hold only the Live. If it drops the Live, the watches end too.
func TestADroppedLiveStopsWatching(t *testing.T) {
	type pointer struct {
		V *string `secret:"v"`
		W string  `secret:"w"`
	}
	is := is.New(t)
	client, backend := open(t, map[string]string{"v": "1", "w": "1"})
	watch := func() *secrets.Live[pointer] {
		live, err := bind.Watch[pointer](t.Context(), client)
		is.NoErr(err)
		return live
	}
	kept := watch()
	lost := weak.Make(watch().Load().V)
	for n := 2; lost.Value() != nil; n++ {
		runtime.GC()
		changed := kept.Changed()
		backend.Set("v", fmt.Sprint(n))
		client.Invalidate("v", "w")
		<-changed
	}
	is.NoErr(kept.Err())
	runtime.KeepAlive(kept)
}

// Changes, reads and the end of the Live happen at the same time.
func TestWatchUnderLoad(t *testing.T) {
	for range 20 {
		is := is.New(t)
		client, backend := open(t, map[string]string{"database": `{"user":"0","password":"0"}`})
		live, err := bind.Watch[login](t.Context(), client)
		is.NoErr(err)
		var running sync.WaitGroup
		for range 4 {
			running.Go(func() {
				for live.Use(func(login) error { return nil }) == nil {
					runtime.Gosched()
				}
			})
		}
		running.Go(func() {
			backend.Set("database", `{"user":"1","password":"1"}`)
			client.Invalidate("database")
		})
		changed := live.Changed()
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Error("it does not change")
		}
		running.Go(func() { _ = live.Close() })
		running.Go(func() { _ = client.Close() })
		running.Wait()
		is.True(errors.Is(live.Err(), secrets.ErrClosed))
	}
}

package secrets_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// telling is a backend that reports changes.
type telling struct {
	*fake

	mu      sync.Mutex
	changed func(docs ...secrets.Ref)
	times   int
}

func newTelling(pairs ...string) *telling {
	b := &telling{fake: newFake(pairs...)}
	b.fetch = func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return secrets.NewSecret(b.docs[ref.Path], secrets.Meta{}), nil
	}
	b.info.OnChange = func(changed func(docs ...secrets.Ref)) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.changed = changed
		b.times++
	}
	return b
}

// set changes the value at path, and reports a change of docs.
func (b *telling) set(path, value string, docs ...secrets.Ref) {
	b.mu.Lock()
	b.docs[path] = value
	b.mu.Unlock()
	b.changed(docs...)
}

func TestAHandlePollsAtOnceWhenTheBackendReportsAChange(t *testing.T) {
	for name, prepare := range map[string]func(b *telling) []secrets.Option{
		"without layers": func(*telling) []secrets.Option { return nil },
		"with Standard":  func(*telling) []secrets.Option { return []secrets.Option{middleware.Standard()} },
		"local":          func(b *telling) []secrets.Option { b.info.Local = true; return nil },
		"as a fallback": func(*telling) []secrets.Option {
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				backend := newTelling("db", `{"user":"u","password":"one"}`)
				opts := prepare(backend)
				var client *secrets.Client
				if name == "as a fallback" {
					client = open(t, named("first"), to(backend), middleware.Standard())
				} else {
					client = open(t, backend, opts...)
				}
				h, err := client.Watch(t.Context(), "db#password")
				is.NoErr(err)
				_, err = client.Watch(t.Context(), "db")
				is.NoErr(err)
				is.Equal(backend.times, 1) // not once per handle
				elapse(time.Second)
				changed := h.Changed()
				backend.set("db", `{"user":"u","password":"two"}`, secrets.Ref{Path: "other"}) // the control: the change is not reported
				elapse(time.Millisecond)
				is.True(!isClosed(changed))
				backend.set("db", `{"user":"u","password":"two"}`, secrets.Ref{Path: "db"})
				elapse(time.Millisecond)
				is.True(isClosed(changed))
				is.Equal(h.Secret().Reveal(), "two")
			})
		})
	}
}

// A Local backend may store the fields of a document as separate documents, and report those.
func TestAFieldThatIsADocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := newTelling("db/password", "one")
		backend.info.Local = true
		backend.resolvedBy(func(ref secrets.Ref) secrets.Ref { return secrets.Ref{Path: ref.Path + "/" + ref.Field} })
		client := open(t, backend)
		h, err := client.Watch(t.Context(), "db#password")
		is.NoErr(err)
		backend.set("db/password", "two", secrets.Ref{Path: "db/password"})
		elapse(time.Second)
		is.Equal(h.Secret().Reveal(), "two")
		calls := backend.calls.Load()
		backend.set("dbx", "x", secrets.Ref{Path: "dbx"}) // the control
		elapse(time.Second)
		is.Equal(backend.calls.Load(), calls)
	})
}

// Without a handle, a Local backend need not report changes.
func TestALocalBackendRegistersAtTheFirstWatch(t *testing.T) {
	is := is.New(t)
	backend := newTelling("db", "one")
	backend.info.Local = true
	client := open(t, backend)
	_, err := client.Get(t.Context(), "db")
	is.NoErr(err)
	is.Equal(backend.times, 0)
	for range 3 {
		h, err := client.Watch(t.Context(), "db")
		is.NoErr(err)
		is.NoErr(h.Close())
	}
	is.Equal(backend.times, 1)
}

func TestAPanicOfOnChangeIsAnErrorOfWatch(t *testing.T) {
	is := is.New(t)
	backend := newFake("db", "one")
	backend.info.Local = true
	backend.info.OnChange = func(func(...secrets.Ref)) { panic("canary") }
	client := open(t, backend)
	for range 2 {
		_, err := client.Watch(t.Context(), "db")
		is.Equal(err.Error(), "secrets: fake: db: unknown failure: OnChange: a panic with a string")
	}
}

func TestInvalidateAndRefreshMakeAHandlePoll(t *testing.T) {
	for name, act := range map[string]func(w *watching){
		"Invalidate":                  func(w *watching) { w.client.Invalidate("db") },
		"Invalidate of another field": func(w *watching) { w.client.Invalidate("x", "db#x") },
		"Refresh":                     func(w *watching) { _, err := w.client.Refresh(w.Context(), "db"); w.NoErr(err) },
	} {
		for layers, opts := range map[string][]any{"without layers": {}, "with a cache": {exact}} {
			t.Run(name+"/"+layers, func(t *testing.T) {
				watch(t, func(w *watching) {
					changed := w.handle.Changed()
					w.backend.Set("db", "two")
					elapse(time.Second)
					w.True(!isClosed(changed))
					act(w)
					elapse(time.Millisecond)
					w.True(isClosed(changed))
					w.shows("two", nil)
				}, opts...)
			})
		}
	}
}

// A Refresh without a new value causes no further call.
func TestARefreshWithoutAChange(t *testing.T) {
	watch(t, func(w *watching) {
		calls := w.backend.Calls()
		for range 10 {
			_, err := w.client.Refresh(w.Context(), "db")
			w.NoErr(err)
		}
		elapse(time.Second)
		w.Equal(w.backend.Calls(), calls+10)
	})
}

// Real files, written as Kubernetes does. The time is that of the bubble.
func TestHandlesOfFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		dir := t.TempDir()
		version := func(name, password string) {
			data := filepath.Join(dir, name)
			is.NoErr(os.Mkdir(data, 0o700))
			is.NoErr(os.WriteFile(filepath.Join(data, "user"), []byte("user-"+password), 0o600))
			is.NoErr(os.WriteFile(filepath.Join(data, "password"), []byte(password), 0o600))
			is.NoErr(os.Symlink(name, filepath.Join(dir, "..tmp")))
			is.NoErr(os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
		}
		version("..1", "one")
		for _, name := range []string{"user", "password"} {
			is.NoErr(os.Symlink("..data/"+name, filepath.Join(dir, name)))
		}
		backend, err := file.New(dir)
		is.NoErr(err)
		client := open(t, backend)
		h, err := client.Watch(t.Context(), "password", secrets.WatchInterval(time.Hour))
		is.NoErr(err)
		elapse(time.Minute)
		version("..2", "two")
		began := time.Now()
		<-h.Changed()
		is.True(time.Since(began) <= 500*time.Millisecond+100*time.Millisecond)
		is.Equal(h.Secret().Reveal(), "two")

		is.NoErr(os.Remove(filepath.Join(dir, "..2", "password")))
		elapse(time.Second)
		is.Equal(secrets.Class(h.Err()), secrets.ErrNotFound)
		is.Equal(h.Secret().Reveal(), "two")
		version("..3", "three")
		<-h.Changed()
		is.Equal(h.Secret().Reveal(), "three")
		is.NoErr(h.Err())
	})
}

func TestHandlesOfVariables(t *testing.T) {
	t.Setenv("DB_PASSWORD", "one")
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		client := open(t, env.New())
		h, err := client.Watch(t.Context(), "db/password")
		is.NoErr(err)
		elapse(24 * time.Hour)
		is.NoErr(h.Err())
		is.Equal(h.Secret().Reveal(), "one")
	})
}

// A handle that the program drops without Close ends its polls.
func TestADroppedHandleEndsItsPolls(t *testing.T) {
	is := is.New(t)
	asked := make(chan struct{}, 1000)
	backend := failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
		asked <- struct{}{}
		return secrets.NewSecret("one", secrets.Meta{}), nil
	})
	client := open(t, backend)
	h, err := client.Watch(t.Context(), "db", secrets.WatchInterval(100*time.Millisecond))
	is.NoErr(err)
	changed := h.Changed()
	for range 3 { // the control: it polls
		runtime.GC()
		<-asked
	}
	runtime.KeepAlive(h)
	for {
		runtime.GC()
		select {
		case <-changed: // its end
		case <-asked:
			continue
		case <-t.Context().Done():
			t.Fatal("it still polls")
		}
		break
	}
}

// A cleanup runs outside of the bubble, and must not touch its channels and timers.
func TestADroppedHandleInABubble(t *testing.T) {
	watch(t, func(w *watching) {
		_, err := w.client.Watch(w.Context(), "other")
		w.NoErr(err)
		w.backend.ResetCounts()
		for range 100 {
			runtime.GC()
			elapse(30 * time.Second)
		}
		w.True(w.backend.Fetches("other") < 100)
		w.True(w.backend.Fetches("db") >= 100)
		runtime.KeepAlive(w)
	})
}

// A backend may report a change between the first fetch of Watch and its return.
func TestAChangeDuringWatch(t *testing.T) {
	for _, how := range []string{"OnChange", "Invalidate", "Refresh"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var tell func(...secrets.Ref)
				var value, first atomic.Value
				value.Store("one")
				b := failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
					return secrets.NewSecret(value.Load().(string), secrets.Meta{}), nil
				})
				b.info.OnChange = func(changed func(...secrets.Ref)) { tell = changed }
				var c *secrets.Client
				var once atomic.Bool
				late := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
					s, err := next.Fetch(ctx, ref)
					if once.CompareAndSwap(false, true) {
						first.Store(s.Reveal())
						value.Store("two")
						switch how {
						case "OnChange":
							tell(secrets.Ref{Path: "db"})
						case "Invalidate":
							c.Invalidate("db")
						case "Refresh":
							_, _ = c.Refresh(ctx, "db")
						}
					}
					return s, err
				})
				c = open(t, b, secrets.WithMiddleware(late))
				h, err := c.Watch(t.Context(), "db", secrets.WatchInterval(24*time.Hour))
				is.NoErr(err)
				is.Equal(first.Load(), "one") // the control: the change came after the first fetch
				elapse(time.Hour)
				is.Equal(h.Secret().Reveal(), "two")
			})
		})
	}
}

// A Refresh of one field fetches the whole document, so handles of other fields follow.
func TestARefreshOfAnotherField(t *testing.T) {
	for name, layers := range map[string][]func() secrets.Option{"without layers": nil, "with a cache": {exact}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				backend := secretstest.NewBackend(map[string]string{"db": `{"user":"u1","password":"p1"}`})
				var opts []secrets.Option
				for _, layer := range layers {
					opts = append(opts, layer())
				}
				client := open(t, backend, opts...)
				h, err := client.Watch(t.Context(), "db")
				is.NoErr(err)
				refresh := func() int {
					calls := backend.Calls()
					_, err := client.Refresh(t.Context(), "db#password")
					is.NoErr(err)
					elapse(time.Second)
					return backend.Calls() - calls
				}
				is.Equal(refresh(), 1) // nothing new: no further call
				backend.Set("db", `{"user":"u2","password":"p2"}`)
				refresh()
				is.True(strings.Contains(h.Secret().Reveal(), "u2"))
			})
		})
	}
}

// A Refresh that succeeds after a denial makes a handle fresh, even if the value is the same.
func TestARefreshAfterADenial(t *testing.T) {
	watch(t, func(w *watching) {
		w.backend.Fail(secrets.ErrPermissionDenied)
		elapse(time.Hour)
		w.shows("one", secrets.ErrPermissionDenied)
		w.backend.Recover()
		_, err := w.client.Refresh(w.Context(), "db")
		w.NoErr(err)
		elapse(time.Millisecond)
		w.shows("one", nil)
	})
}

func TestNoWatchRegistersAfterClose(t *testing.T) {
	is := is.New(t)
	backend := newTelling("db", "one")
	backend.info.Local = true
	client := open(t, backend)
	is.NoErr(client.Close())
	_, err := client.Watch(t.Context(), "db")
	is.Equal(secrets.Class(err), secrets.ErrClosed)
	is.Equal(backend.times, 0)
}

// The handle takes the value of the Refresh: another fetch would create another lease.
func TestARefreshCreatesOneLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n atomic.Int64
		b := failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
			return secrets.NewSecret(fmt.Sprint(n.Add(1)), secrets.Meta{ExpiresAt: time.Now().Add(time.Hour)}), nil
		})
		b.info.Leases = true
		c := open(t, b)
		h, err := c.Watch(t.Context(), "db")
		is.NoErr(err)
		elapse(time.Minute)
		s, err := c.Refresh(t.Context(), "db")
		is.NoErr(err)
		elapse(time.Minute)
		is.Equal(n.Load(), int64(2))
		is.Equal(h.Secret().Reveal(), s.Reveal())
	})
}

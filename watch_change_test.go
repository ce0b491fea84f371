package secrets_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/middleware"
)

// telling is a backend that tells of changes.
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

// set changes the value at path, and tells of docs.
func (b *telling) set(path, value string, docs ...secrets.Ref) {
	b.mu.Lock()
	b.docs[path] = value
	b.mu.Unlock()
	b.changed(docs...)
}

func TestAHandleLooksAtOnceWhenTheBackendTells(t *testing.T) {
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
				is.Equal(backend.times, 1) // and not once a handle
				elapse(time.Second)
				changed := h.Changed()
				backend.set("db", `{"user":"u","password":"two"}`, secrets.Ref{Path: "other"}) // the control: it is not told
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

// A Local backend may keep the fields of a document as documents, and tell of those.
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

// Without a handle, nobody wants to know what changes at a Local backend.
func TestALocalBackendIsAskedToTellAtTheFirstWatch(t *testing.T) {
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

func TestInvalidateAndRefreshMakeAHandleLook(t *testing.T) {
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

// A Refresh that brings nothing new makes no further call.
func TestARefreshWithoutNews(t *testing.T) {
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

// A handle that the program drops without Close ends its looks.
func TestADroppedHandleEndsItsLooks(t *testing.T) {
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
	for range 3 { // the control: it looks
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
			t.Fatal("it goes on to look")
		}
		break
	}
}

// A cleanup runs outside of a bubble, and must not touch what belongs to it.
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

package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
)

// goroutine returns the header of the stack of the goroutine that runs it.
func goroutine() string {
	stack := make([]byte, 64)
	id, _, _ := strings.Cut(string(stack[:runtime.Stack(stack, false)]), " [")
	return id
}

func TestNonblockingBackendsRunOnTheCallersGoroutine(t *testing.T) {
	for _, c := range []struct {
		nonblocking bool
		opts        []secrets.Option
		same        bool
	}{
		{nonblocking: true, same: true},
		{nonblocking: false},
		{nonblocking: true, opts: []secrets.Option{secrets.WithBackendMiddleware(pass())}}, // the layer may block
	} {
		is := is.New(t)
		var mu sync.Mutex // a GetMany fetches concurrently
		var ran string
		backend := failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
			mu.Lock()
			defer mu.Unlock()
			ran = goroutine()
			return secrets.NewSecret("value", secrets.Meta{}), nil
		})
		backend.info.Local, backend.info.Nonblocking = true, c.nonblocking
		client := open(t, backend, c.opts...)
		s, err := client.Get(t.Context(), "a")
		is.NoErr(err)
		is.Equal(ran == goroutine(), c.same)
		is.Equal(s.Meta().Backend, "fake")
		is.True(!s.Meta().FetchedAt.IsZero())
		found, err := client.GetMany(t.Context(), "a", "b")
		is.NoErr(err)
		is.Equal(len(found), 2)
		is.Equal(ran == goroutine(), c.same)
	}
}

func TestNonblockingBackendsAreGuarded(t *testing.T) {
	is := is.New(t)
	const canary = "canary-of-the-panic"
	backend := newFake()
	backend.info.Nonblocking = true
	client := open(t, backend)
	for _, answer := range []func() (secrets.Secret, error){
		func() (secrets.Secret, error) { panic(canary) },
		func() (secrets.Secret, error) { return secrets.Secret{}, nil },
		func() (secrets.Secret, error) { return secrets.Secret{}, errors.New(canary) },
	} {
		backend.fetch = func(context.Context, secrets.Ref) (secrets.Secret, error) { return answer() }
		_, err := client.Get(t.Context(), "a")
		checkClass(t, err, secrets.ErrUnknown)
		is.True(!strings.Contains(err.Error(), canary))
		_, err = client.GetMany(t.Context(), "a", "b")
		is.True(errors.Is(err, secrets.ErrUnknown))
		is.True(!strings.Contains(err.Error(), canary))
	}
}

// A Resolve that panics causes an error, without the text of the panic, wherever it is called.
func TestResolvePanics(t *testing.T) {
	const canary = "canary-of-the-panic"
	for _, local := range []bool{true, false} {
		is := is.New(t)
		backend := newFake("a", "1").resolvedBy(func(secrets.Ref) secrets.Ref { panic(canary) })
		backend.info.Local = local
		client := open(t, backend, secrets.WithCache(idle()))
		_, err := client.Get(t.Context(), "a")
		checkClass(t, err, secrets.ErrUnknown)
		is.True(!strings.Contains(err.Error(), canary))
		_, err = client.GetMany(t.Context(), "a", "b")
		is.True(errors.Is(err, secrets.ErrUnknown))
		is.True(!strings.Contains(err.Error(), canary))
		client.Invalidate("a", "b")
	}
}

// Resolve of a Local backend may read files. If the file system hangs, callers do not.
func TestResolveThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		release := make(chan struct{})
		backend := local(newFake("a", `{"b":"1"}`)).resolvedBy(func(ref secrets.Ref) secrets.Ref {
			<-release
			return ref
		})
		client, err := secrets.New(backend, secrets.WithTimeout(2*time.Second))
		is.NoErr(err)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err = client.Get(ctx, "a#b")
		checkEnded(t, err, context.DeadlineExceeded, "fake", "a#b")
		is.Equal(time.Since(start), 50*time.Millisecond)
		_, err = client.GetMany(t.Context(), "a#b", "a#c")
		is.True(errors.Is(err, secrets.ErrUnavailable))
		is.Equal(time.Since(start), 2050*time.Millisecond)
		close(release)
		synctest.Wait()
		s, err := client.Get(t.Context(), "a#b")
		is.NoErr(err)
		is.Equal(s.Reveal(), "1")
		is.NoErr(client.Close())
	})
}

// A backend that ignores its context keeps a goroutine for each abandoned call. Their number is bounded.
func TestBackendThatIgnoresItsContextForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		release := make(chan struct{})
		backend := failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
			<-release
			return secrets.NewSecret("late", secrets.Meta{}), nil
		})
		client, err := secrets.New(backend, secrets.WithTimeout(time.Second))
		is.NoErr(err)
		for range 2000 {
			_, err := client.Get(t.Context(), "a")
			checkClass(t, err, secrets.ErrUnavailable)
		}
		hanging := backend.calls.Load()
		is.True(hanging <= 256)
		close(release) // they return, and the Client calls the backend again
		synctest.Wait()
		s, err := client.Get(t.Context(), "a")
		is.NoErr(err)
		is.Equal(s.Reveal(), "late")
		is.Equal(backend.calls.Load(), hanging+1)
		is.NoErr(client.Close())
	})
}

// A thousand concurrent callers that get their answers do not count as hung.
func TestManyConcurrentCallsAreNoHang(t *testing.T) {
	backend := newFake("a", "1")
	client := open(t, backend)
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if _, err := client.Get(t.Context(), "a"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// Invalidate starts with the outer layers: no old answer may enter a layer after it.
func TestInvalidateOrder(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	forgetful := func(name string) *layer { return &layer{forget: func(...secrets.Ref) { tr.add(name) }} }
	client := open(t, newFake(), secrets.WithDedup(forgetful("dedup")), secrets.WithCache(forgetful("cache")))
	client.Invalidate("a")
	is.Equal(tr.take(), "cache dedup")
}

// Changed documents are invalidated in cache and dedup, from the outside in. New registers once.
func TestChangedDocumentsAreInvalidated(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	var changed []func(docs ...secrets.Ref)
	backend := newFake()
	backend.info.OnChange = func(f func(docs ...secrets.Ref)) { changed = append(changed, f) }
	forgetful := func(name string) *layer {
		return &layer{forget: func(docs ...secrets.Ref) { tr.add(fmt.Sprint(name, docs)) }}
	}
	open(t, backend, secrets.WithDedup(forgetful("dedup")), secrets.WithCache(forgetful("cache")))
	is.Equal(len(changed), 1)
	changed[0](secrets.Ref{Path: "a"}, secrets.Ref{Path: "b", Version: "2"})
	is.Equal(tr.take(), "cache[a b?version=2] dedup[a b?version=2]")
}

// The same with the layers of this module: after the change, no caller gets an older value.
func TestChangedDocumentsAreFetchedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var changed func(docs ...secrets.Ref)
		backend := newFake()
		backend.info.OnChange = func(f func(docs ...secrets.Ref)) { changed = f }
		backend.fetch = func(context.Context, secrets.Ref) (secrets.Secret, error) {
			value := fmt.Sprint(backend.calls.Load())
			<-time.After(time.Second)
			return secrets.NewSecret(value, secrets.Meta{}), nil
		}
		client := open(t, backend, middleware.Standard())
		get := func() string {
			s, err := client.Get(t.Context(), "a")
			is.NoErr(err)
			return s.Reveal()
		}
		is.Equal(get(), "1")
		is.Equal(get(), "1") // the control: it is cached
		changed(secrets.Ref{Path: "b"})
		is.Equal(get(), "1")
		changed(secrets.Ref{Path: "a"})
		is.Equal(get(), "2")

		changed(secrets.Ref{Path: "a"})
		var wg sync.WaitGroup
		wg.Go(func() { is.Equal(get(), "3") })
		synctest.Wait()
		wg.Go(func() { is.Equal(get(), "3") }) // it joins that flight
		synctest.Wait()
		changed(secrets.Ref{Path: "a"})
		is.Equal(get(), "4") // a later call does not
		wg.Wait()
		is.Equal(get(), "4")
	})
}

// The Client replaces Backend and Key of a backend's error: only its Detail has passed redaction.
func TestABackendCannotNameItselfInAnError(t *testing.T) {
	is := is.New(t)
	client := open(t, failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
		return secrets.Secret{}, &secrets.Error{Backend: "canary", Key: "canary", Err: secrets.ErrMalformed, Detail: "detail"}
	}))
	_, err := client.Get(t.Context(), "a#b")
	is.Equal(err.Error(), "secrets: fake: a#b: malformed: detail")
}

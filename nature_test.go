package secrets_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

// natured is a fake that says what it is, and resolves refs as a test wants.
type natured struct {
	*fake
	local, nonblocking bool
	resolve            func(ref secrets.Ref) secrets.Ref
}

func (n *natured) Local() bool       { return n.local }
func (n *natured) Nonblocking() bool { return n.nonblocking }

func (n *natured) Resolve(ref secrets.Ref) secrets.Ref {
	if n.resolve == nil {
		return ref
	}
	return n.resolve(ref)
}

var _ secrets.Resolver = (*natured)(nil)

// goroutine returns the header of the stack of the goroutine that runs it.
func goroutine() string {
	stack := make([]byte, 64)
	id, _, _ := strings.Cut(string(stack[:runtime.Stack(stack, false)]), " [")
	return id
}

func TestNonblockingBackendsRunOnTheCallersGoroutine(t *testing.T) {
	pass := secrets.MiddlewareFunc(func(next secrets.Fetcher) secrets.Fetcher { return next })
	for _, c := range []struct {
		nonblocking bool
		opts        []secrets.Option
		same        bool
	}{
		{nonblocking: true, same: true},
		{nonblocking: false},
		{nonblocking: true, opts: []secrets.Option{secrets.WithBackendMiddleware(pass)}}, // the layer may block
	} {
		is := is.New(t)
		var ran string
		backend := &natured{fake: newFake(), local: true, nonblocking: c.nonblocking}
		backend.fetch = func(context.Context, secrets.Ref) (secrets.Secret, error) {
			ran = goroutine()
			return secrets.NewSecret("value", secrets.Meta{}), nil
		}
		backend.fetchMany = func(_ context.Context, refs []secrets.Ref) []secrets.Result {
			ran = goroutine()
			results := make([]secrets.Result, len(refs))
			for i := range refs {
				results[i].Secret = secrets.NewSecret("value", secrets.Meta{})
			}
			return results
		}
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

func TestNonblockingBackendsAreGuardedAllTheSame(t *testing.T) {
	is := is.New(t)
	const canary = "canary-of-the-panic"
	backend := &natured{fake: newFake(), nonblocking: true}
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

// A Resolve that panics brings nobody down, wherever it is called, and nothing of its text comes out.
func TestResolvePanics(t *testing.T) {
	const canary = "canary-of-the-panic"
	for _, local := range []bool{true, false} {
		is := is.New(t)
		backend := &natured{fake: newFake("a", "1"), local: local}
		client := open(t, backend, secrets.WithCache(splitCache{&trail{}}))
		backend.resolve = func(secrets.Ref) secrets.Ref { panic(canary) }
		_, err := client.Get(t.Context(), "a")
		checkClass(t, err, secrets.ErrUnknown)
		is.True(!strings.Contains(err.Error(), canary))
		_, err = client.GetMany(t.Context(), "a", "b")
		is.True(errors.Is(err, secrets.ErrUnknown))
		is.True(!strings.Contains(err.Error(), canary))
		client.Invalidate("a", "b")
	}
}

// A local backend may look at files to find a document. If the file system hangs, its callers do not.
func TestResolveThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		release := make(chan struct{})
		backend := &natured{fake: newFake("a", `{"b":"1"}`), local: true}
		client, err := secrets.New(backend, secrets.WithTimeout(2*time.Second))
		is.NoErr(err)
		backend.resolve = func(ref secrets.Ref) secrets.Ref {
			<-release
			return ref
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err = client.Get(ctx, "a#b")
		is.Equal(err, context.DeadlineExceeded)
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

// A backend that ignores its context keeps a goroutine for each call that was given up: there is a bound, and an end.
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
		close(release) // they come back, and the backend is asked again
		synctest.Wait()
		s, err := client.Get(t.Context(), "a")
		is.NoErr(err)
		is.Equal(s.Reveal(), "late")
		is.Equal(backend.calls.Load(), hanging+1)
		is.NoErr(client.Close())
	})
}

// A thousand callers at once that all get their answer are no sign of a backend that hangs.
func TestManyCallsAtOnceAreNoHang(t *testing.T) {
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

// Invalidate goes from the outside in, so that nothing old comes into an outer layer after it has forgotten.
func TestInvalidateOrder(t *testing.T) {
	is := is.New(t)
	var order []string
	forgetful := func(name string) secrets.Middleware {
		return secrets.MiddlewareFunc(func(next secrets.Fetcher) secrets.Fetcher {
			return forgetter{next, func() { order = append(order, name) }}
		})
	}
	client := open(t, newFake(), secrets.WithRedaction(forgetful("redaction")), secrets.WithTracing(forgetful("tracing")),
		secrets.WithDedup(forgetful("dedup")), secrets.WithCache(forgetful("cache")))
	client.Invalidate("a")
	is.Equal(strings.Join(order, " "), "cache dedup tracing redaction")
}

type forgetter struct {
	secrets.Fetcher
	forget func()
}

func (f forgetter) Invalidate(...secrets.Ref) { f.forget() }

// What a backend says of itself and of the key is not kept: redaction has been through the Detail alone.
func TestBackendCanNotNameItselfInAnError(t *testing.T) {
	is := is.New(t)
	client := open(t, failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
		return secrets.Secret{}, &secrets.Error{Backend: "canary", Key: "canary", Err: secrets.ErrMalformed, Detail: "detail"}
	}))
	_, err := client.Get(t.Context(), "a#b")
	is.Equal(err.Error(), "secrets: fake: a#b: malformed: detail")
}

func TestCloseOfAStuckBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		release := make(chan struct{})
		backend := &closer{fetcher: newFake(), trail: &trail{}, name: "b", close: func() error { <-release; return nil }}
		client, err := secrets.New(backend, secrets.WithTimeout(3*time.Second))
		is.NoErr(err)
		start := time.Now()
		is.Equal(client.Close().Error(), "secrets: close: backend b still runs after 3s")
		is.Equal(time.Since(start), 3*time.Second)
		close(release)
	})
}

func TestCloseOfNoClient(t *testing.T) {
	is := is.New(t)
	var client secrets.Client
	is.NoErr(client.Close())
	is.NoErr(client.Close())
}

// Fields of one document are one reading of it, also if they are many and it is large.
func TestManyFieldsOfALargeDocument(t *testing.T) {
	is := is.New(t)
	var document strings.Builder
	var keys []string
	for i := range 2000 {
		name := "f" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26)
		document.WriteString(`,"` + name + `":{"in":["` + name + `"]}`)
		if len(name) < 400 {
			keys = append(keys, "db#"+name+".in.0")
		}
	}
	client := open(t, newFake("db", "{"+document.String()[1:]+"}"))
	found, err := client.GetMany(t.Context(), keys...)
	is.NoErr(err)
	is.Equal(len(found), len(keys))
	for key, s := range found {
		is.Equal("db#"+s.Reveal()+".in.0", key)
	}
}

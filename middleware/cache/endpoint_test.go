package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// endpointOf returns the part of ref's path before the slash.
func endpointOf(ref secrets.Ref) string {
	endpoint, _, _ := strings.Cut(ref.Path, "/")
	return endpoint
}

// regions is a cache in front of endpoints that fail independently.
type regions struct {
	*is.I
	secrets.Cache

	mu    sync.Mutex
	fails map[string]error         // by endpoint or path
	hangs map[string]time.Duration // by endpoint or path: then the answer is ErrUnavailable
	asked []string
}

func newRegions(t *testing.T, opts ...cache.Option) *regions {
	t.Helper()
	r := &regions{I: is.New(t), fails: make(map[string]error), hangs: make(map[string]time.Duration)}
	info := secrets.Info{Name: "regions", Endpoint: endpointOf}
	r.Cache = newLayerOf(cache.New(append([]cache.Option{exact}, opts...)...), info, fetchFunc(r.fetch))
	t.Cleanup(func() { r.NoErr(r.Close()) })
	return r
}

func (r *regions) fetch(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
	r.mu.Lock()
	r.asked = append(r.asked, ref.Path)
	hang := max(r.hangs[ref.Path], r.hangs[endpointOf(ref)])
	err := errors.Join(r.fails[ref.Path], r.fails[endpointOf(ref)])
	r.mu.Unlock()
	if hang > 0 {
		time.Sleep(hang)
		return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, "no answer")
	}
	if err != nil {
		return secrets.Secret{}, err
	}
	return secrets.NewSecret("value of "+ref.Path, secrets.Meta{}), nil
}

func (r *regions) ask(ctx context.Context, path string) error {
	_, err := r.Fetch(ctx, secrets.Ref{Path: path})
	return err
}

// warm puts a value of each of paths in memory.
func (r *regions) warm(paths ...string) {
	r.Helper()
	for _, path := range paths {
		r.NoErr(r.ask(context.Background(), path))
	}
}

// breakDown makes endpoint unavailable, and refreshes each of paths in turn.
func (r *regions) breakDown(endpoint string, paths ...string) {
	r.Helper()
	r.fails[endpoint] = secrets.ErrUnavailable
	for _, path := range paths {
		r.True(errors.Is(r.ask(withFresh(context.Background()), path), secrets.ErrUnavailable))
	}
}

// calls returns how often path was fetched.
func (r *regions) calls(path string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, asked := range r.asked {
		if asked == path {
			n++
		}
	}
	return n
}

// isOpen reports whether the breaker of path's endpoint is open. path must be a cold document.
func (r *regions) isOpen(path string) bool {
	result, known := r.Peek(secrets.Ref{Path: path})
	return known && errors.Is(result.Err, secrets.ErrUnavailable) && strings.Contains(result.Err.Error(), "in a row")
}

// Keys from outside fail on a backend that answers. A legitimate cold key must still be fetched from it, and not from the weaker source.
func TestFailingColdKeysOfAHealthyBackend(t *testing.T) {
	setup := func(t *testing.T) (strong, weak *secretstest.Backend, client *secrets.Client) {
		t.Helper()
		strong = secretstest.NewBackend(map[string]string{"used": "strong", "used too": "strong", "honest": "strong"})
		weak = secretstest.NewBackend(map[string]string{"honest": "weak"}, secretstest.WithName("weak"))
		for n := range 100 {
			strong.FailPath(fmt.Sprint("failing-", n), secrets.ErrUnavailable)
		}
		client = newClient(t, strong, middleware.Standard(), secrets.WithFallback(fallback.To(weak)))
		return strong, weak, client
	}
	honest := func(is *is.I, client *secrets.Client, want string) {
		is.Helper()
		s, err := client.Get(context.Background(), "honest")
		is.NoErr(err)
		is.Equal(s.Reveal(), want)
	}
	failing := func(is *is.I, client *secrets.Client) {
		is.Helper()
		for n := range 100 {
			_, err := client.Get(context.Background(), fmt.Sprint("failing-", n))
			is.True(errors.Is(err, secrets.ErrUnavailable))
		}
	}
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		strong, weak, client := setup(t)
		_, err := client.Get(t.Context(), "used")
		is.NoErr(err)
		failing(is, client)
		is.Equal(strong.Calls(), 101) // all keys were fetched
		honest(is, client, "strong")
		is.Equal(weak.Fetches("honest"), 0)
	})
	t.Run("control: a backend that has never answered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			strong, weak, client := setup(t)
			failing(is, client)
			is.Equal(strong.Calls(), 3)
			honest(is, client, "weak")
			is.Equal(weak.Fetches("honest"), 1)
			time.Sleep(past(firstStep))
			client.Invalidate("honest")
			honest(is, client, "strong") // the breaker is closed again
		})
	})
	t.Run("control: documents with values", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			strong, weak, client := setup(t)
			for _, key := range []string{"used", "used too"} {
				_, err := client.Get(t.Context(), key)
				is.NoErr(err)
				strong.FailPath(key, secrets.ErrUnavailable)
			}
			for _, key := range []string{"used", "used too", "used"} {
				_, err := client.Refresh(t.Context(), key)
				is.True(errors.Is(err, secrets.ErrUnavailable))
			}
			honest(is, client, "weak")
			is.Equal(weak.Fetches("honest"), 1)
			is.Equal(strong.Fetches("honest"), 0)
		})
	})
}

func TestBreakersAreOfOneEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegions(t)
		r.warm("us/a", "us/b", "eu/a", "eu/b")
		r.breakDown("us", "us/a", "us/b", "us/a")
		r.True(r.Outage())
		r.True(r.isOpen("us/cold"))
		r.True(!r.isOpen("eu/cold"))
		for n := range 10 {
			r.warm(fmt.Sprint("eu/", n)) // answers of one endpoint do not close the breaker of another
			r.True(r.isOpen("us/cold"))
		}
		r.True(errors.Is(r.ask(t.Context(), "us/cold"), secrets.ErrUnavailable))
		r.Equal(r.calls("us/cold"), 0)

		// Failures and documents of two endpoints are not added up.
		r.breakDown("eu", "eu/a", "eu/b")
		r.True(!r.isOpen("eu/cold"))
		delete(r.fails, "us")
		time.Sleep(past(firstStep))
		r.warm("us/cold") // a probe
		r.True(!r.Outage())
		r.breakDown("eu", "eu/a")
		r.True(r.isOpen("eu/other"))
		r.True(!r.isOpen("us/other"))
	})
}

// Of several documents in memory, one is of a failing endpoint.
func TestOneDocumentOfAnEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegions(t)
		r.warm("us/a", "eu/a", "eu/b")
		r.breakDown("us", "us/a", "us/a")
		r.True(!r.isOpen("us/cold"))
		r.breakDown("us", "us/a")
		r.True(r.isOpen("us/cold"))

		r.breakDown("eu", "eu/a", "eu/a", "eu/a", "eu/a") // control: there is another
		r.True(!r.isOpen("eu/cold"))
		r.Invalidate(secrets.Ref{Path: "eu/b"})
		r.breakDown("eu", "eu/a")
		r.True(r.isOpen("eu/cold"))
	})
}

// TestManyEndpoints uses more endpoints than may have a breaker.
func TestManyEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegions(t)
		for n := range 100 {
			r.warm(fmt.Sprintf("%d/a", n), fmt.Sprintf("%d/b", n))
		}
		for n := range 100 {
			endpoint := fmt.Sprint(n)
			a, b := endpoint+"/a", endpoint+"/b"
			r.breakDown(endpoint, a, b, a, b, a, b)
			r.Equal(r.isOpen(endpoint+"/cold"), n < 64)
			r.True(errors.Is(r.ask(t.Context(), endpoint+"/cold"), secrets.ErrUnavailable))
			if n < 64 {
				r.Equal(r.calls(endpoint+"/cold"), 0)
				continue
			}
			for range 10 { // their documents have back-offs
				r.True(errors.Is(r.ask(t.Context(), endpoint+"/cold"), secrets.ErrUnavailable))
			}
			r.Equal(r.calls(endpoint+"/cold"), 1)
		}
	})
}

// Keys from outside name an endpoint that does not exist and hangs.
func TestHangingEndpointOfMadeUpNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegions(t)
		r.warm("eu/a")
		r.hangs["mars"] = timeout
		for n := range 3 {
			within(r.I, timeout, func() {
				r.True(errors.Is(r.ask(t.Context(), fmt.Sprint("mars/", n)), secrets.ErrUnavailable))
			})
		}
		r.True(r.isOpen("mars/cold"))
		within(r.I, 0, func() {
			r.True(errors.Is(r.ask(t.Context(), "mars/cold"), secrets.ErrUnavailable))
			r.warm("eu/cold")
		})
		r.Equal(r.calls("mars/cold"), 0)
	})
	t.Run("control: made-up names of one that has answered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRegions(t)
			r.warm("eu/a", "eu/b")
			for n := range 20 {
				r.hangs[fmt.Sprint("eu/made-up-", n)] = timeout
			}
			var callers sync.WaitGroup
			for n := range 20 {
				callers.Go(func() { _ = r.ask(t.Context(), fmt.Sprint("eu/made-up-", n)) })
			}
			within(r.I, timeout, callers.Wait)
			r.True(!r.isOpen("eu/cold"))
			r.warm("eu/cold")
		})
	})
}

// While a breaker is open, keys from outside that fail on their own must not delay the probes of known documents. They delay other unknown
// documents by one step at most.
func TestProbesOfUnknownDocuments(t *testing.T) {
	const ttl = time.Minute
	setup := func(t *testing.T) *regions {
		t.Helper()
		r := newRegions(t, cache.WithTTL(ttl), cache.WithRefreshAhead(0))
		r.warm("eu/a", "eu/b")
		time.Sleep(ttl)
		r.breakDown("eu", "eu/a", "eu/b", "eu/a")
		r.True(r.isOpen("eu/cold"))
		delete(r.fails, "eu")
		return r
	}
	t.Run("that hang", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := setup(t)
			r.hangs["eu/made-up"] = timeout
			time.Sleep(past(firstStep))
			var caller sync.WaitGroup
			caller.Go(func() {
				within(r.I, timeout, func() { // the breaker has closed: it waits for its own fetch
					r.True(errors.Is(r.ask(t.Context(), "eu/made-up"), secrets.ErrUnavailable))
				})
			})
			synctest.Wait()
			r.True(errors.Is(r.ask(t.Context(), "eu/cold"), secrets.ErrUnavailable)) // control: the key is one of those
			r.Equal(r.calls("eu/cold"), 0)
			within(r.I, 0, func() {
				s, err := r.Fetch(t.Context(), secrets.Ref{Path: "eu/a"})
				r.NoErr(err)
				r.True(!s.Meta().Stale)
			})
			r.True(!r.Outage())
			caller.Wait()
		})
	})
	t.Run("that fail at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := setup(t)
			r.fails["eu/made-up"] = secrets.ErrUnavailable
			for range 20_000 { // 20 s of requests
				r.True(errors.Is(r.ask(t.Context(), "eu/made-up"), secrets.ErrUnavailable))
				time.Sleep(time.Millisecond)
			}
			n := r.calls("eu/made-up")
			r.True(n > 10) // one in each step of known documents, which these failures do not extend
			r.True(n < 70)
			s, err := r.Fetch(t.Context(), secrets.Ref{Path: "eu/a"})
			r.NoErr(err)
			r.True(!s.Meta().Stale)
		})
	})
}

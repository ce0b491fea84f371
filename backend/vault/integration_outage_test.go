//go:build vault

package vault_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/internal/vaultserver"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
)

const (
	shortTTL     = 300 * time.Millisecond // cache TTL: readers reach the backend
	coldKeys     = 20
	fetchTimeout = time.Second
	// maxStep is the longest back-off, plus the time of a probe.
	maxStep = 12*time.Second + 2*fetchTimeout
)

// standard returns the recommended stack with a short TTL.
func standard() secrets.Option { return middleware.Standard(cache.WithTTL(shortTTL)) }

// local is a fallback to environment variables that are all set.
func local() secrets.Option {
	lookup := func(name string) (string, bool) { return "local", strings.HasPrefix(name, "COLD_") }
	return secrets.WithFallback(fallback.To(env.New(env.WithLookup(lookup))))
}

// cold reads uncached keys, in turn or concurrently, and returns how long all of them took.
func cold(t testing.TB, c *secrets.Client, together bool, check func(s secrets.Secret, err error)) time.Duration {
	t.Helper()
	var (
		running sync.WaitGroup
		mu      sync.Mutex
	)
	began := time.Now()
	for i := range coldKeys {
		get := func() {
			s, err := c.Get(t.Context(), fmt.Sprintf("cold-%d#password", i))
			mu.Lock()
			defer mu.Unlock()
			check(s, err)
		}
		if together {
			running.Go(get)
		} else {
			get()
		}
	}
	running.Wait()
	return time.Since(began)
}

// When a server is sealed, readers with a cached value notice nothing, and all others get an error quickly.
func TestRealSealed(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	server := vaultserver.Start(t)
	s := newStore(t, server, versionTwo)
	s.put("app", `{"password":"first"}`)
	recorder := server.Record(t)
	auth := vault.WithToken(server.RootToken)
	c := client(t, s.backendAt(recorder.Addr, auth), standard(), secrets.WithTimeout(fetchTimeout))
	readers := keepReading(t, c, 4, blink, "app#password")
	readers.goOn(t, time.Second)
	_, stale, failed := readers.count()
	is.Equal(stale, 0)
	is.Equal(failed, 0)

	server.Seal(t)
	eventually(t, "the readers get the old value", func() bool {
		_, stale, _ := readers.count()
		return stale > 0
	})
	unavailable := func(s secrets.Secret, err error) {
		is.Equal(secrets.Class(err), secrets.ErrUnavailable)
		is.True(s.IsZero())
	}
	for _, together := range []bool{false, true} {
		plain := client(t, s.backendAt(recorder.Addr, auth), standard(), secrets.WithTimeout(fetchTimeout))
		took := cold(t, plain, together, unavailable)
		withFallback := client(t, s.backendAt(recorder.Addr, auth), standard(), local(), secrets.WithTimeout(fetchTimeout))
		answered := cold(t, withFallback, together, func(s secrets.Secret, err error) {
			is.NoErr(err)
			is.Equal(s.Reveal(), "local")
		})
		again := cold(t, withFallback, together, func(_ secrets.Secret, err error) { is.NoErr(err) })
		t.Logf("sealed, %d cold keys, together %v: %v; with a fallback %v, and then %v", coldKeys, together, took, answered, again)
		is.True(took < 5*time.Second)
		is.True(answered < 5*time.Second)
		is.True(again < 2*time.Second)
	}
	_, err := client(t, s.backendAt(recorder.Addr, auth)).Get(t.Context(), "app#password")
	is.Equal(secrets.Class(err), secrets.ErrUnavailable)
	is.True(strings.Contains(err.Error(), "sealed"))
	_, err = c.Refresh(t.Context(), "app#password")
	is.Equal(secrets.Class(err), secrets.ErrUnavailable) // never stale

	server.Unseal(t)
	s.put("app", `{"password":"second"}`)
	took := within(t, maxStep, "a fresh value", func() bool {
		got, err := c.Get(t.Context(), "app#password")
		return err == nil && !got.Meta().Stale && got.Reveal() == "second"
	})
	is.Equal(readers.stop(), nil) // no read has failed
	reads, stale, _ := readers.count()
	t.Logf("%d reads, %d of them stale, none failed; fresh %v after the unsealing", reads, stale, took)
}

// A stopped server refuses connections. After its restart, its data is gone.
func TestRealRestart(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	server := vaultserver.Start(t)
	token := vault.WithToken(server.RootToken)
	write := func(value string) {
		t.Helper()
		body := map[string]any{"data": map[string]any{"password": value}}
		server.Must(t, http.MethodPost, "secret/data/app", body)
	}
	write("first")
	c := client(t, open(t, server.Addr, token), standard(), secrets.WithTimeout(fetchTimeout))
	readers := keepReading(t, c, 2, blink, "app#password")
	readers.goOn(t, time.Second)
	server.Stop()
	eventually(t, "the readers get the old value", func() bool {
		_, stale, _ := readers.count()
		return stale > 0
	})
	refused := client(t, open(t, server.Addr, token), standard(), secrets.WithTimeout(fetchTimeout))
	took := cold(t, refused, false, func(_ secrets.Secret, err error) { is.Equal(secrets.Class(err), secrets.ErrUnavailable) })
	t.Logf("refused, %d cold keys: %v", coldKeys, took)
	is.True(took < 5*time.Second)
	is.Equal(readers.stop(), nil)

	server.Restart(t)
	within(t, maxStep, "the secret is gone", func() bool {
		_, err := c.Get(t.Context(), "app#password")
		is.True(err == nil || secrets.Class(err) == secrets.ErrNotFound)
		return err != nil
	})
	write("second")
	got, err := c.Refresh(t.Context(), "app#password")
	is.NoErr(err)
	is.Equal(got.Reveal(), "second")
}

// A server that accepts connections and never answers costs each client a few timeouts in total, not one for each key.
func TestRealBlackHole(t *testing.T) {
	for name, test := range map[string]struct {
		together    bool
		opts        []secrets.Option
		class       error
		limit       time.Duration
		connections int
	}{
		"one after the other":                  {false, nil, secrets.ErrUnavailable, 5 * time.Second, 6},
		"together":                             {true, nil, secrets.ErrUnavailable, 5 * time.Second, coldKeys},
		"one after the other, with a fallback": {false, []secrets.Option{local()}, nil, 5 * time.Second, 6},
		"together, with a fallback":            {true, []secrets.Option{local()}, nil, 5 * time.Second, coldKeys},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			hole := vaultserver.NewBlackHole(t)
			b := open(t, hole.Addr, vault.WithToken("hvs.token"))
			c := client(t, b, append(test.opts, standard(), secrets.WithTimeout(fetchTimeout))...)
			check := func(_ secrets.Secret, err error) { is.Equal(secrets.Class(err), test.class) }
			first := cold(t, c, test.together, check)
			second := cold(t, c, test.together, check)
			t.Logf("%d cold keys in %v, and again in %v; %d connections", coldKeys, first, second, hole.Connections())
			is.True(first < test.limit)
			is.True(second < test.limit/2)
			is.True(hole.Connections() <= test.connections)
		})
	}
}

// A server that does not answer for half a minute gets few requests: neither readers nor the renewal of a token that ends meanwhile
// overload it. Afterwards, the next probe brings fresh values.
func TestRealOutage(t *testing.T) {
	const outage = 30 * time.Second
	for name, test := range map[string]struct {
		begin, end func(s *vaultserver.Server, t vaultserver.TB)
		requests   int // maximum
	}{
		"frozen": {(*vaultserver.Server).Pause, (*vaultserver.Server).Resume, 30},
		"sealed": {(*vaultserver.Server).Seal, (*vaultserver.Server).Unseal, 60},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			server := vaultserver.Start(t)
			s := newStore(t, server, versionTwo)
			s.put("app", `{"password":"first"}`)
			r := newRole(t, s, map[string]any{"token_ttl": "2s"})
			recorder := server.Record(t)
			c := client(t, s.backendAt(recorder.Addr, r.auth()), standard(), secrets.WithTimeout(fetchTimeout))
			warm := keepReading(t, c, 1, pauseOfReaders, "app#password")
			warm.goOn(t, 3*time.Second)
			recorder.Reset()
			test.begin(server, t)

			// Cold readers have no stale value.
			cold := keepReading(t, c, 1, pauseOfReaders, "cold#password")
			before, _, _ := warm.count()
			warm.goOn(t, outage)
			during := recorder.Requests()
			reads, stale, _ := warm.count()
			paths := make(map[string]int)
			for _, request := range during {
				paths[request.Path]++
			}
			t.Logf("in %v of an outage: %d requests in %d connections by %d reads; by path: %v",
				outage, len(during), recorder.Connections(), reads-before, paths)
			is.True(len(during) <= test.requests)
			is.True(stale > 0)
			if name == "sealed" { // without a cache, nothing holds readers off
				recorder.Reset()
				bare := keepReading(t, client(t, s.backendAt(recorder.Addr, r.auth())), 1, pauseOfReaders, "app#password")
				bare.goOn(t, outage/30)
				bare.stop()
				t.Logf("in %v of it without a cache: %d requests", outage/30, len(recorder.Requests()))
				is.True(len(recorder.Requests()) > 3*len(during)/30)
			}

			test.end(server, t)
			s.put("app", `{"password":"second"}`)
			s.put("cold", `{"password":"there"}`)
			took := within(t, maxStep, "a fresh value", func() bool {
				got, err := c.Get(t.Context(), "app#password")
				return err == nil && !got.Meta().Stale && got.Reveal() == "second"
			})
			eventually(t, "a cold value", func() bool {
				_, err := c.Get(t.Context(), "cold#password")
				return err == nil
			})
			is.Equal(warm.stop(), nil)
			for _, err := range cold.stop() {
				is.Equal(secrets.Class(err), secrets.ErrUnavailable)
			}
			t.Logf("%d stale answers, no failure; fresh %v after the end of the outage", stale, took)
		})
	}
}

// A standby that does not forward, and a proxy that fails, are outages too.
func TestRealBadProxy(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"first"}`)
	recorder := s.server.Record(t)
	c := client(t, s.backendAt(recorder.Addr, vault.WithToken(s.server.RootToken)), standard(), secrets.WithTimeout(fetchTimeout))
	for _, status := range []int{http.StatusTooManyRequests, 472, 473, http.StatusBadGateway, http.StatusNotFound} {
		is := is.New(t)
		recorder.Intercept(nil)
		_, err := c.Refresh(t.Context(), "app#password")
		is.NoErr(err)
		recorder.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
			respond(w, status, "<html>"+s.server.RootToken+"</html>")
			return true
		})
		eventually(t, "the old value", func() bool {
			got, err := c.Get(t.Context(), "app#password")
			is.NoErr(err)
			return got.Meta().Stale
		})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err = c.Refresh(ctx, "app#password")
		cancel()
		is.Equal(secrets.Class(err), secrets.ErrUnavailable) // of status
		is.True(!strings.Contains(err.Error(), s.server.RootToken))
	}
}

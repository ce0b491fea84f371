//go:build vault

package vault_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/internal/vaultserver"
)

// The tests of these files use a real server; see package vaultserver. Tests that do not break it share one, each with mounts of its own.

// open returns a backend for the server at address that ignores the environment.
func open(t testing.TB, address string, opts ...vault.Option) *vault.Backend {
	t.Helper()
	b, err := vault.New(slices.Concat([]vault.Option{vault.WithAddress(address), vault.WithLookup(noEnvironment)}, opts)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() }) // the tests of Close check its error
	return b
}

// unique returns a new name.
func unique(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()) }

// store is a KV secrets engine of one test.
type store struct {
	t       testing.TB
	server  *vaultserver.Server
	mount   string
	version int
}

// newStore mounts a KV of that version.
func newStore(t testing.TB, server *vaultserver.Server, version int) *store {
	t.Helper()
	return newStoreAt(t, server, version, unique("kv"))
}

func newStoreAt(t testing.TB, server *vaultserver.Server, version int, mount string) *store {
	t.Helper()
	s := &store{t: t, server: server, mount: mount, version: version}
	options := map[string]any{"version": map[int]string{1: "1", 2: "2"}[version]}
	server.Must(t, http.MethodPost, "sys/mounts/"+mount, map[string]any{"type": "kv", "options": options})
	eventually(t, "a new mount serves", func() bool {
		status, _ := server.Do(t, http.MethodGet, s.data("nothing"), nil)
		return status == http.StatusNotFound
	})
	return s
}

// at returns the API path of a secret: below "data" or "metadata", or below "" for version 1.
func (s *store) at(what, secret string) string {
	parts := strings.Split(secret, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	path := strings.Join(parts, "/")
	if what != "" {
		path = what + "/" + path
	}
	return s.mount + "/" + path
}

// data returns the API path for reading a secret.
func (s *store) data(secret string) string {
	return s.at(map[int]string{1: "", 2: "data"}[s.version], secret)
}

// put writes the next version of a secret.
func (s *store) put(secret, document string) {
	s.t.Helper()
	var body any = json.RawMessage(document)
	if s.version == 2 {
		body = map[string]any{"data": body}
	}
	s.server.Must(s.t, http.MethodPost, s.data(secret), body)
}

// do changes versions of a secret: delete, undelete or destroy.
func (s *store) do(what, secret string, versions ...int) {
	s.t.Helper()
	s.server.Must(s.t, http.MethodPost, s.at(what, secret), map[string]any{"versions": versions})
}

// backend returns a backend for the mount with the root token, unless opts set another.
func (s *store) backend(opts ...vault.Option) *vault.Backend {
	s.t.Helper()
	return s.backendAt(s.server.Addr, vault.WithToken(s.server.RootToken), opts...)
}

// backendAs returns a backend for the mount with the login auth.
func (s *store) backendAs(auth vault.Option, opts ...vault.Option) *vault.Backend {
	s.t.Helper()
	return s.backendAt(s.server.Addr, auth, opts...)
}

// backendAt returns a backend for the mount with the server at address, such as a recorder.
func (s *store) backendAt(address string, auth vault.Option, opts ...vault.Option) *vault.Backend {
	s.t.Helper()
	return open(s.t, address, slices.Concat([]vault.Option{auth, vault.WithMount(s.mount)}, opts)...)
}

// readable is a policy for all secrets of the mount.
func (s *store) readable() string {
	return `path "` + s.mount + `/*" { capabilities = ["read"] }`
}

// whole returns the key of a whole secret.
func whole(secret string) string { return secrets.Ref{Path: secret, Whole: true}.String() }

// A reading collects the results of readers while a test changes their server.
type reading struct {
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	reads    int
	stale    int
	failures []error
}

// read calls f until stop, with a pause between calls. f returns whether its value was stale.
func (r *reading) read(ctx context.Context, pause time.Duration, f func(ctx context.Context) (stale bool, err error)) {
	r.running.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			stale, err := f(context.WithoutCancel(ctx))
			r.note(stale, err)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

func (r *reading) note(stale bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	if stale {
		r.stale++
	}
	if err != nil {
		r.failures = append(r.failures, err)
	}
}

// count returns the figures so far.
func (r *reading) count() (reads, stale, failures int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads, r.stale, len(r.failures)
}

// stop ends the reading and returns the failures.
func (r *reading) stop() []error {
	r.cancel()
	r.running.Wait()
	return r.failures
}

// keepReading reads key with c on several goroutines until it is stopped. Each pauses after each read.
func keepReading(t testing.TB, c *secrets.Client, readers int, pause time.Duration, key string) *reading {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &reading{cancel: cancel}
	t.Cleanup(func() { r.stop() })
	for range readers {
		r.read(ctx, pause, func(ctx context.Context) (bool, error) {
			s, err := c.Get(ctx, key)
			return s.Meta().Stale, err
		})
	}
	return r
}

// goOn waits while the readers read for that long.
func (r *reading) goOn(t testing.TB, d time.Duration) {
	t.Helper()
	before, _, _ := r.count()
	began := time.Now()
	eventually(t, "readers read on", func() bool {
		reads, _, _ := r.count()
		return time.Since(began) >= d && reads > before
	})
}

package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/matryer/is"
)

// wire is a Vault server in memory, for synctest.
type wire struct {
	mu     sync.Mutex
	began  time.Time
	seen   []call
	issued int
	delay  time.Duration
	// answer returns the answer to a call, or status 0 for the default one. It is called with mu held.
	answer func(c call) (status int, body string)

	ttl       int
	renewable bool
	maxTTL    time.Duration
	logins    map[string]time.Time
}

type call struct {
	at    time.Duration // since the start
	verb  string
	path  string
	token string
	body  string

	namespace string
}

func newWire() *wire {
	return &wire{began: time.Now(), ttl: 60, renewable: true, logins: make(map[string]time.Time)}
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	c := call{verb: r.Method, path: r.URL.Path, token: r.Header.Get("X-Vault-Token"),
		namespace: r.Header.Get("X-Vault-Namespace")}
	if r.Body != nil {
		body, _ := io.ReadAll(r.Body)
		c.body = string(body)
	}
	w.mu.Lock()
	c.at = time.Since(w.began)
	w.seen = append(w.seen, c)
	delay := w.delay
	w.mu.Unlock()
	if !sleep(r.Context(), delay) {
		return nil, r.Context().Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	status, body := 0, ""
	if w.answer != nil {
		status, body = w.answer(c)
	}
	if status == 0 {
		status, body = w.usual(c)
	}
	if status < 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{
		StatusCode: status, Header: make(http.Header), Body: io.NopCloser(strings.NewReader(body)), Request: r,
		ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}

func (w *wire) usual(c call) (status int, body string) {
	switch c.path {
	case "/v1/auth/test/login":
		w.issued++
		token := fmt.Sprintf("token-canary-%04d", w.issued)
		w.logins[token] = time.Now()
		return http.StatusOK, authBody(token, w.ttl, w.renewable)
	case "/v1/auth/token/renew-self":
		ttl := w.ttl
		if w.maxTTL > 0 {
			left := w.maxTTL - time.Since(w.logins[c.token])
			ttl = min(ttl, int((left+time.Second-1)/time.Second)) // the server rounds up
		}
		return http.StatusOK, authBody(c.token, ttl, w.renewable)
	case "/v1/auth/token/revoke-self":
		return http.StatusNoContent, ""
	default:
		return http.StatusNotFound, `{"errors":[]}`
	}
}

func authBody(token string, ttl int, renewable bool) string {
	return fmt.Sprintf(`{"auth":{"client_token":%q,"lease_duration":%d,"renewable":%t}}`, token, ttl, renewable)
}

func (w *wire) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// calls returns the calls whose path ends in suffix.
func (w *wire) calls(suffix string) []call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.seen), func(c call) bool { return !strings.HasSuffix(c.path, suffix) })
}

// plainLogin logs in as the official methods do, with the client's convenience functions.
type plainLogin struct{}

func (plainLogin) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	return client.Logical().WriteWithContext(ctx, "auth/test/login", map[string]any{"secret_id": "secret-canary-7f3Kq9"})
}

type loginFunc func(ctx context.Context, client *api.Client) (*api.Secret, error)

func (f loginFunc) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	return f(ctx, client)
}

// endings records the serial numbers that are reported as ended.
type endings struct {
	mu      sync.Mutex
	serials []uint64
}

func (e *endings) add(serial uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.serials = append(e.serials, serial)
}

func (e *endings) all() []uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.serials)
}

// bubble runs f with a session that logs in to w with method.
func bubble(t *testing.T, method api.AuthMethod, f func(t *testing.T, is *is.I, w *wire, s *session, e *endings)) {
	t.Helper()
	for _, name := range []string{"VAULT_TOKEN", "VAULT_NAMESPACE", "VAULT_ADDR", "VAULT_AGENT_ADDR"} {
		t.Setenv(name, "")
	}
	synctest.Test(t, func(t *testing.T) {
		w, e := newWire(), &endings{}
		origin, _ := url.Parse("http://vault.test")
		config := api.DefaultConfig()
		config.HttpClient = &http.Client{Transport: w}
		server, err := newServer(config, origin, nil, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		s := newSession(server, method, e.add)
		defer func() { _ = s.close() }()
		f(t, is.New(t), w, s, e)
	})
}

func value(t token) string { return t.value.Reveal() }

func pause(d time.Duration) { <-time.After(d) }

// pass waits for d in the bubble, and for everything that happens by then.
func pass(d time.Duration) {
	pause(d)
	synctest.Wait()
}

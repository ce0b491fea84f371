package vault_test

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/secretstest/vaulttest"
)

// fakeToken is the only token that a fake accepts.
const fakeToken = "hvs.vaulttest-1"

// fake is a vaulttest server. A test can override the answers of single paths.
type fake struct {
	*httptest.Server
	vault  *vaulttest.Server
	client *http.Client // reaches the fake without a network, or nil

	mu       sync.Mutex
	special  map[string]http.HandlerFunc
	requests []string // method and path, with the query
}

func emptyFake() *fake {
	return &fake{vault: vaulttest.Unstarted(), special: make(map[string]http.HandlerFunc)}
}

func newFake(t testing.TB) *fake {
	t.Helper()
	f := emptyFake()
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// inMemory is newFake without a network, for synctest.
func inMemory(t testing.TB) *fake {
	t.Helper()
	f := emptyFake()
	f.Server = &httptest.Server{URL: "http://localhost"}
	f.client = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		resp := w.Result()
		resp.Request = r
		return resp, r.Context().Err()
	})}
	return f
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// put stores a new version of the document at path.
func (f *fake) put(path, document string) { f.vault.Put("secret/"+path, document) }

// version mounts the secrets as that version of KV.
func (f *fake) version(version int) { f.vault.Mount("secret", version) }

// handle makes h answer path, which follows /v1/.
func (f *fake) handle(path string, h http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.special[path] = h
}

// reply makes the fake answer path with status and body.
func (f *fake) reply(path string, status int, body string) {
	f.handle(path, func(w http.ResponseWriter, _ *http.Request) { respond(w, status, body) })
}

func respond(w http.ResponseWriter, status int, body string) {
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // the client may be gone
}

// seen returns the requests since the last call.
func (f *fake) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	requests := f.requests
	f.requests = nil
	return requests
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	f.mu.Lock()
	request := r.Method + " " + path
	if r.URL.RawQuery != "" {
		request += "?" + r.URL.RawQuery
	}
	f.requests = append(f.requests, request)
	special := f.special[path]
	f.mu.Unlock()
	if special != nil {
		special(w, r)
		return
	}
	f.vault.ServeHTTP(w, r)
}

// Bodies of Vault 1.21.0.
const (
	bodyMissing      = `{"errors":[]}`
	bodyMountMissing = `{"errors":["no handler for route \"nomount/data/x\". route entry not found."]}`
	bodyOtherVersion = `{"request_id":"8","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":null,` +
		`"warnings":["Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If ` +
		`using the Vault CLI, use 'vault kv get' for this operation."],"auth":null,"mount_type":""}`
	bodyDeleted = `{"request_id":"8","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":null,` +
		`"metadata":{"created_time":"2026-11-24T02:41:16.41092911Z","custom_metadata":null,` +
		`"deletion_time":"2026-11-24T02:41:16.421288153Z","destroyed":false,"version":2}},"wrap_info":null,"warnings":null,"auth":null,` +
		`"mount_type":"kv"}`
	bodyDestroyed = `{"data":{"data":null,"metadata":{"created_time":"2026-11-24T02:41:16.41092911Z","deletion_time":"",` +
		`"destroyed":true,"version":1}}}`
	bodyNull = `{"request_id":"8","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":null,` +
		`"metadata":{"created_time":"2026-11-28T06:44:27.789108352Z","custom_metadata":null,"deletion_time":"","destroyed":false,` +
		`"version":1}},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}`
	bodyOtherNamespace  = `{"errors":["error performing token check: failed to look up namespace from the token: no namespace"]}`
	bodyDenied          = `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`
	bodyInvalidToken    = `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`
	bodyNoToken         = `{"errors":["permission denied"]}`
	bodyPreflightDenied = `{"errors":["preflight capability check returned 403, please ensure client's policies grant access to path ` +
		`\"secret/\""]}`
	bodySealed    = `{"errors":["Vault is sealed"]}`
	bodyQuota     = `{"errors":["request path \"secret/data/app/db\": rate limit quota exceeded"]}`
	bodyUpgrading = `{"errors":["Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief ` +
		`period and will resume service shortly."]}`
	bodyBadVersion = `{"errors":["Field validation failed: error converting input for field \"version\": strconv.ParseInt"]}`
	bodyWrapped    = `{"request_id":"","lease_id":"","renewable":false,"lease_duration":0,"data":null,` +
		`"wrap_info":{"token":"hvs.wrapping","accessor":"a","ttl":60,"creation_time":"2026-11-24T02:41:16Z",` +
		`"creation_path":"secret/data/x"},"warnings":null,"auth":null}`
)

// backend returns a backend for f with its token.
func (f *fake) backend(t testing.TB, opts ...vault.Option) *vault.Backend {
	t.Helper()
	opts = slices.Concat([]vault.Option{
		vault.WithAddress(f.URL), vault.WithToken(fakeToken), vault.WithLookup(noEnvironment),
		vault.WithMaxPause(time.Millisecond),
	}, opts)
	if f.client != nil {
		opts = append(opts, vault.WithHTTPClient(f.client))
	}
	b, err := vault.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() }) // the tests of Close check its error
	return b
}

func noEnvironment(string) (string, bool) { return "", false }

// client returns a client for b.
func client(t testing.TB, b secrets.Backend, opts ...secrets.Option) *secrets.Client {
	t.Helper()
	c, err := secrets.New(b, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the tests of Close check its error
	return c
}

// quoted returns s as a JSON string.
func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// certificate returns the certificate of s as PEM.
func certificate(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

const (
	patience = 30 * time.Second // milliseconds on an idle machine
	blink    = 10 * time.Millisecond
)

// eventually waits until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	within(t, patience, what, ok)
}

// within waits until ok returns true, and returns how long that took. More than limit ends the test.
func within(t testing.TB, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(blink)
	defer tick.Stop()
	for !ok() {
		if time.Since(began) > limit {
			t.Fatalf("after %v, not yet so: %s", limit, what)
		}
		<-tick.C
	}
	return time.Since(began)
}

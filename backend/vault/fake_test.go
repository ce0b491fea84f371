package vault_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
)

// fakeToken is the one token that a fake takes.
const fakeToken = "hvs.fake-token-of-the-tests"

// fake answers as Vault 1.21 does: its texts are those of the real server, which the integration tests speak to.
type fake struct {
	*httptest.Server
	client *http.Client // to speak to it without a network, or nil

	mu       sync.Mutex
	kv       map[string]*engine // by mount
	special  map[string]http.HandlerFunc
	requests []string // method and path, with the query
	tokens   map[string]bool
}

// engine is a KV secrets engine.
type engine struct {
	version int
	values  map[string][]string // the versions of each document, the latest last; "" was deleted
}

func emptyFake() *fake {
	return &fake{
		kv:      map[string]*engine{"secret": {version: 2, values: make(map[string][]string)}},
		special: make(map[string]http.HandlerFunc),
		tokens:  make(map[string]bool),
	}
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

// put stores another version of the document at path.
func (f *fake) put(path, document string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.kv["secret"]
	e.values[path] = append(e.values[path], document)
}

// handle has h answer the path, which begins behind /v1/.
func (f *fake) handle(path string, h http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.special[path] = h
}

// reply has the path answered with status and body.
func (f *fake) reply(path string, status int, body string) {
	f.handle(path, func(w http.ResponseWriter, _ *http.Request) { respond(w, status, body) })
}

func respond(w http.ResponseWriter, status int, body string) {
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // a client that has gone is the test's wish
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
	f.tokens[r.Header.Get("X-Vault-Token")] = true
	special := f.special[path]
	f.mu.Unlock()
	switch {
	case special != nil:
		special(w, r)
	case r.Header.Get("X-Vault-Token") == "":
		respond(w, http.StatusForbidden, `{"errors":["permission denied"]}`)
	case r.Header.Get("X-Vault-Token") != fakeToken:
		respond(w, http.StatusForbidden, bodyInvalidToken)
	default:
		f.answer(w, r, path)
	}
}

func (f *fake) answer(w http.ResponseWriter, r *http.Request, path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if mount, ok := strings.CutPrefix(path, "sys/internal/ui/mounts/"); ok {
		for name, e := range f.kv {
			if mount == name || strings.HasPrefix(mount, name+"/") {
				respond(w, http.StatusOK, fmt.Sprintf(`{"data":{"path":%q,"type":"kv","options":{"version":"%d"}}}`, name+"/", e.version))
				return
			}
		}
		respond(w, http.StatusForbidden, bodyPreflightDenied)
		return
	}
	for name, e := range f.kv {
		if rest, ok := strings.CutPrefix(path, name+"/"); ok {
			e.answer(w, r, rest)
			return
		}
	}
	route := quoted(fmt.Sprintf("no handler for route %q. route entry not found.", path))
	respond(w, http.StatusNotFound, `{"errors":[`+route+`]}`)
}

func (e *engine) answer(w http.ResponseWriter, r *http.Request, path string) {
	if e.version == 1 {
		if versions := e.values[path]; len(versions) > 0 {
			respond(w, http.StatusOK,
				`{"lease_id":"","renewable":false,"lease_duration":2764800,"data":`+versions[len(versions)-1]+`,"wrap_info":null}`)
			return
		}
		respond(w, http.StatusNotFound, bodyMissing)
		return
	}
	path, ok := strings.CutPrefix(path, "data/")
	if !ok && path == "config" {
		respond(w, http.StatusOK, bodyConfig)
		return
	}
	if !ok {
		respond(w, http.StatusNotFound, bodyOtherVersion)
		return
	}
	versions := e.values[path]
	n := len(versions)
	if q := r.URL.Query().Get("version"); q != "" {
		if v, err := strconv.Atoi(q); err != nil || v > n {
			n = 0
		} else if v > 0 { // as the real one does
			n = v
		}
	}
	switch {
	case n == 0:
		respond(w, http.StatusNotFound, bodyMissing)
	case versions[n-1] == "":
		respond(w, http.StatusNotFound, strings.Replace(bodyDeleted, `"version":2`, fmt.Sprintf(`"version":%d`, n), 1))
	default:
		respond(w, http.StatusOK,
			fmt.Sprintf(`{"lease_id":"","renewable":false,"lease_duration":0,"data":{"data":%s,"metadata":{"version":%d,"destroyed":false,`+
				`"deletion_time":""}},"wrap_info":null,"mount_type":"kv"}`,
				versions[n-1], n))
	}
}

// Bodies of Vault 1.21.0.
const (
	bodyMissing      = `{"errors":[]}`
	bodyMountMissing = `{"errors":["no handler for route \"nomount/data/x\". route entry not found."]}`
	bodyOtherVersion = `{"request_id":"8","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":null,` +
		`"warnings":["Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If ` +
		`using the Vault CLI, use 'vault kv get' for this operation."],"auth":null,"mount_type":""}`
	bodyConfig = `{"request_id":"8","lease_id":"","renewable":false,"lease_duration":0,"data":{"cas_required":false,` +
		`"delete_version_after":"0s","max_versions":0},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}`
	bodyDeleted = `{"request_id":"8","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":null,` +
		`"metadata":{"created_time":"2026-11-24T02:41:16.41092911Z","custom_metadata":null,` +
		`"deletion_time":"2026-11-24T02:41:16.421288153Z","destroyed":false,"version":2}},"wrap_info":null,"warnings":null,"auth":null,` +
		`"mount_type":"kv"}`
	bodyDestroyed = `{"data":{"data":null,"metadata":{"created_time":"2026-11-24T02:41:16.41092911Z","deletion_time":"",` +
		`"destroyed":true,"version":1}}}`
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
	t.Cleanup(func() { _ = b.Close() }) // the tests of Close look at its error
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
	t.Cleanup(func() { _ = c.Close() }) // the tests of Close look at its error
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

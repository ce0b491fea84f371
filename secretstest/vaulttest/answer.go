package vaulttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Answers of Vault 1.21.0.
const (
	missing      = `{"errors":[]}`
	denied       = `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`
	anonymous    = `{"errors":["permission denied"]}`
	invalid      = `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`
	sealed       = `{"errors":["Vault is sealed"]}`
	notMounted   = "preflight capability check returned 403, please ensure client's policies grant access to path %q"
	otherVersion = `{"request_id":"1","lease_id":"","renewable":false,"lease_duration":0,"data":null,"wrap_info":null,` +
		`"warnings":["Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If ` +
		`using the Vault CLI, use 'vault kv get' for this operation."],"auth":null,"mount_type":""}`
	settings = `{"cas_required":false,"delete_version_after":"0s","max_versions":0}`
)

// defaultLease is the lease_duration of every KV v1 secret, in seconds: 32 days.
const defaultLease = 2764800

const loginTTL = 3600 // seconds

// ServeHTTP answers a request as Vault does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, body := s.answerAndCount(r)
	if strings.HasPrefix(body, "{") {
		w.Header().Set("Content-Type", "application/json")
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) //nolint:gosec // JSON, for a test; the client may have left
}

func (s *Server) answerAndCount(r *http.Request) (status int, body string) {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	s.mu.Lock()
	defer s.mu.Unlock()
	name := s.secretAt(path)
	if name != "" {
		s.counts[name]++
	}
	return s.answer(r, path, name)
}

// secretAt returns the secret at an API path, such as "secret/database", or "".
func (s *Server) secretAt(path string) string {
	at, rest, m := s.split(path)
	if m == nil {
		return ""
	}
	if m.version == 2 {
		name, ok := strings.CutPrefix(rest, "data/")
		if !ok {
			return ""
		}
		rest = name
	}
	if rest == "" {
		return ""
	}
	return at + "/" + rest
}

// answer answers a request for path. secret is the secret at path, or "". s.mu must be held.
func (s *Server) answer(r *http.Request, path, secret string) (status int, body string) {
	token := r.Header.Get("X-Vault-Token")
	isLogin := strings.HasPrefix(path, "auth/") && strings.HasSuffix(path, "/login") && r.Method != http.MethodGet
	switch {
	case s.failure != 0:
		return s.failure, "<html><body>" + http.StatusText(s.failure) + "</body></html>"
	case s.sealed:
		return http.StatusServiceUnavailable, sealed
	case isLogin:
		return http.StatusOK, login(s.issue())
	case token == "":
		return http.StatusForbidden, anonymous
	case !s.tokens[token]:
		return http.StatusForbidden, invalid
	case strings.HasPrefix(path, "auth/token/"):
		return s.ofToken(r, token, strings.TrimPrefix(path, "auth/token/"))
	case r.Method != http.MethodGet:
		return http.StatusMethodNotAllowed, errorsOf("1 error occurred:\n\t* unsupported operation\n\n")
	case strings.HasPrefix(path, "sys/internal/ui/mounts/"):
		return s.mounted(strings.TrimPrefix(path, "sys/internal/ui/mounts/"))
	case s.denied[secret]:
		return http.StatusForbidden, denied
	}
	if _, rest, m := s.split(path); m != nil {
		return m.read(r, rest)
	}
	return http.StatusNotFound, errorsOf(fmt.Sprintf("no handler for route %q. route entry not found.", path))
}

// ofToken answers the requests that a token may make about itself.
func (s *Server) ofToken(r *http.Request, token, what string) (status int, body string) {
	switch {
	case what == "lookup-self" && r.Method == http.MethodGet:
		return http.StatusOK, envelope(0, `{"id":`+quote(token)+`,"policies":["default"],"ttl":3600,"type":"service"}`)
	case what == "renew-self":
		return http.StatusOK, login(token)
	case what == "revoke-self":
		delete(s.tokens, token)
		return http.StatusNoContent, ""
	default:
		return http.StatusForbidden, denied
	}
}

func login(token string) string {
	return fmt.Sprintf(`{"lease_id":"","data":null,"auth":{"client_token":%s,"policies":["default"],"lease_duration":%d,"renewable":true}}`,
		quote(token), loginTTL)
}

// mounted answers with the KV version of the mount of path.
func (s *Server) mounted(path string) (status int, body string) {
	at, _, m := s.split(path)
	if m == nil {
		return http.StatusForbidden, errorsOf(fmt.Sprintf(notMounted, path+"/"))
	}
	return http.StatusOK, envelope(0, fmt.Sprintf(`{"path":%s,"type":"kv","options":{"version":"%d"}}`, quote(at+"/"), m.version))
}

func (m *mount) read(r *http.Request, path string) (status int, body string) {
	if m.version == 1 {
		versions := m.secrets[path]
		if len(versions) == 0 || versions[len(versions)-1].object == "" {
			return http.StatusNotFound, missing
		}
		return http.StatusOK, envelope(defaultLease, versions[len(versions)-1].object)
	}
	name, ok := strings.CutPrefix(path, "data/")
	switch {
	case path == "config":
		return http.StatusOK, envelope(0, settings)
	case !ok:
		return http.StatusNotFound, otherVersion
	}
	versions := m.secrets[name]
	n := len(versions)
	if q := r.URL.Query().Get("version"); q != "" {
		v, err := strconv.Atoi(q)
		switch {
		case err != nil:
			return http.StatusBadRequest, errorsOf(`Field validation failed: error converting input for field "version"`)
		case v > n:
			n = 0
		case v > 0: // 0 and negative numbers mean the latest
			n = v
		}
	}
	switch {
	case n == 0:
		return http.StatusNotFound, missing
	case versions[n-1].object == "":
		return http.StatusNotFound, envelope(0, version("null", n, versions[n-1].created, "2026-11-24T02:41:16.421288153Z"))
	default:
		return http.StatusOK, envelope(0, version(versions[n-1].object, n, versions[n-1].created, ""))
	}
}

func version(data string, n int, created time.Time, deleted string) string {
	return fmt.Sprintf(`{"data":%s,"metadata":{"created_time":%q,"custom_metadata":null,`+
		`"deletion_time":%q,"destroyed":false,"version":%d}}`, data, created.UTC().Format(time.RFC3339Nano), deleted, n)
}

func envelope(lease int, data string) string {
	return fmt.Sprintf(`{"request_id":"1","lease_id":"","renewable":false,"lease_duration":%d,"data":%s,"wrap_info":null,"warnings":null,`+
		`"auth":null,"mount_type":"kv"}`, lease, data)
}

func errorsOf(text string) string { return `{"errors":[` + quote(text) + `]}` }

// quote returns text as a JSON string.
func quote(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // it never fails for a string
	}
	return string(quoted)
}

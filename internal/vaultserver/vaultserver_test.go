//go:build vault

package vaultserver_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets/internal/vaultserver"
)

// A testing.TB is a TB.
var _ vaultserver.TB = testing.TB(nil)

var shared vaultserver.Shared // for tests that do not change it

func TestMain(m *testing.M) { goleak.VerifyTestMain(shared.Main(m)) }

// secret is the body of a write to KV v2.
func secret(value string) map[string]any {
	return map[string]any{"data": map[string]any{"password": value}}
}

// password returns the password in the answer to a read of KV v2.
func password(answer map[string]any) any {
	data, _ := answer["data"].(map[string]any)
	data, _ = data["data"].(map[string]any)
	return data["password"]
}

// get sends a request as a client under test would, on its own connection.
func get(ctx context.Context, url, token string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("X-Vault-Token", token)
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), err
}

func TestReadAndWrite(t *testing.T) {
	is := is.New(t)
	server := shared.Get(t)
	is.Equal(shared.Get(t), server) // the same server

	server.Must(t, "POST", "secret/data/read-and-write", secret("hunter2"))
	status, answer := server.Do(t, "GET", "secret/data/read-and-write", nil)
	is.Equal(status, http.StatusOK)
	is.Equal(password(answer), "hunter2")

	status, answer = server.Do(t, "GET", "secret/data/nothing", nil)
	is.Equal(status, http.StatusNotFound)
	is.Equal(answer, map[string]any{"errors": []any{}})
	status, answer = server.Do(t, "DELETE", "secret/metadata/read-and-write", nil)
	is.Equal(status, http.StatusNoContent)
	is.Equal(answer, nil) // an empty answer is nil

	status, _ = server.DoAs(t, "", "GET", "secret/data/read-and-write", nil)
	is.Equal(status, http.StatusForbidden) // without a token
}

func TestToken(t *testing.T) {
	is := is.New(t)
	server := shared.Get(t)
	token := server.Token(t, `path "secret/data/allowed/*" { capabilities = ["read"] }`,
		map[string]any{"num_uses": 2, "no_default_policy": true})
	status, _ := server.DoAs(t, token, "GET", "secret/data/allowed/x", nil)
	is.Equal(status, http.StatusNotFound)
	status, _ = server.DoAs(t, token, "GET", "secret/data/other", nil)
	is.Equal(status, http.StatusForbidden)
	status, answer := server.DoAs(t, token, "GET", "secret/data/allowed/x", nil)
	is.Equal(status, http.StatusForbidden) // used up
	is.True(strings.Contains(fmt.Sprint(answer["errors"]), "invalid token"))
}

func TestSeal(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	server := vaultserver.Start(t)
	server.Must(t, "POST", "secret/data/app", secret("hunter2"))
	for range 2 {
		server.Seal(t)
		status, answer := server.Do(t, "GET", "secret/data/app", nil)
		is.Equal(status, http.StatusServiceUnavailable)
		is.Equal(answer, map[string]any{"errors": []any{"Vault is sealed"}})

		server.Unseal(t)
		is.Equal(password(server.Must(t, "GET", "secret/data/app", nil)), "hunter2")
	}
}

func TestStopAndRestart(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	server := vaultserver.Start(t)
	server.Must(t, "POST", "secret/data/app", secret("hunter2"))
	token, addr := server.RootToken, server.Addr

	server.Stop()
	server.Stop() // a second Stop does nothing
	_, _, err := get(t.Context(), server.Addr+"/v1/sys/health", "")
	is.True(err != nil) // refused

	server.Restart(t)
	is.Equal(server.Addr, addr)
	is.Equal(server.RootToken, token)
	status, _ := server.Do(t, "GET", "secret/data/app", nil)
	is.Equal(status, http.StatusNotFound) // the secret is lost, the token is valid

	server.Restart(t) // also stops a running server
	server.Seal(t)
	server.Unseal(t) // with the key of this start
}

func TestTLS(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	server := vaultserver.Start(t, vaultserver.WithTLS())
	is.True(strings.HasPrefix(server.Addr, "https://127.0.0.1:"))

	// The CA in the file is sufficient and necessary.
	pem, err := os.ReadFile(server.CACert)
	is.NoErr(err)
	pool := x509.NewCertPool()
	is.True(pool.AppendCertsFromPEM(pem))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.Addr+"/v1/sys/health", nil)
	is.NoErr(err)
	response, err := transport.RoundTrip(request)
	is.NoErr(err)
	is.NoErr(response.Body.Close())
	is.Equal(response.StatusCode, http.StatusOK)
	_, _, err = get(t.Context(), server.Addr+"/v1/sys/health", "")
	var unknown x509.UnknownAuthorityError
	is.True(errors.As(err, &unknown))

	// A recorder and the harness work after a restart, which creates another CA.
	recorder := server.Record(t)
	server.Restart(t)
	again, err := os.ReadFile(server.CACert)
	is.NoErr(err)
	is.True(string(again) != string(pem))
	server.Must(t, "POST", "secret/data/app", secret("hunter2"))
	status, body, err := get(t.Context(), recorder.Addr+"/v1/secret/data/app", server.RootToken)
	is.NoErr(err)
	is.Equal(status, http.StatusOK)
	is.True(strings.Contains(body, "hunter2"))
}

func TestKVv1(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	server := vaultserver.Start(t, vaultserver.WithKVv1())
	server.Must(t, "POST", "secret/app", map[string]any{"password": "hunter2"})
	answer := server.Must(t, "GET", "secret/app", nil)
	is.Equal(answer["data"], map[string]any{"password": "hunter2"})
}

func TestTwoServers(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	servers := []*vaultserver.Server{vaultserver.Start(t), vaultserver.Start(t)}
	for i, server := range servers {
		server.Must(t, "POST", "secret/data/app", secret(fmt.Sprint("value ", i)))
	}
	for i, server := range servers {
		is.Equal(password(server.Must(t, "GET", "secret/data/app", nil)), fmt.Sprint("value ", i))
	}
	status, _ := servers[0].DoAs(t, servers[1].RootToken, "GET", "secret/data/app", nil)
	is.Equal(status, http.StatusForbidden) // the other server rejects the token
	servers[0].Stop()
	servers[1].Must(t, "GET", "secret/data/app", nil)
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	server := vaultserver.Start(t)
	server.Must(t, "POST", "secret/data/app", secret("hunter2"))
	recorder := server.Record(t)
	url := recorder.Addr + "/v1/secret/data/app"

	status, body, err := get(t.Context(), url+"?version=1", server.RootToken)
	is.NoErr(err)
	is.Equal(status, http.StatusOK)
	is.True(strings.Contains(body, "hunter2"))
	status, _, err = get(t.Context(), url, "wrong")
	is.NoErr(err)
	is.Equal(status, http.StatusForbidden)

	requests := recorder.Requests()
	is.Equal(len(requests), 2)
	is.Equal(requests[0].Method, "GET")
	is.Equal(requests[0].Path, "/v1/secret/data/app")
	is.Equal(requests[0].Query, "version=1")
	is.Equal(requests[0].Token, server.RootToken)
	is.Equal(requests[0].Status, http.StatusOK)
	is.Equal(requests[1].Token, "wrong")
	is.Equal(requests[1].Status, http.StatusForbidden)
	is.Equal(recorder.Count("GET", "/v1/secret/"), 2)
	is.Equal(recorder.Count("", ""), 2)
	is.Equal(recorder.Count("POST", ""), 0)
	is.Equal(recorder.Count("", "/v1/sys/"), 0)
	is.Equal(recorder.Connections(), 2)
	is.True(recorder.Saw(server.RootToken))
	is.True(recorder.Saw("version=1"))
	is.True(!recorder.Saw("another token"))

	// Intercepted requests get the recorder's answer; others are forwarded unchanged.
	recorder.Reset()
	recorder.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.RawQuery == "" {
			return false
		}
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "<html>")
		return true
	})
	status, body, err = get(t.Context(), url+"?version=1", server.RootToken)
	is.NoErr(err)
	is.Equal(status, http.StatusBadGateway)
	is.Equal(body, "<html>")
	status, _, err = get(t.Context(), url, server.RootToken)
	is.NoErr(err)
	is.Equal(status, http.StatusOK)
	is.Equal(recorder.Requests()[0].Status, http.StatusBadGateway)
	is.Equal(recorder.Count("", ""), 2)
	recorder.Intercept(nil)

	// Unanswered requests are recorded with status 0.
	recorder.Reset()
	server.Stop()
	_, _, err = get(t.Context(), url, server.RootToken)
	is.True(errors.Is(err, io.EOF)) // cut
	is.Equal(len(recorder.Requests()), 1)
	is.Equal(recorder.Requests()[0].Status, 0)
}

// A recorder in front of a handler represents another host, and shows whether that saw a token.
func TestRecorderOfAnotherHost(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	other := vaultserver.NewRecorder(t, http.NotFoundHandler())
	is.True(!other.Saw(""))
	status, _, err := get(t.Context(), other.Addr+"/v1/x", "a token")
	is.NoErr(err)
	is.Equal(status, http.StatusNotFound)
	is.True(other.Saw("a token"))
}

func TestBlackHole(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	hole := vaultserver.NewBlackHole(t)
	const longEnough = 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	_, _, err := get(ctx, hole.Addr, "")
	is.True(errors.Is(err, context.DeadlineExceeded))
	is.Equal(hole.Connections(), 1)
}

// fatal is a TB that records Fatalf instead of failing.
type fatal struct {
	testing.TB

	text string
}

func (f *fatal) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// told returns the text by which f ends its test.
func told(t *testing.T, f func(t vaultserver.TB)) string {
	t.Helper()
	test, done := &fatal{TB: t}, make(chan struct{})
	go func() {
		defer close(done)
		f(test)
	}()
	<-done
	return test.text
}

func TestFatal(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	server := vaultserver.Start(t)
	is.True(strings.Contains(told(t, func(t vaultserver.TB) { server.Must(t, "GET", "secret/data/nothing", nil) }), "404"))
	is.Equal(told(t, func(t vaultserver.TB) { server.Must(t, "GET", "secret/config", nil) }), "")

	server.Stop()
	is.True(strings.Contains(told(t, func(t vaultserver.TB) { server.Do(t, "GET", "secret/config", nil) }), "GET secret/config"))
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", strings.TrimPrefix(server.Addr, "http://"))
	is.NoErr(err)
	defer listener.Close()
	is.True(strings.Contains(told(t, server.Restart), "the port was taken by another process"))
	is.NoErr(listener.Close())
	server.Restart(t) // a start works after a failed one
}

// A server that does not start is an error at once, with the end of its log.
func TestNoServer(t *testing.T) {
	is := is.New(t)
	start := time.Now()
	_, err := vaultserver.New(vaultserver.WithFlags("-no-such-flag"))
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "no-such-flag"))
	is.True(time.Since(start) < 30*time.Second) // does not wait for the timeout

	t.Setenv("VAULT_TEST_BINARY", filepath.Join(t.TempDir(), "none"))
	_, err = vaultserver.New()
	is.True(errors.Is(err, os.ErrNotExist))
}

// A stopped server leaves no process, goroutine or file.
func TestNothingIsLeft(t *testing.T) {
	is := is.New(t)
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	ignore := goleak.IgnoreCurrent()
	server, err := vaultserver.New()
	is.NoErr(err)
	is.True(goleak.Find(ignore) != nil) // the control: a goroutine waits for the process
	server.Close()
	server.Close()
	is.NoErr(goleak.Find(ignore))
	files, err := os.ReadDir(temporary)
	is.NoErr(err)
	is.Equal(len(files), 0)
}

package vaultserver

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const headerTimeout = time.Minute // More than any client under test needs.

// A Request is what a [Recorder] received.
type Request struct {
	Method string
	Path   string // such as "/v1/secret/data/app"
	Query  string // such as "version=1"
	Token  string // the header X-Vault-Token
	Header http.Header
	Body   string
	Status int // of the answer; 0 before it, and if the connection was cut instead
}

// A Recorder is a loopback server that records requests and forwards them to a Vault server, or to a handler that represents another host.
// It speaks plain HTTP. Its methods are safe for concurrent use.
type Recorder struct {
	Addr string // such as http://127.0.0.1:8200

	next http.Handler

	mu          sync.Mutex
	requests    []*Request
	connections int
	intercept   func(w http.ResponseWriter, r *http.Request) bool
}

// Record starts a recorder in front of the server, until t ends. If the server refuses a connection, the recorder cuts the client's. While
// the server is frozen, the recorder does not answer.
func (s *Server) Record(t TB) *Recorder {
	t.Helper()
	return NewRecorder(t, &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			target, err := url.Parse(s.Addr)
			if err != nil {
				panic(err) // cannot happen: Addr is valid
			}
			r.SetURL(target)
		},
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			return s.client.Load().Transport.RoundTrip(r)
		}),
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(io.Discard, "", 0),
	})
}

type roundTripper func(r *http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// NewRecorder starts a recorder in front of a handler, until t ends. The handler must return when the context of its request ends.
func NewRecorder(t TB, next http.Handler) *Recorder {
	t.Helper()
	listener, err := listen()
	if err != nil {
		t.Fatalf("%v", err)
	}
	r := &Recorder{Addr: "http://" + listener.Addr().String(), next: next}
	server := &http.Server{
		Handler:           r,
		ReadHeaderTimeout: headerTimeout,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				r.connected()
			}
		},
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		// Close ends all connections, and with them the contexts of their requests.
		_ = server.Close() // Serve returns the error
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Logf("vaultserver: the recorder at %s: %v", r.Addr, err)
		}
	})
	return r
}

// ServeHTTP records the request and forwards it.
func (r *Recorder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(io.LimitReader(request.Body, maxAnswer))
	if err != nil {
		panic(http.ErrAbortHandler) // The client has left.
	}
	request.Body = io.NopCloser(bytes.NewReader(body))
	record := &Request{
		Method: request.Method, Path: request.URL.Path, Query: request.URL.RawQuery,
		Token: request.Header.Get("X-Vault-Token"), Header: request.Header.Clone(), Body: string(body),
	}
	r.mu.Lock()
	r.requests = append(r.requests, record)
	intercept := r.intercept
	r.mu.Unlock()

	w = &statusWriter{ResponseWriter: w, wrote: func(status int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		record.Status = status
	}}
	if intercept != nil && intercept(w, request) {
		return
	}
	r.next.ServeHTTP(w, request)
}

// Intercept makes f answer requests, for answers that a real server does not give on demand. A request for which f returns false is
// forwarded. A nil f ends the interception.
func (r *Recorder) Intercept(f func(w http.ResponseWriter, r *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.intercept = f
}

// Requests returns the requests since the start or the last [Recorder.Reset], in order, answered or not.
func (r *Recorder) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	requests := make([]Request, len(r.requests))
	for i, request := range r.requests {
		requests[i] = *request
	}
	return requests
}

// Count returns the number of [Recorder.Requests] with the method ("": any) and a path that begins with prefix.
func (r *Recorder) Count(method, prefix string) int {
	n := 0
	for _, request := range r.Requests() {
		if (method == "" || request.Method == method) && strings.HasPrefix(request.Path, prefix) {
			n++
		}
	}
	return n
}

// Saw reports whether text, such as a token, is in any of [Recorder.Requests]: in a URL, a header or a body.
func (r *Recorder) Saw(text string) bool {
	for _, request := range r.Requests() {
		if strings.Contains(request.Path, text) || strings.Contains(request.Query, text) || strings.Contains(request.Body, text) {
			return true
		}
		for name, values := range request.Header {
			if strings.Contains(name, text) || slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, text) }) {
				return true
			}
		}
	}
	return false
}

// Connections returns the number of accepted connections since the start or the last [Recorder.Reset].
func (r *Recorder) Connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.connections
}

// Reset clears the records.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests, r.connections = nil, 0
}

func (r *Recorder) connected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connections++
}

// statusWriter reports the status of a handler's answer.
type statusWriter struct {
	http.ResponseWriter

	wrote  func(status int)
	headed bool
}

func (w *statusWriter) WriteHeader(status int) {
	w.headed = true
	w.wrote(status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if !w.headed {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController flush.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

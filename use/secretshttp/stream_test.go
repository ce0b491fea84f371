package secretshttp_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/use/secretshttp"
)

// big is more than the buffers of a connection hold: the server refuses it while it is sent.
const big = 8 << 20

// TestRefusedUploadIsRepeated sends a body that the server refuses before it has read it.
func TestRefusedUploadIsRepeated(t *testing.T) {
	for _, tc := range []struct {
		name   string
		http2  bool
		expect bool
	}{
		{"HTTP/1.1", false, false},
		{"HTTP/1.1 with Expect: 100-continue", false, true},
		{"HTTP/2", true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := is.New(t)
			backend, client, ours := rotated(t)
			b := base(t, ours)
			b.ForceAttemptHTTP2 = tc.http2
			b.ExpectContinueTimeout = 10 * time.Second
			c := &http.Client{Transport: secretshttp.Transport(b, client, "api", bearer, secretshttp.Hosts(ours.host()))}
			content := bytes.Repeat([]byte("x"), big)
			r := request(t, http.MethodPut, ours.URL, bytes.NewReader(content))
			if tc.expect {
				r.Header.Set("Expect", "100-continue")
			}
			resp, err := c.Do(r)
			is.NoErr(err)
			_, err = io.Copy(io.Discard, resp.Body)
			is.NoErr(err)
			is.NoErr(resp.Body.Close())
			is.Equal(resp.StatusCode, http.StatusOK)
			is.Equal(resp.ProtoMajor == 2, tc.http2)
			tokens, bodies, _ := ours.take()
			is.Equal(tokens, []string{first, second})
			is.Equal(len(bodies), 1)
			is.Equal(len(bodies[0]), big)
			is.Equal(backend.Calls(), 1)
		})
	}
}

// An endless upload is refused while it is sent: the caller gets the 401 at once, and the body is closed.
func TestRefusedStreamEnds(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		is := is.New(t)
		backend, client, ours := rotated(t)
		b := base(t, ours)
		b.ForceAttemptHTTP2 = http2
		c := &http.Client{Transport: secretshttp.Transport(b, client, "api", bearer, secretshttp.Hosts(ours.host()))}
		from, to := io.Pipe()
		written := make(chan error, 1)
		go func() {
			for {
				if _, err := to.Write(make([]byte, 64<<10)); err != nil {
					written <- err
					return
				}
			}
		}()
		resp, err := c.Do(request(t, http.MethodPut, ours.URL, from))
		is.NoErr(err)
		is.Equal(resp.StatusCode, http.StatusUnauthorized)
		is.NoErr(resp.Body.Close())
		is.Equal(<-written, io.ErrClosedPipe) // net/http has closed the reader
		is.Equal(backend.Calls(), 1)
	}
}

// A connection that has brought a short 401 is used again.
func TestRefusalCostsNoConnection(t *testing.T) {
	is := is.New(t)
	_, client, _ := rotated(t)
	var connections atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+second {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write(make([]byte, 1<<10))
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	b := new(http.Transport)
	defer b.CloseIdleConnections()
	c := &http.Client{Transport: secretshttp.Transport(b, client, "api", bearer, secretshttp.Hosts(s.URL))}
	status, _ := answer(t, c, request(t, http.MethodGet, s.URL, http.NoBody))
	is.Equal(status, http.StatusOK)
	is.Equal(connections.Load(), int64(1))
}

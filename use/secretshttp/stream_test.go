package secretshttp_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/use/secretshttp"
)

// big exceeds the buffers of a connection: the server refuses the body while it is sent.
const big = 8 << 20

// TestRefusedUploadIsRepeated sends a body that the server refuses before reading it.
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

// If an endless upload is refused, the caller gets the 401 at once, and the body is closed.
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

// A server may send the header of a 401 and then stall. The request is repeated at once, without the rest of the body.
func TestAStalledRefusalDoesNotDelayTheNextTry(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		for _, length := range []string{"", "3"} { // Content-Length: unknown, or short
			t.Run(fmt.Sprintf("HTTP/2 %v, length %q", http2, length), func(t *testing.T) {
				is := is.New(t)
				_, client, _ := rotated(t)
				s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Authorization") == "Bearer "+second {
						return
					}
					if length != "" {
						w.Header().Set("Content-Length", length)
					}
					w.WriteHeader(http.StatusUnauthorized)
					_, _ = io.WriteString(w, "no")
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done() // the client has closed the body, or the test has failed
				}))
				s.EnableHTTP2 = true
				s.StartTLS()
				defer s.Close()
				b := base(t, &server{Server: s})
				b.ForceAttemptHTTP2 = http2
				c := &http.Client{Transport: secretshttp.Transport(b, client, "api", bearer, secretshttp.Hosts(s.Listener.Addr().String()))}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // bounds a failing test
				defer cancel()
				resp, err := c.Do(request(t, http.MethodGet, s.URL, http.NoBody).WithContext(ctx))
				is.NoErr(err)
				is.NoErr(resp.Body.Close())
				is.Equal(resp.StatusCode, http.StatusOK)
				is.Equal(resp.ProtoMajor == 2, http2)
			})
		}
	}
}

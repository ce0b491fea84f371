package network_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/network"
)

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST": true, "127.0.0.1": true, "127.9.8.7": true, "::1": true,
		"": false, "localhost.example": false, "127.0.0.1.example": false, "10.0.0.1": false, "0.0.0.0": false, "::": false,
	} {
		is := is.New(t)
		is.Equal(network.Loopback(host), want) // host
	}
}

func TestReason(t *testing.T) {
	const canary = "canary-5d1e"
	at := func(err error) error {
		return fmt.Errorf("%s: %w", canary, &url.Error{Op: "Get", URL: "https://u:" + canary + "@x.example", Err: err})
	}
	for want, err := range map[string]error{
		"":                                 errors.New(canary),
		": its certificate is not trusted": &tls.CertificateVerificationError{Err: x509.HostnameError{Host: canary}},
		": it does not speak TLS; must its address begin with http://?": http.ErrSchemeMismatch,
		": its name cannot be resolved":                                 &net.DNSError{Name: canary, IsTimeout: true},
		": connection refused":                                          &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
		": it took too long":                                            context.DeadlineExceeded,
	} {
		is := is.New(t)
		is.Equal(network.Reason(at(err)), want)
	}
	is.New(t).Equal(network.Reason(tls.RecordHeaderError{Msg: canary}), ": it does not speak TLS; must its address begin with http://?")
}

// Refusal finds an alert of the other side only, not one of this side or another failure.
func TestRefusal(t *testing.T) {
	is := is.New(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
	server.StartTLS()
	defer server.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	is.NoErr(err)
	_, err = server.Client().Do(request) //nolint:bodyclose // there is none
	alert, ok := network.Refusal(err)
	is.True(ok)
	is.Equal(alert, uint8(116)) // certificate required
	is.Equal(network.Reason(err), ": it refused the TLS connection (alert 116)")
	for _, other := range []error{
		nil, errors.New("x"), &net.OpError{Op: "remote error", Err: errors.New("x")}, &net.OpError{Op: "local error", Err: tls.AlertError(40)},
	} {
		_, ok = network.Refusal(other)
		is.True(!ok)
	}
}

func TestBound(t *testing.T) {
	for size, fits := range map[int]bool{0: true, 9: true, 10: true, 11: false, 1 << 20: false} {
		for name, reader := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r },
			"bytewise": iotest.OneByteReader} {
			t.Run(fmt.Sprint(size, " ", name), func(t *testing.T) {
				is := is.New(t)
				body := network.Bound(io.NopCloser(reader(strings.NewReader(strings.Repeat("x", size)))), 10)
				got, err := io.ReadAll(body)
				is.Equal(err == nil, fits)
				is.Equal(errors.Is(err, network.ErrTooLarge), !fits)
				is.True(len(got) <= 11)
				is.NoErr(body.Close())
			})
		}
	}
}

// The largest limit allows everything.
func TestBoundOfTheLargestLimit(t *testing.T) {
	is := is.New(t)
	got, err := io.ReadAll(network.Bound(io.NopCloser(strings.NewReader("x")), math.MaxInt64))
	is.NoErr(err)
	is.Equal(string(got), "x")
}

func TestCloseDead(t *testing.T) {
	is := is.New(t)
	var fresh http.Transport
	network.CloseDead(&fresh)
	is.True(fresh.HTTP2.SendPingTimeout > 0)
	is.True(fresh.HTTP2.SendPingTimeout+fresh.HTTP2.PingTimeout <= 30*time.Second)
	theirs := &http.HTTP2Config{MaxReadFrameSize: 1 << 20}
	other := http.Transport{HTTP2: theirs}
	network.CloseDead(&other)
	is.Equal(other.HTTP2.MaxReadFrameSize, 1<<20)
	is.True(other.HTTP2.SendPingTimeout > 0)
	is.Equal(theirs.SendPingTimeout, 0*time.Second) // a shared configuration is not changed
	decided := http.Transport{HTTP2: &http.HTTP2Config{SendPingTimeout: time.Hour}}
	network.CloseDead(&decided)
	is.Equal(*decided.HTTP2, http.HTTP2Config{SendPingTimeout: time.Hour})
}

// An httptrace hook sees the request headers, unless the context is Untraced.
func TestUntraced(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	type mine struct{}
	for _, hidden := range []bool{false, true} {
		is := is.New(t)
		var seen []string
		ctx := httptrace.WithClientTrace(context.WithValue(t.Context(), mine{}, "x"), &httptrace.ClientTrace{
			WroteHeaderField: func(key string, _ []string) { seen = append(seen, key) },
		})
		if hidden {
			ctx = network.Untraced(ctx)
		}
		is.Equal(ctx.Value(mine{}), "x")
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, http.NoBody)
		is.NoErr(err)
		request.Header.Set("X-Vault-Token", "canary")
		response, err := server.Client().Do(request)
		is.NoErr(err)
		is.NoErr(response.Body.Close())
		is.Equal(slices.Contains(seen, "X-Vault-Token"), !hidden) // false: the control
		is.Equal(len(seen) > 0, !hidden)
	}
}

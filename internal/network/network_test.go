package network_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

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
		": it does not speak TLS; is its address to begin with http://?": http.ErrSchemeMismatch,
		": its name cannot be resolved":                                  &net.DNSError{Name: canary, IsTimeout: true},
		": connection refused":                                           &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED},
		": it took too long":                                             context.DeadlineExceeded,
	} {
		is := is.New(t)
		is.Equal(network.Reason(at(err)), want)
	}
	is.New(t).Equal(network.Reason(tls.RecordHeaderError{Msg: canary}), ": it does not speak TLS; is its address to begin with http://?")
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

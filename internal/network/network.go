// Package network has what backends on a network have in common: which host is this machine, how much of an answer is
// read, and what may be told of a failure. Errors of net/http and of TLS quote addresses and more.
package network

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"reflect"
	"strings"
	"syscall"
	"time"
)

// Loopback reports whether host, which has no port, is this machine.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// Reason returns what is known of a failure of the network, with a colon before it, or "".
func Reason(err error) string {
	var (
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
		name         *net.DNSError
		errno        syscall.Errno
		timeout      interface{ Timeout() bool }
	)
	alert, refused := Refusal(err)
	switch {
	case errors.As(err, &verification):
		return ": its certificate is not trusted"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return ": it does not speak TLS; is its address to begin with http://?"
	case refused:
		return fmt.Sprintf(": it refused the TLS connection (alert %d)", alert)
	case errors.As(err, &name):
		return ": its name cannot be resolved"
	case errors.As(err, &errno):
		return ": " + errno.Error()
	case errors.As(err, &timeout) && timeout.Timeout():
		return ": it took too long"
	default:
		return ""
	}
}

// Refusal returns the alert with which the other side has ended a TLS connection, as numbered in
// https://www.iana.org/assignments/tls-parameters/tls-parameters.xhtml#tls-parameters-6.
func Refusal(err error) (alert uint8, ok bool) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" { // so says crypto/tls, whose type of an alert is not exported
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return uint8(v.Uint()), true //nolint:gosec // it is one
}

// A connection of HTTP/2 on which nothing has come for pingAfter is pinged, and closed if nothing comes for pingTimeout more. Without
// that, one that a firewall has dropped in silence swallows every request, until the kernel gives it up after 15 minutes or so:
// https://github.com/golang/go/issues/36026. HTTP/1.1 has no need of it: a request that times out takes its connection with it.
const (
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
)

// CloseDead makes t close the connections of HTTP/2 that have died in silence, unless its owner has decided that already.
func CloseDead(t *http.Transport) {
	var settings http.HTTP2Config
	if t.HTTP2 != nil {
		settings = *t.HTTP2
	}
	if settings.SendPingTimeout == 0 {
		settings.SendPingTimeout, settings.PingTimeout = pingAfter, pingTimeout
	}
	t.HTTP2 = &settings
}

// Untraced returns ctx without what [httptrace.WithClientTrace] put into it. Such a hook is handed every header of a request: with the
// tracing of HTTP around a program, tokens would end up in its spans.
func Untraced(ctx context.Context) context.Context { return untraced{ctx} }

type untraced struct{ context.Context } //nolint:containedctx // it is one

func (u untraced) Value(key any) any {
	value := u.Context.Value(key)
	if _, hook := value.(*httptrace.ClientTrace); hook {
		return nil
	}
	return value
}

// ErrTooLarge says that a body holds more bytes than are read of one.
var ErrTooLarge = errors.New("too large")

// Bound returns body, of which no more than limit bytes are read. They are counted as they come out of decompression.
func Bound(body io.ReadCloser, limit int64) io.ReadCloser { return &bounded{body, limit} }

type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p))-1 > b.left {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, ErrTooLarge
	}
	return n, err
}

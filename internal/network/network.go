// Package network has helpers for backends on a network: loopback detection, size limits, and safe descriptions of failures. Errors of
// net/http and TLS quote addresses and more.
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

// Loopback reports whether host, without a port, is this machine.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// Reason describes a network failure with a colon before it, or returns "". It never quotes err.
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
		return ": it does not speak TLS; must its address begin with http://?"
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

// Refusal returns the alert by which the other side ended a TLS connection, numbered as in
// https://www.iana.org/assignments/tls-parameters/tls-parameters.xhtml#tls-parameters-6.
func Refusal(err error) (alert uint8, ok bool) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" { // set by crypto/tls, whose alert type is not exported
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return uint8(v.Uint()), true //nolint:gosec // its kind is uint8
}

// An HTTP/2 connection that received nothing for pingAfter gets a ping, and is closed if nothing arrives within pingTimeout. Otherwise, a
// connection that a firewall dropped without a reset blocks every request until the kernel gives up, after about 15 minutes:
// https://github.com/golang/go/issues/36026. HTTP/1.1 needs no pings: a request that times out closes its connection.
const (
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
)

// CloseDead makes t detect and close dead HTTP/2 connections, unless SendPingTimeout of t is set.
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

// Untraced returns ctx without the hooks of [httptrace.WithClientTrace]. Such a hook gets every request header: HTTP tracing of a program
// would record tokens in its spans.
func Untraced(ctx context.Context) context.Context { return untraced{ctx} }

type untraced struct{ context.Context } //nolint:containedctx // it is one

func (u untraced) Value(key any) any {
	value := u.Context.Value(key)
	if _, hook := value.(*httptrace.ClientTrace); hook {
		return nil
	}
	return value
}

// ErrTooLarge says that a body exceeds its limit.
var ErrTooLarge = errors.New("too large")

// Bound returns body limited to limit bytes, after decompression; reading more is [ErrTooLarge].
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

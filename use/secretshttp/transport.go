package secretshttp

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/faults"
	"github.com/seed-5482dd03/secrets/internal/network"
)

// Transport returns a RoundTripper that sets a credential on requests to the hosts that [Hosts] names, and sends them with base. Requests
// to other hosts go to base as they are. It is safe for concurrent use if base and set are. A nil base is [http.DefaultTransport].
//
// set gets a copy of the request, with the secret of key. It may change all of the copy but its Body, GetBody and host. RoundTrip returns
// an error of set as it is, and sends nothing. So set may return that of [secrets.Secret.Field].
//
// If the server answers 401, [secrets.Client.Do] asks for another credential. The request is sent again, once for each candidate of Do,
// if it has no body or a GetBody. Otherwise the next request uses the new credential. An earlier 401 is closed; the last one is returned,
// with its body. It is also returned if no other credential can be had, or if set returns an error for that. While a server refuses
// everybody, Do keeps the calls to the backend few.
//
// The error is that of [secrets.Client.Get], or that of base, as it is: that of an [http.Transport] quotes the path that set has made, if
// it is malformed. There is no result for faults of the arguments: each RoundTrip returns them.
//
// base sees the credential. RoundTrippers that log or trace belong around this one, not below it. Hooks of [net/http/httptrace] are not
// called for a request with a credential, because they see its headers. A credential in a query shows in the logs of the server, and a
// server may repeat it in a redirect; prefer a header.
func Transport(
	base http.RoundTripper, client *secrets.Client, key string, set func(*http.Request, secrets.Secret) error, opts ...Option,
) http.RoundTripper {
	c := config{faults: faults.List{Prefix: "secretshttp: "}, allowed: make(map[origin]bool)}
	if base == nil {
		base = http.DefaultTransport
	}
	c.faults.Checkf(!faults.IsNil(base), "base is a nil pointer; leave it nil for http.DefaultTransport")
	c.faults.Checkf(client != nil, "a nil *secrets.Client")
	_, err := secrets.ParseRef(key)
	c.faults.Add(err)
	c.faults.Checkf(set != nil, "a nil set")
	faults.Apply(&c.faults, opts, func(o Option) { o(&c) })
	c.faults.Checkf(c.hasHosts, "no Hosts; name each host that may get the credential")
	return &transport{base: base, client: client, key: key, set: set, allowed: c.allowed, fault: c.faults.Err()}
}

// Option configures a [Transport].
type Option func(c *config)

type config struct {
	allowed  map[origin]bool
	hasHosts bool
	faults   faults.List
}

type transport struct {
	base    http.RoundTripper
	client  *secrets.Client
	key     string
	set     func(*http.Request, secrets.Secret) error
	allowed map[origin]bool
	fault   error
}

// RoundTrip sends req, with the credential if its host is allowed.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	switch {
	case t.fault != nil:
		closeBody(req)
		return nil, t.fault
	case !t.isAllowed(req):
		return t.base.RoundTrip(req)
	}
	e := exchange{transport: t, request: req}
	ended := false
	defer func() {
		if !e.sent {
			closeBody(req)
		}
		if !ended { // set or base has panicked
			e.discard()
		}
	}()
	err := t.client.Do(req.Context(), t.key, e.try)
	ended = true
	switch {
	case e.err != nil:
		return nil, e.err
	case e.response != nil:
		e.response.Request = req // http.Client quotes its URL in errors
		return e.response, nil
	default:
		return nil, err
	}
}

// isAllowed reports whether req may carry the credential. A Host header of its own may lead a proxy or a shared front to another host, and
// so may an opaque URL.
func (t *transport) isAllowed(req *http.Request) bool {
	u := req.URL
	return u != nil && u.Opaque == "" && t.allowed[originOf(u.Scheme, u.Host)] &&
		(req.Host == "" || t.allowed[originOf(u.Scheme, req.Host)])
}

// CloseIdleConnections closes the idle connections of base. [http.Client.CloseIdleConnections] calls it.
func (t *transport) CloseIdleConnections() {
	if base, ok := t.base.(idleCloser); ok {
		base.CloseIdleConnections()
	}
}

// idleCloser is what http.Client.CloseIdleConnections looks for in a RoundTripper.
type idleCloser interface{ CloseIdleConnections() }

var (
	errRefused = errors.New("the server answered 401")
	errEnded   = errors.New("the request is not sent again") // no refusal: Do returns at once
)

// exchange is one request, with the answer to the candidate that was sent last.
type exchange struct {
	*transport

	request  *http.Request
	sent     bool // base has got, and closes, the body of the request
	response *http.Response
	err      error // why there is no response, or nil
}

// try sends the request with s. What is not for Do, it keeps in e: an error of base may wrap secrets.ErrRejected.
func (e *exchange) try(ctx context.Context, s secrets.Secret) error {
	body, ok := e.body()
	if !ok {
		return errEnded
	}
	clone := e.request.Clone(network.Untraced(ctx))
	clone.Body = body
	if clone.Header == nil {
		clone.Header = make(http.Header)
	}
	if err := e.set(clone, s); err != nil {
		return e.unset(body, err)
	}
	e.discard()
	e.sent = true
	e.response, e.err = e.base.RoundTrip(clone) //nolint:bodyclose // the caller closes it, or discard
	switch {
	case e.err != nil:
		return errEnded
	case e.response != nil && e.response.StatusCode == http.StatusUnauthorized:
		return errors.Join(secrets.ErrRejected, errRefused)
	default:
		return nil
	}
}

// unset ends a try for which set has failed. If another candidate was sent, this one is passed over: an old version may lack a field.
func (e *exchange) unset(body io.Closer, err error) error {
	if !e.sent {
		e.err = err
		return errEnded
	}
	if body != nil {
		_ = body.Close() //nolint:errcheck // nothing was read
	}
	return secrets.ErrRejected
}

// body returns the body for the next try, if there can be one.
func (e *exchange) body() (body io.ReadCloser, ok bool) {
	r := e.request
	switch {
	case !e.sent || r.Body == nil || r.Body == http.NoBody:
		return r.Body, true
	case r.GetBody == nil:
		return nil, false
	}
	body, err := r.GetBody()
	return body, err == nil
}

// maxDrained is how much of a body is read so that its connection can be used again. It is that of http.Client between the hops of a
// redirect: https://cs.opensource.google/go/go/+/refs/tags/go1.26.0:src/net/http/client.go (maxBodySlurpSize).
const maxDrained = 2 << 10

// discard closes the response to a credential that was refused.
func (e *exchange) discard() {
	if e.response == nil {
		return
	}
	if n := e.response.ContentLength; n >= -1 && n <= maxDrained {
		_, _ = io.CopyN(io.Discard, e.response.Body, maxDrained) //nolint:errcheck // it only saves a connection
	}
	_ = e.response.Body.Close() //nolint:errcheck // nobody wants the rest
	e.response = nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() //nolint:errcheck // nothing was read
	}
}

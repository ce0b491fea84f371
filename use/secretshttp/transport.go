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

// Transport returns a RoundTripper that adds a credential to requests to the hosts of [Hosts], and sends them with base. Other requests,
// and those after a redirect by another host, go to base unchanged. It is safe for concurrent use if base and set are. A nil base is
// [http.DefaultTransport].
//
// set gets a copy of the request and the secret of key. It may change the copy, except its Body, GetBody and host. If set fails, RoundTrip
// sends nothing and returns the error unchanged, so set may return the error of [secrets.Secret.Field].
//
// If the server answers 401, [secrets.Client.Do] gets other candidates, and the request is sent once with each, if it has no body or a
// GetBody. Otherwise the next request uses the new credential. Any answer other than 401 ends the tries. The caller gets the last answer,
// with its body. It is a 401 if all candidates are refused, if set fails for the others, or if Do has no other one, for example in an
// outage of the backend. Only a 2xx marks a candidate as accepted; Do may then prefer an older version for a minute. An earlier 401 is
// closed without reading its body, which closes its connection with HTTP/1.1.
//
// While a server refuses all candidates, the back-off of Do limits calls to the backend. The server still gets each request once per
// candidate: up to four times with AWS Secrets Manager.
//
// RoundTrip returns the error of [secrets.Client.Get], or that of base, unchanged. An [http.Transport] quotes the path that set has made,
// if it is malformed. If arguments of Transport are invalid, each RoundTrip returns all these faults.
//
// base sees the credential: put RoundTrippers that log or trace around this one, not below it. Hooks of [net/http/httptrace] are not called
// for a request with a credential, because they see its headers. A credential in a query is visible in the server's logs, and the server
// may repeat it in a redirect; prefer a header.
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
	e := exchange{transport: t, request: req, body: req.Body}
	switch {
	case t.fault != nil:
		e.closeBody()
		return nil, t.fault
	case !t.isAllowed(req):
		return t.base.RoundTrip(req)
	}
	ended := false
	defer func() {
		e.closeBody()
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

// isAllowed reports whether req may carry the credential. Each hop of the redirects that led to req must be allowed too, since a host that
// is not allowed must not choose such a request.
func (t *transport) isAllowed(req *http.Request) bool {
	for t.isAllowedHop(req) {
		if req.Response == nil {
			return true
		}
		req = req.Response.Request
	}
	return false
}

// isAllowedHop reports whether req goes to an allowed host. Its Host header must be allowed too, and its URL must not be opaque: either can
// lead a proxy or a shared front end to another host.
func (t *transport) isAllowedHop(req *http.Request) bool {
	return req != nil && req.URL != nil && req.URL.Opaque == "" && t.allowed[originOf(req.URL.Scheme, req.URL.Host)] &&
		(req.Host == "" || t.allowed[originOf(req.URL.Scheme, req.Host)])
}

// CloseIdleConnections closes the idle connections of base, for [http.Client.CloseIdleConnections].
func (t *transport) CloseIdleConnections() {
	if base, ok := t.base.(idleCloser); ok {
		base.CloseIdleConnections()
	}
}

// idleCloser is the interface that http.Client.CloseIdleConnections looks for.
type idleCloser interface{ CloseIdleConnections() }

var (
	errRefused = errors.New("the server answered 401")
	errEnded   = errors.New("the request is not sent again") // not a refusal: Do returns at once
)

// exchange is one request with the answer to the last candidate sent.
type exchange struct {
	*transport

	request  *http.Request
	sent     bool          // whether a candidate was sent
	body     io.ReadCloser // body of the next try; base closes it only once it is sent
	response *http.Response
	err      error // why there is no response, or nil
}

// try sends the request with s. It keeps errors of base in e, out of Do: they could wrap secrets.ErrRejected.
func (e *exchange) try(ctx context.Context, s secrets.Secret) error {
	if !e.openBody() {
		return errEnded
	}
	clone := e.request.Clone(network.Untraced(ctx))
	clone.Body = e.body
	if clone.Header == nil {
		clone.Header = make(http.Header)
	}
	if err := e.set(clone, s); err != nil {
		return e.setFailed(err)
	}
	e.discard()
	e.sent, e.body = true, nil
	e.response, e.err = e.base.RoundTrip(clone) //nolint:bodyclose // the caller or discard closes it
	switch {
	case e.err != nil:
		return errEnded
	case e.response == nil || e.response.StatusCode < http.StatusMultipleChoices:
		return nil
	case e.response.StatusCode == http.StatusUnauthorized:
		return errors.Join(secrets.ErrRejected, errRefused)
	default: // a revoked key may get a 403, or a redirect to a login
		return errEnded
	}
}

// setFailed ends a try for which set has failed. If another candidate was sent, this one is skipped: an old version may lack a field.
func (e *exchange) setFailed(err error) error {
	if !e.sent {
		e.err = err
		return errEnded
	}
	e.closeBody()
	return secrets.ErrRejected
}

// openBody opens the body for the next try, if possible.
func (e *exchange) openBody() bool {
	r := e.request
	switch {
	case !e.sent:
		return true
	case r.Body == nil || r.Body == http.NoBody:
		e.body = r.Body
		return true
	case r.GetBody == nil:
		return false
	}
	body, err := r.GetBody()
	if err == nil {
		e.body = body
	}
	return err == nil
}

// closeBody closes the body, unless base has it.
func (e *exchange) closeBody() {
	if e.body != nil {
		_ = e.body.Close() //nolint:errcheck // nothing was read
		e.body = nil
	}
}

// discard closes the response to a refused credential. It does not read the body to reuse the connection: a server may stall. When a server
// refuses 200 requests at once, reading saves one connection in six.
func (e *exchange) discard() {
	if e.response != nil {
		_ = e.response.Body.Close() //nolint:errcheck // the response is not used
		e.response = nil
	}
}

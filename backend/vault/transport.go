package vault

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-5482dd03/secrets/internal/network"
)

const (
	// maxHops is the maximum number of redirects of one request. A standby node redirects to the active one, with the same path:
	// https://developer.hashicorp.com/vault/docs/concepts/ha#client-redirection.
	maxHops = 3
	// maxFailure is the maximum size of an unsuccessful answer, in bytes. Vault's have one line.
	maxFailure = 64 << 10
)

// transport is below the official client, which on its own sends the token to every redirect target and reads bodies of any size.
type transport struct {
	next    http.RoundTripper
	origin  *url.URL
	peers   []string // hosts, with or without a port, that a redirect may target
	maxSize int64    // of a body
}

// RoundTrip sends r, follows allowed redirects, and limits the size of the answer. All requests and logins of the backend go through it, so
// a caller's httptrace hook sees no token.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.WithContext(network.Untraced(r.Context()))
	for range maxHops + 1 {
		resp, err := t.next.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		if !redirects(resp) {
			limit := t.maxSize
			if resp.StatusCode >= http.StatusBadRequest {
				limit = min(limit, maxFailure)
			}
			resp.Body = network.Bound(resp.Body, limit)
			return resp, nil
		}
		target, err := resp.Location()
		_ = resp.Body.Close()
		if err != nil {
			return nil, unavailable("a redirect without a usable address")
		}
		if r, err = t.follow(r, resp, target); err != nil {
			return nil, err
		}
	}
	return nil, unavailable(fmt.Sprintf("more than %d redirects", maxHops))
}

func redirects(r *http.Response) bool {
	switch r.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	default:
		return false
	}
}

// follow returns the redirected request, if the redirect is allowed. Errors do not quote target, which is text of the server.
func (t *transport) follow(r *http.Request, resp *http.Response, target *url.URL) (*http.Request, error) {
	if !t.mayRedirectTo(target) {
		return nil, unavailable("a redirect to another host, which must not get the token; " +
			"if it is a node of the same cluster, allow it with WithRedirectHosts")
	}
	if target.Path != r.URL.Path || target.RawQuery != r.URL.RawQuery {
		return nil, unavailable("a redirect to another path; is the path in the address wrong?")
	}
	keepsMethod := resp.StatusCode == http.StatusTemporaryRedirect || resp.StatusCode == http.StatusPermanentRedirect
	if r.Method != http.MethodGet && !keepsMethod {
		return nil, unavailable(fmt.Sprintf("a redirect with status %d, which would drop the body of the request", resp.StatusCode))
	}
	next := r.Clone(r.Context())
	next.URL.Scheme, next.URL.Host, next.Host = target.Scheme, target.Host, "" // the path keeps its escapes
	if r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			return nil, unavailable("a redirect of a request that cannot be sent again")
		}
		next.Body = body
	}
	return next, nil
}

// mayRedirectTo reports whether the token may go to target: the origin itself, or a host of WithRedirectHosts over a connection that is no
// less secure.
func (t *transport) mayRedirectTo(target *url.URL) bool {
	if target.Scheme == t.origin.Scheme && authority(target) == authority(t.origin) {
		return true
	}
	if target.Scheme != schemeHTTPS && target.Scheme != t.origin.Scheme {
		return false
	}
	return slices.ContainsFunc(t.peers, func(peer string) bool {
		return slices.ContainsFunc([]string{
			target.Hostname(), strings.TrimSuffix(target.Host, ":"+target.Port()), target.Host, authority(target),
		}, func(name string) bool { return strings.EqualFold(peer, name) })
	})
}

// authority returns the host of u in lower case, with its port.
func authority(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{schemeHTTP: "80", schemeHTTPS: "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// idleCloser is the interface that http.Client looks for in its transport.
type idleCloser interface{ CloseIdleConnections() }

// CloseIdleConnections closes the idle connections of the transport below.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.next.(idleCloser); ok {
		c.CloseIdleConnections()
	}
}

var (
	_ http.RoundTripper = (*transport)(nil)
	_ idleCloser        = (*transport)(nil)
)

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
	// maxHops bounds the redirects of one request. A standby node sends to the active one, for the same path:
	// https://developer.hashicorp.com/vault/docs/concepts/ha#client-redirection.
	maxHops = 3
	// maxFailure is the most bytes that are read of an answer that is no success. Those of Vault are a line.
	maxFailure = 64 << 10
)

// transport is what stands between the client of Vault and the network. That client, left alone, sends the token to every
// host that an answer redirects to, and reads a body of any size.
type transport struct {
	next    http.RoundTripper
	origin  *url.URL
	peers   []string // hosts, with a port or for every port, that may be redirected to
	maxSize int64    // of a body
}

// RoundTrip sends r, follows redirects as far as they are allowed, and bounds the body of the answer. All requests of the backend and of
// its logins go through here, so that no hook of a caller sees one with a token.
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

// follow returns the request that the redirect of r to target asks for, if it is allowed. The target is text of the server, of which
// nothing is in an error.
func (t *transport) follow(r *http.Request, resp *http.Response, target *url.URL) (*http.Request, error) {
	if !t.trusts(target) {
		return nil, unavailable("a redirect to another host, which the token must not be sent to; " +
			"if it is a node of the same cluster, WithRedirectHosts allows it")
	}
	if target.Path != r.URL.Path || target.RawQuery != r.URL.RawQuery {
		return nil, unavailable("a redirect to another path than the one that was asked for; is the path in the address wrong?")
	}
	keepsMethod := resp.StatusCode == http.StatusTemporaryRedirect || resp.StatusCode == http.StatusPermanentRedirect
	if r.Method != http.MethodGet && !keepsMethod {
		return nil, unavailable(fmt.Sprintf("a redirect with status %d, which would drop the body of the request", resp.StatusCode))
	}
	next := r.Clone(r.Context())
	next.URL.Scheme, next.URL.Host, next.Host = target.Scheme, target.Host, "" // the path stays as it was asked for, to the last escape
	if r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			return nil, unavailable("a redirect of a request that cannot be sent again")
		}
		next.Body = body
	}
	return next, nil
}

// trusts reports whether the token may be sent to target: to the very origin, or to a peer that the program named, over a
// connection that is no less safe.
func (t *transport) trusts(target *url.URL) bool {
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

// authority returns the host of u, in lower case, with its port.
func authority(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{schemeHTTP: "80", schemeHTTPS: "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// idleCloser is what http.Client asks of its transport.
type idleCloser interface{ CloseIdleConnections() }

// CloseIdleConnections lets http.Client close those of what is below.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.next.(idleCloser); ok {
		c.CloseIdleConnections()
	}
}

var (
	_ http.RoundTripper = (*transport)(nil)
	_ idleCloser        = (*transport)(nil)
)

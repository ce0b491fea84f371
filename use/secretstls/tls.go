package secretstls

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// dialTimeout bounds a dial with its handshake. http.Transport does not pass the deadline of a request on to DialTLSContext, and its
// TLSHandshakeTimeout does not count there.
const dialTimeout = 30 * time.Second

// TLS serves and dials with the current version of a certificate, a key and a CA. Make one with [New]. It is safe for concurrent use.
type TLS struct {
	handle *secrets.Handle
	live   *secrets.Live[*version]
	base   *tls.Config // of the Configs that Server returns
}

// New gets the secret that key names and follows it. The key names the whole document; see the package comment for its fields. ctx must
// be that of the program: the TLS follows the secret until ctx ends, or until Close.
//
// The error is that of [secrets.Client.Watch], or names every fault of opts. Otherwise the document cannot be used: a field is missing
// ([secrets.ErrFieldNotFound]), or it cannot be read, certificate and key do not match, or crypto/tls cannot use the key (all
// [secrets.ErrMalformed]). It names key and field, and holds nothing of their content.
func New(ctx context.Context, client *secrets.Client, key string, opts ...Option) (*TLS, error) {
	c := newConfig(opts)
	c.faults.Checkf(client != nil, "a nil *secrets.Client")
	if err := c.faults.Err(); err != nil {
		return nil, err
	}
	handle, err := client.Watch(ctx, key)
	if err != nil {
		return nil, err
	}
	b := &builder{config: c, key: key}
	live, err := secrets.Derive(handle, b.build)
	if err != nil {
		_ = handle.Close() //nolint:errcheck // it returns nil
		return nil, err
	}
	return &TLS{handle, live, serverBase(c.base)}, nil
}

// Server returns a Config for [tls.Listen], [http.Server.TLSConfig] and the like.
//
// Give ClientAuth and all other settings to [WithConfig], not to the returned Config: connections use the Config of the current version,
// which its GetConfigForClient returns. If ClientAuth, ClientCAs, MinVersion, VerifyConnection or VerifyPeerCertificate of the returned
// Config was changed, each handshake fails, with an error that names the field. Other changes have no effect, such as NextProtos, which
// http.Server sets. A change to a Clone of it is not seen and has no effect, nor has a function in the place of another one.
//
// Each call returns a new Config. As any Config, it must not be changed once it is in use. All connections of a version share one.
func (t *TLS) Server() *tls.Config {
	c := t.base.Clone()
	c.NextProtos = slices.Clone(c.NextProtos)
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if err := checkUnchanged(c, t.base); err != nil {
			return nil, err
		}
		v := t.live.Load()
		v.tickets.renew(v.server)
		return v.server, nil
	}
	return c
}

// checkUnchanged returns an error if a check of c, which Server has returned, is not that of base. It would be off in silence. It reads no
// field that http.Server writes: servers may share c.
func checkUnchanged(c, base *tls.Config) error {
	for _, field := range []struct {
		name   string
		isSame bool
	}{
		{"ClientAuth", c.ClientAuth == base.ClientAuth},
		{"ClientCAs", c.ClientCAs == base.ClientCAs},
		{"MinVersion", c.MinVersion == base.MinVersion},
		{"VerifyConnection", (c.VerifyConnection == nil) == (base.VerifyConnection == nil)},
		{"VerifyPeerCertificate", (c.VerifyPeerCertificate == nil) == (base.VerifyPeerCertificate == nil)},
	} {
		if !field.isSame {
			return errors.New("secrets: secretstls: " + field.name + " of the Config that Server returned was changed; give it to WithConfig")
		}
	}
	return nil
}

// DialTLS dials addr and does the handshake. It trusts the CA of the current version, or the roots of the system if the document has none,
// and shows the certificate of that version to a server that asks for one. The server's certificate must be valid for ServerName of
// [WithConfig], or else for the host of addr, which may be an IP address. The connection is a [*tls.Conn].
//
// DialTLS ends with ctx, and after 30 s at the latest. The error is that of [tls.Dialer].
//
// It fits [http.Transport.DialTLSContext]. For HTTP/2 there, set ForceAttemptHTTP2 of the Transport, and NextProtos of [WithConfig] to
// "h2" and "http/1.1". The Transport reuses open connections, also after a change. It does not use DialTLSContext through a proxy.
func (t *TLS) DialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: t.live.Load().client}
	return d.DialContext(ctx, network, addr)
}

// Err returns nil while the current version of the secret is in use and fresh. If that version cannot be used, such as a certificate and
// a key that do not match, Err returns the error that New would return; an earlier version is in use then. Otherwise Err is that of
// [secrets.Handle]: the last poll has failed, or the TLS has ended ([secrets.ErrClosed]).
func (t *TLS) Err() error { return t.live.Err() }

// Close ends the following of the secret. Configs and DialTLS keep working, with the last version. Close may be called more than once, and
// returns nil.
func (t *TLS) Close() error {
	_ = t.live.Close() //nolint:errcheck // it returns nil
	return t.handle.Close()
}

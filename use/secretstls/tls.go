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

// dialTimeout limits a dial with its handshake. http.Transport passes no request deadline to DialTLSContext and does not apply its
// TLSHandshakeTimeout there.
const dialTimeout = 30 * time.Second

// TLS serves and dials with the current version of a certificate, a key and a CA. Make one with [New]. It is safe for concurrent use.
type TLS struct {
	handle *secrets.Handle
	live   *secrets.Live[*version]
	base   *tls.Config // template of the Configs that Server returns
}

// New gets the secret of key and watches it, until ctx ends or Close. Pass the program's ctx. The key names the whole document; see the
// package comment for its fields.
//
// The error is that of [secrets.Client.Watch], or contains every fault of opts, or says why the document cannot be used. That is
// [secrets.ErrFieldNotFound] if a field is missing. It is [secrets.ErrMalformed] if a field cannot be read, certificate and key do not
// match, or crypto/tls cannot use the key. The error names key and field and shows none of their content.
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

// Server returns a Config for [tls.Listen], [http.Server.TLSConfig] and similar.
//
// Pass ClientAuth and all other settings to [WithConfig]. Do not set them on the returned Config: connections use the Config of the current
// version, from GetConfigForClient. If ClientAuth, ClientCAs, MinVersion, VerifyConnection or VerifyPeerCertificate of the returned Config
// is changed, each handshake fails with an error that names the field. Other changes, such as NextProtos, which http.Server sets, have no
// effect. Changes to a Clone, and replacing one function by another, are not detected and have no effect.
//
// Each call returns a new Config. Do not change it once it is in use. All connections of a version share one Config.
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

// checkUnchanged returns an error if a check was set on c, a Config of Server, that base does not have: it would silently not run. It reads
// no field that http.Server writes, since servers may share c.
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

// DialTLS dials addr and completes the handshake. It trusts the CA of the current version, or the system roots if the document has none. It
// presents the certificate of that version if the server requests one. The server's certificate must be valid for ServerName of
// [WithConfig] or, without it, for the host of addr, which may be an IP address. The connection is a [*tls.Conn].
//
// DialTLS ends with ctx, or after 30 s. The error is that of [tls.Dialer].
//
// Use it as [http.Transport.DialTLSContext]. For HTTP/2, set the Transport's ForceAttemptHTTP2, and NextProtos of [WithConfig] to "h2" and
// "http/1.1". The Transport also reuses open connections after a change. It does not use DialTLSContext through a proxy.
func (t *TLS) DialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: t.live.Load().client}
	return d.DialContext(ctx, network, addr)
}

// Err returns nil while the current version of the secret is in use and fresh. If that version cannot be used, for example because
// certificate and key do not match, an earlier one stays in use. Err then returns the error that New would return. Otherwise it is the
// error of [secrets.Handle]: the last poll failed, or the TLS has ended ([secrets.ErrClosed]).
func (t *TLS) Err() error { return t.live.Err() }

// Close ends the watch of the secret. Configs and DialTLS keep working with the last version. Close may be called more than once, and
// returns nil.
func (t *TLS) Close() error {
	_ = t.live.Close() //nolint:errcheck // it returns nil
	return t.handle.Close()
}

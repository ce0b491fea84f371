package secretstls

import (
	"crypto/tls"

	"github.com/seed-5482dd03/secrets/internal/faults"
)

// Option configures a [TLS]. If an option is given twice, the last one applies.
type Option func(c *config)

type config struct {
	base   *tls.Config
	names  []names // sets of field names, in order of preference
	faults faults.List
}

func newConfig(opts []Option) *config {
	c := &config{base: new(tls.Config), names: defaultNames(), faults: faults.List{Prefix: "secrets: secretstls: "}}
	faults.Apply(&c.faults, opts, func(o Option) { o(c) })
	c.checkBase()
	return c
}

// WithConfig sets the template of the configurations of [TLS.Server] and [TLS.DialTLS]: ClientAuth, MinVersion, NextProtos, ServerName and
// so on. Default: an empty tls.Config.
//
// Set ClientAuth here: if it is set on the Config that Server returns, each handshake fails. With tls.VerifyClientCertIfGiven or
// tls.RequireAndVerifyClientCert, the document must have a CA.
//
// Functions such as VerifyConnection run on both sides. [New] clones base. These fields come from the secret, and setting them is an error:
// Certificates, RootCAs, ClientCAs, ClientSessionCache, and the functions that choose a certificate, a configuration or a session ticket.
// So is InsecureSkipVerify. Session ticket keys of base are ignored.
//
// If NextProtos is nil, Server offers "h2" and "http/1.1", like [http.Server], and DialTLS offers nothing. For a server without HTTP/2, set
// NextProtos to its protocols; for a protocol without ALPN, to an empty slice.
func WithConfig(base *tls.Config) Option {
	return func(c *config) {
		if base == nil {
			c.faults.Addf("WithConfig: a nil *tls.Config")
			return
		}
		c.base = base.Clone()
	}
}

// WithFields sets the names of the fields that hold the certificate, its key, and the CA, in PEM. All must exist. An empty ca means no CA,
// even if the document has a field for one. cert and key may be the same field. Default: the names of Kubernetes and of Vault's PKI engine;
// see the package comment.
func WithFields(cert, key, ca string) Option {
	return func(c *config) {
		c.faults.Checkf(cert != "", "WithFields: an empty name for the certificate")
		c.faults.Checkf(key != "", "WithFields: an empty name for the key")
		c.names = []names{{cert: cert, key: key, required: ca != "", ca: nonEmpty(ca)}}
	}
}

func nonEmpty(name string) []string {
	if name == "" {
		return nil
	}
	return []string{name}
}

// checkBase adds a fault for each field that the template must not set.
func (c *config) checkBase() {
	b := c.base
	c.faults.Checkf(!b.InsecureSkipVerify, "WithConfig: InsecureSkipVerify is set; give the secret a CA, and the Config a ServerName")
	for _, field := range []struct {
		name  string
		isSet bool
	}{
		{"Certificates", len(b.Certificates) > 0},
		{"GetCertificate", b.GetCertificate != nil},
		{"GetClientCertificate", b.GetClientCertificate != nil},
		{"GetConfigForClient", b.GetConfigForClient != nil},
		{"RootCAs", b.RootCAs != nil},
		{"ClientCAs", b.ClientCAs != nil},
	} {
		c.faults.Checkf(!field.isSet, "WithConfig: %s is set; certificates and CAs come from the secret", field.name)
	}
	for _, field := range []struct {
		name  string
		isSet bool
	}{
		{"ClientSessionCache", b.ClientSessionCache != nil},
		{"WrapSession", b.WrapSession != nil},
		{"UnwrapSession", b.UnwrapSession != nil},
	} {
		c.faults.Checkf(!field.isSet, "WithConfig: %s is set; a session must not outlive its version of the secret", field.name)
	}
}

// verifies reports whether a server with the template verifies client certificates.
func (c *config) verifies() bool { return c.base.ClientAuth >= tls.VerifyClientCertIfGiven }

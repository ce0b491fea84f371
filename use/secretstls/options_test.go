package secretstls_test

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/use/secretstls"
)

// The program must not set what the secret decides, and nothing may disable verification.
func TestFaultsOfOptions(t *testing.T) {
	is := is.New(t)
	s := newSecret(t, kubernetes(newAuthority("ca").issue(1)))
	for name, tt := range map[string]struct {
		opt  secretstls.Option
		want string
	}{
		"nil option":         {nil, "option 1 is nil"},
		"nil Config":         {secretstls.WithConfig(nil), "WithConfig: a nil *tls.Config"},
		"no name for cert":   {secretstls.WithFields("", "b", ""), "WithFields: an empty name for the certificate"},
		"no name for key":    {secretstls.WithFields("a", "", ""), "WithFields: an empty name for the key"},
		"InsecureSkipVerify": {with(func(c *tls.Config) { c.InsecureSkipVerify = true }), "InsecureSkipVerify is set"},
		"Certificates":       {with(func(c *tls.Config) { c.Certificates = make([]tls.Certificate, 1) }), " Certificates is set"},
		"RootCAs":            {with(func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }), "RootCAs is set"},
		"ClientCAs":          {with(func(c *tls.Config) { c.ClientCAs = x509.NewCertPool() }), "ClientCAs is set"},
		"ClientSessionCache": {with(func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(1) }), "ClientSessionCache is set"},
		"GetCertificate": {with(func(c *tls.Config) {
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }
		}), " GetCertificate is set"},
		"GetConfigForClient": {with(func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }
		}), "GetConfigForClient is set"},
		"GetClientCertificate": {with(func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return nil, nil }
		}), "GetClientCertificate is set"},
		"WrapSession": {with(func(c *tls.Config) {
			c.WrapSession = func(tls.ConnectionState, *tls.SessionState) ([]byte, error) { return nil, nil }
		}), " WrapSession is set"},
		"UnwrapSession": {with(func(c *tls.Config) {
			c.UnwrapSession = func([]byte, tls.ConnectionState) (*tls.SessionState, error) { return nil, nil }
		}), "UnwrapSession is set"},
	} {
		_, err := secretstls.New(t.Context(), s.client, "tls", tt.opt)
		if err == nil || !strings.HasPrefix(err.Error(), "secrets: secretstls: ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: the error is %v, want %q", name, err, tt.want)
		}
	}
	_, err := secretstls.New(t.Context(), nil, "tls", secretstls.WithConfig(nil), secretstls.WithFields("", "", ""))
	is.True(err != nil)
	is.Equal(strings.Count(err.Error(), "\n"), 3) // all faults are joined
	is.True(strings.Contains(err.Error(), "a nil *secrets.Client"))
	is.Equal(s.backend.Calls(), 0)

	base := &tls.Config{MinVersion: tls.VersionTLS13}
	followed := s.follow(secretstls.WithConfig(base), secretstls.WithFields("tls.crt", "tls.key", "")) // the control
	base.InsecureSkipVerify, base.MinVersion = true, 0                                                 // has no effect after New
	is.Equal(current(followed).MinVersion, uint16(tls.VersionTLS13))
	is.True(!current(followed).InsecureSkipVerify)
}

func with(change func(c *tls.Config)) secretstls.Option {
	c := new(tls.Config)
	change(c)
	return secretstls.WithConfig(c)
}

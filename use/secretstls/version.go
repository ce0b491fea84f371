package secretstls

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"

	"github.com/seed-5482dd03/secrets"
)

// names are the field names of a document.
type names struct {
	cert, key string
	ca        []string // the first one that exists and is not empty is used
	required  bool     // one of ca must exist
}

// defaultNames returns the names in Kubernetes Secrets (https://kubernetes.io/docs/concepts/configuration/secret/#tls-secrets; ca.crt is
// from cert-manager, https://cert-manager.io/docs/concepts/certificate/), and in Vault's answers
// (https://developer.hashicorp.com/vault/api-docs/secret/pki#generate-certificate-and-key).
func defaultNames() []names {
	return []names{
		{cert: "tls.crt", key: "tls.key", ca: []string{"ca.crt"}},
		{cert: "certificate", key: "private_key", ca: []string{"ca_chain", "issuing_ca"}},
	}
}

// version is the TLS configuration of one version of the document. It is immutable, except for the ticket keys of server.
type version struct {
	server, client *tls.Config
	tickets        *tickets
}

// builder builds versions, one at a time.
type builder struct {
	*config

	key   string
	hadCA bool // an earlier version had a CA
}

// build builds a version from the document s.
func (b *builder) build(s secrets.Secret) (*version, error) {
	v, err := b.parse(s)
	if err != nil {
		err.Backend, err.Key = s.Meta().Backend, b.key
		return nil, err
	}
	return v, nil
}

func (b *builder) parse(s secrets.Secret) (*version, *secrets.Error) {
	n, err := b.choose(s)
	if err != nil {
		return nil, err
	}
	chain, key, err := n.keyPair(s)
	if err != nil {
		return nil, err
	}
	cas, err := b.authorities(s, n)
	if err != nil {
		return nil, err
	}
	b.hadCA = b.hadCA || cas != nil
	cert := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range complete(chain, cas) {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return newVersion(b.base, cert, poolOf(cas)), nil
}

// choose returns the first names for which s has a certificate or a key.
func (b *builder) choose(s secrets.Secret) (names, *secrets.Error) {
	if len(b.names) == 1 {
		return b.names[0], nil
	}
	var missing *secrets.Error
	for _, n := range b.names {
		for _, name := range []string{n.cert, n.key} {
			_, err := fieldOf(s, name)
			if err == nil {
				return n, nil
			}
			if !errors.Is(err, secrets.ErrFieldNotFound) {
				return n, err
			}
			if missing == nil {
				missing = err
			}
		}
	}
	missing.Detail += "; New looks for tls.crt and tls.key, or certificate and private_key, or what WithFields names"
	return names{}, missing
}

// keyPair returns the certificates of s, that of the key first, and the key.
func (n names) keyPair(s secrets.Secret) ([]*x509.Certificate, crypto.Signer, *secrets.Error) {
	certField, err := fieldOf(s, n.cert)
	if err != nil {
		return nil, nil, err
	}
	keyField, err := fieldOf(s, n.key)
	if err != nil {
		return nil, nil, err
	}
	certText, err := textOf(n.cert, certField)
	if err != nil {
		return nil, nil, err
	}
	chain, err := certificates(n.cert, certText)
	if err != nil {
		return nil, nil, err
	}
	key, err := privateKey(n.key, keyField)
	if err != nil {
		return nil, nil, err
	}
	switch isOfKey := isOf(key); {
	case isOfKey(chain[0]):
		return chain, key, nil
	case slices.ContainsFunc(chain, isOfKey):
		return nil, nil, malformed("the certificate of " + n.key + " must be the first one in " + n.cert)
	default:
		return nil, nil, malformed("the certificate and the key do not match: " + n.cert + " is not the certificate of " + n.key +
			"; if they are replaced one after the other, try again")
	}
}

// authorities returns the CAs of s, or none if it needs none.
func (b *builder) authorities(s secrets.Secret, n names) ([]*x509.Certificate, *secrets.Error) {
	empty := ""
	for _, name := range n.ca {
		field, err := fieldOf(s, name)
		if err != nil {
			if n.required || !errors.Is(err, secrets.ErrFieldNotFound) {
				return nil, err
			}
			continue
		}
		text, err := textOf(name, field)
		switch {
		case err != nil:
			return nil, err
		case text != "":
			return certificates(name, text)
		case empty == "":
			empty = name
		}
	}
	if empty != "" { // an empty field must not lead to trust in the system roots
		return nil, malformed(empty + ` is empty; to do without a CA, use WithFields("` + n.cert + `", "` + n.key + `", "")`)
	}
	which := "the document has no CA"
	if len(n.ca) > 0 {
		which += " (" + strings.Join(n.ca, " or ") + ")"
	}
	switch {
	case b.verifies():
		return nil, secrets.NewError(secrets.ErrFieldNotFound, which+", and ClientAuth of WithConfig verifies clients")
	case b.hadCA: // a missing file must not widen trust; only the program may decide that
		return nil, secrets.NewError(secrets.ErrFieldNotFound, which+" any more; "+
			"restart the program if it should trust the roots of the system instead")
	}
	return nil, nil
}

// complete returns chain with the intermediates that lead from it to a root in cas. Vault's PKI engine returns only the certificate, and a
// peer may have only the root.
func complete(chain, cas []*x509.Certificate) []*x509.Certificate {
	for range cas {
		ca := issuerOf(chain[len(chain)-1], cas)
		if ca == nil || bytes.Equal(ca.RawSubject, ca.RawIssuer) {
			break
		}
		chain = append(chain, ca)
	}
	return chain
}

// issuerOf returns the CA in cas that signed c, or nil. Of CAs reissued with the same key, it returns the one that expires last.
func issuerOf(c *x509.Certificate, cas []*x509.Certificate) (issuer *x509.Certificate) {
	for _, ca := range cas {
		if bytes.Equal(ca.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(ca) == nil &&
			(issuer == nil || ca.NotAfter.After(issuer.NotAfter)) {
			issuer = ca
		}
	}
	return issuer
}

// poolOf returns a pool of cas, or nil without cas.
func poolOf(cas []*x509.Certificate) *x509.CertPool {
	if cas == nil {
		return nil
	}
	pool := x509.NewCertPool()
	for _, ca := range cas {
		pool.AddCert(ca)
	}
	return pool
}

func newVersion(base *tls.Config, cert tls.Certificate, cas *x509.CertPool) *version {
	v := &version{server: serverBase(base), client: base.Clone(), tickets: new(tickets)}
	v.server.Certificates, v.client.Certificates = []tls.Certificate{cert}, []tls.Certificate{cert}
	v.server.ClientCAs = cas
	v.tickets.renew(v.server)
	v.client.RootCAs = cas
	v.client.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	return v
}

// serverBase returns a copy of base for a server. It sets NextProtos, because http.Server and gRPC add "h2" only to a clone of the outer
// Config.
func serverBase(base *tls.Config) *tls.Config {
	c := base.Clone()
	if c.NextProtos == nil {
		c.NextProtos = []string{"h2", "http/1.1"}
	}
	return c
}

// fieldOf returns a field of s.
func fieldOf(s secrets.Secret, name string) (secrets.Secret, *secrets.Error) {
	field, err := s.Field(name)
	if err == nil {
		return field, nil
	}
	e, ok := errors.AsType[*secrets.Error](err)
	if !ok { // it always is one
		e = secrets.NewError(secrets.Class(err), "")
	}
	if errors.Is(e, secrets.ErrMalformed) {
		e.Detail += "; the key must name a document that has certificate and key as fields"
	}
	return secrets.Secret{}, e
}

func malformed(detail string) *secrets.Error { return secrets.NewError(secrets.ErrMalformed, detail) }

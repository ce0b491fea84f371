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

// names are those of the fields of a document.
type names struct {
	cert, key string
	ca        []string // the first one that is there and not empty counts
	required  bool     // one of ca must be there
}

// defaultNames returns those of the Secrets of Kubernetes
// (https://kubernetes.io/docs/concepts/configuration/secret/#tls-secrets; ca.crt is that of cert-manager,
// https://cert-manager.io/docs/concepts/certificate/), and those that Vault answers with
// (https://developer.hashicorp.com/vault/api-docs/secret/pki#generate-certificate-and-key).
func defaultNames() []names {
	return []names{
		{cert: "tls.crt", key: "tls.key", ca: []string{"ca.crt"}},
		{cert: "certificate", key: "private_key", ca: []string{"ca_chain", "issuing_ca"}},
	}
}

// version is what one version of the document makes. It is immutable, but for the ticket keys of server.
type version struct {
	server, client *tls.Config
	tickets        *tickets
}

// builder makes versions, one at a time.
type builder struct {
	*config

	key   string
	hadCA bool // a version before had a CA
}

// build makes a version of the document s.
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

// choose returns the first names of which s has a certificate or a key.
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

// keyPair returns the certificates of s, which begin with that of the key.
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
		return nil, nil, malformed("the certificate and the key do not match: " + n.cert + " is not of " + n.key +
			"; if they are replaced one after the other, try again")
	}
}

// authorities returns the CAs of s, or none if it may do without.
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
	if empty != "" { // to trust the roots of the system is no effect of an empty field
		return nil, malformed(empty + ` is empty; to do without a CA, use WithFields("` + n.cert + `", "` + n.key + `", "")`)
	}
	which := "the document has no CA"
	if len(n.ca) > 0 {
		which += " (" + strings.Join(n.ca, " or ") + ")"
	}
	switch {
	case b.verifies():
		return nil, secrets.NewError(secrets.ErrFieldNotFound, which+", and ClientAuth of WithConfig verifies clients")
	case b.hadCA: // to trust more than before is a decision of the program, not of a file that is missing
		return nil, secrets.NewError(secrets.ErrFieldNotFound, which+" any more; "+
			"restart the program if it should trust the roots of the system instead")
	}
	return nil, nil
}

// complete returns chain with the intermediates that lead from it to a root of cas. Vault's PKI engine answers with a certificate alone,
// and a peer may have the root alone.
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

// issuerOf returns the one of cas that has signed c, or nil. If a CA was issued again with the same key, the one that ends last counts.
func issuerOf(c *x509.Certificate, cas []*x509.Certificate) (issuer *x509.Certificate) {
	for _, ca := range cas {
		if bytes.Equal(ca.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(ca) == nil &&
			(issuer == nil || ca.NotAfter.After(issuer.NotAfter)) {
			issuer = ca
		}
	}
	return issuer
}

// poolOf returns a pool of cas, or nil if there are none.
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

// serverBase returns a copy of base for a server. http.Server and gRPC add "h2" to a clone of the outer Config only.
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
	if !ok { // it is always one
		e = secrets.NewError(secrets.Class(err), "")
	}
	if errors.Is(e, secrets.ErrMalformed) {
		e.Detail += "; the key must name a document that has certificate and key as fields"
	}
	return secrets.Secret{}, e
}

func malformed(detail string) *secrets.Error { return secrets.NewError(secrets.ErrMalformed, detail) }

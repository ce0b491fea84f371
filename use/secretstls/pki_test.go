package secretstls_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"time"
)

// authority is a CA for tests.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  string
}

// pair is a certificate with its key, in PEM.
type pair struct{ cert, key string }

// newAuthority returns a root.
func newAuthority(name string) *authority {
	return (&authority{}).intermediate(name)
}

// intermediate returns a CA signed by a, or a root if a has no key.
func (a *authority) intermediate(name string) *authority {
	key := newKey()
	template := templateOf(name, 1)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	parent, signer := a.cert, a.key
	if signer == nil {
		parent, signer = template, key
	}
	cert, text := sign(template, parent, key, signer)
	return &authority{cert, key, text}
}

// issue returns a certificate for localhost and 127.0.0.1 with that serial number, and its key.
func (a *authority) issue(serial int64) pair {
	key := newKey()
	template := templateOf("leaf", serial)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames, template.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	_, text := sign(template, a.cert, key, a.key)
	return pair{text, keyPEM(key)}
}

// expired returns a pair whose certificate has expired.
func (a *authority) expired(serial int64) pair {
	key := newKey()
	template := templateOf("leaf", serial)
	template.NotAfter = time.Date(1995, 1, 1, 0, 0, 0, 0, time.UTC)
	_, text := sign(template, a.cert, key, a.key)
	return pair{text, keyPEM(key)}
}

func templateOf(name string, serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC), // a synctest bubble begins in 2000
		NotAfter:     time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

func sign(template, parent *x509.Certificate, key, signer crypto.Signer) (*x509.Certificate, string) {
	der := must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer))
	return must(x509.ParseCertificate(der)), block("CERTIFICATE", der)
}

func newKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func keyPEM(key any) string { return block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))) }

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// kubernetes returns the document of a Kubernetes Secret. Without CAs it has no ca.crt.
func kubernetes(p pair, cas ...*authority) string {
	fields := map[string]any{"tls.crt": p.cert, "tls.key": p.key}
	if len(cas) > 0 {
		fields["ca.crt"] = bundle(cas...)
	}
	return document(fields)
}

func bundle(cas ...*authority) string {
	var all strings.Builder
	for _, ca := range cas {
		all.WriteString(ca.pem)
	}
	return all.String()
}

func document(fields map[string]any) string { return string(must(json.Marshal(fields))) }

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

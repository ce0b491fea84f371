package secretstls_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretstls"
)

// Each form of document works in a handshake with a client that trusts only the root.
func TestDocuments(t *testing.T) {
	root := newAuthority("root")
	middle := root.intermediate("middle")
	lower := middle.intermediate("lower")
	leaf := lower.issue(7)
	other := newAuthority("other")
	chain := leaf.cert + lower.pem + middle.pem
	for name, tt := range map[string]struct {
		fields map[string]any
		opts   []secretstls.Option
		length int // length of the chain that the server sends
		hasCA  bool
	}{
		"Kubernetes": {
			map[string]any{"tls.crt": chain, "tls.key": leaf.key, "ca.crt": root.pem}, nil, 3, true,
		},
		"Kubernetes without a CA": {map[string]any{"tls.crt": chain, "tls.key": leaf.key}, nil, 3, false},
		"Kubernetes, the CA is null": {
			map[string]any{"tls.crt": chain, "tls.key": leaf.key, "ca.crt": nil}, nil, 3, false,
		},
		"Vault, ca_chain": {map[string]any{
			"certificate": leaf.cert, "private_key": leaf.key, "issuing_ca": lower.pem,
			"ca_chain": []string{lower.pem, middle.pem, root.pem},
		}, nil, 3, true},
		"Vault, an empty list as ca_chain": {map[string]any{
			"certificate": chain, "private_key": leaf.key, "ca_chain": []string{}, "issuing_ca": root.pem,
		}, nil, 3, true},
		"Vault, a list with an empty string as ca_chain": {map[string]any{
			"certificate": chain, "private_key": leaf.key, "ca_chain": []string{""}, "issuing_ca": root.pem,
		}, nil, 3, true},
		"Vault, an empty string as ca_chain": {map[string]any{
			"certificate": chain, "private_key": leaf.key, "ca_chain": "\n", "issuing_ca": root.pem,
		}, nil, 3, true},
		"Vault, ca_chain out of order": {map[string]any{
			"certificate": leaf.cert, "private_key": leaf.key, "ca_chain": []string{root.pem, middle.pem, other.pem, lower.pem},
		}, nil, 3, true},
		"Vault, lines without the last newline": {map[string]any{
			"certificate": strings.TrimSpace(leaf.cert), "private_key": strings.TrimSpace(leaf.key),
			"ca_chain": []string{strings.TrimSpace(lower.pem), strings.TrimSpace(middle.pem)},
		}, nil, 3, true},
		"Vault, pem_bundle": {map[string]any{
			"certificate": leaf.key + chain, "private_key": leaf.key, "ca_chain": []string{lower.pem, middle.pem},
		}, nil, 3, true},
		"Kubernetes before Vault": {map[string]any{
			"tls.crt": chain, "tls.key": leaf.key, "certificate": "x", "private_key": "y", "issuing_ca": "z",
		}, nil, 3, false},
		"names from WithFields": {
			map[string]any{"c": chain, "k": leaf.key, "a": root.pem, "tls.crt": "x"},
			[]secretstls.Option{secretstls.WithFields("c", "k", "a")}, 3, true,
		},
		"names from WithFields, no CA": {
			map[string]any{"c": chain, "k": leaf.key, "ca.crt": ""}, []secretstls.Option{secretstls.WithFields("c", "k", "")}, 3, false,
		},
		"all in one field": {
			map[string]any{"pem": "a comment\n" + chain + leaf.key}, []secretstls.Option{secretstls.WithFields("pem", "pem", "")}, 3, false,
		},
		"several CAs, with comments and CRLF": {map[string]any{
			"tls.crt": strings.ReplaceAll(chain, "\n", "\r\n"), "tls.key": strings.ReplaceAll(leaf.key, "\n", "\r\n"),
			"ca.crt": "# old\n" + other.pem + "\n# new\n" + root.pem,
		}, nil, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			followed := newSecret(t, document(tt.fields)).follow(tt.opts...)
			o := shake(followed.Server(), trusting(root))
			is.NoErr(o.clientErr)
			is.NoErr(o.serverErr)
			is.Equal(o.serial(), int64(7))
			is.Equal(len(o.client.PeerCertificates), tt.length)
			is.Equal(current(followed).ClientCAs != nil, tt.hasCA)
			is.NoErr(followed.Err())
			is.True(!shake(followed.Server(), trusting(other)).ok()) // the control
		})
	}
}

// A reissued intermediate has the name and the key of the old one, which may have expired.
func TestTheLatestIntermediateCompletesTheChain(t *testing.T) {
	root := newAuthority("root")
	key := newKey()
	issue := func(serial int64, notAfter time.Time) *authority {
		template := templateOf("intermediate", serial)
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage, template.NotAfter = x509.KeyUsageCertSign, notAfter
		cert, text := sign(template, root.cert, key, root.key)
		return &authority{cert, key, text}
	}
	expired, fresh := issue(5, time.Date(1995, 1, 1, 0, 0, 0, 0, time.UTC)), issue(6, time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC))
	leaf := fresh.issue(1)
	for _, cas := range [][]*authority{{expired, fresh, root}, {root, fresh, expired}} {
		is := is.New(t)
		o := shake(newSecret(t, kubernetes(leaf, cas...)).follow().Server(), trusting(root))
		is.NoErr(o.clientErr)
		is.Equal(o.client.PeerCertificates[1].SerialNumber.Int64(), int64(6))
	}
	o := shake(newSecret(t, kubernetes(leaf, expired, root)).follow().Server(), trusting(root)) // the control
	is.New(t).True(o.clientErr != nil)
}

// Every kind of key that crypto/tls supports works.
func TestKindsOfKeys(t *testing.T) {
	ca := newAuthority("ca")
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	ecKey := newKey()
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	is.New(t).NoErr(err)
	rsaCert, ecCert, edCert := leafOf(ca, rsaKey.Public()), leafOf(ca, ecKey.Public()), leafOf(ca, edKey.Public())
	shortest := must(rsa.GenerateKey(rand.Reader, 1024)) // the minimum of crypto/rsa
	p384, p521 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)), must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	for name, p := range map[string]pair{
		"RSA, PKCS #8":   {rsaCert, keyPEM(rsaKey)},
		"RSA, PKCS #1":   {rsaCert, block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))},
		"ECDSA, PKCS #8": {ecCert, keyPEM(ecKey)},
		"ECDSA, SEC 1":   {ecCert, block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecKey)))},
		"ECDSA, by OpenSSL": {ecCert, block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}) +
			block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ecKey)))},
		"Ed25519":      {edCert, keyPEM(edKey)},
		"RSA, 1024":    {leafOf(ca, shortest.Public()), keyPEM(shortest)},
		"ECDSA, P-384": {leafOf(ca, p384.Public()), keyPEM(p384)},
		"ECDSA, P-521": {leafOf(ca, p521.Public()), keyPEM(p521)},
	} {
		t.Run(name, func(t *testing.T) {
			is.New(t).True(shake(newSecret(t, kubernetes(p)).follow().Server(), trusting(ca)).ok())
		})
	}
}

// leafOf returns a certificate for localhost with that public key.
func leafOf(ca *authority, public any) string {
	template := templateOf("leaf", 1)
	template.DNSNames = []string{"localhost"}
	return block("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, template, ca.cert, public, ca.key)))
}

// An unusable document is an error that names key and field and shows none of the content.
func TestDocumentsThatCannotBeUsed(t *testing.T) {
	ca := newAuthority("ca")
	p, other := ca.issue(1), ca.issue(2)
	der, _ := pem.Decode([]byte(p.key))
	certDER, _ := pem.Decode([]byte(p.cert))
	x25519 := keyPEM(must(ecdh.X25519().GenerateKey(rand.Reader)))
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	t.Setenv("GODEBUG", "rsa1024min=0")
	short := must(rsa.GenerateKey(rand.Reader, 1016))
	t.Setenv("GODEBUG", "")
	escaped := func(text string) string { return strings.ReplaceAll(text, "\n", `\n`) }
	k8s := func(cert, key string) string { return document(map[string]any{"tls.crt": cert, "tls.key": key}) }
	withCA := func(ca any) string {
		return document(map[string]any{"tls.crt": p.cert, "tls.key": p.key, "ca.crt": ca})
	}
	vault := func(chain any) string {
		return document(map[string]any{"certificate": p.cert, "private_key": p.key, "ca_chain": chain})
	}
	verifying := secretstls.WithConfig(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert})
	ifGiven := secretstls.WithConfig(&tls.Config{ClientAuth: tls.VerifyClientCertIfGiven})
	for name, tt := range map[string]struct {
		document string
		opt      secretstls.Option
		class    error
		want     string
	}{
		"a pair that does not match": {k8s(p.cert, other.key), nil, secrets.ErrMalformed,
			"the certificate and the key do not match: tls.crt is not the certificate of tls.key"},
		"the wrong order": {
			k8s(ca.pem+p.cert, p.key), nil, secrets.ErrMalformed,
			"the certificate of tls.key must be the first one in tls.crt",
		},
		"not JSON":            {p.cert, nil, secrets.ErrMalformed, "the key must name a document"},
		"not JSON, own names": {p.cert, secretstls.WithFields("a", "b", ""), secrets.ErrMalformed, "the key must name a document"},
		"other fields": {
			document(map[string]any{"cert": p.cert}), nil, secrets.ErrFieldNotFound,
			"New looks for tls.crt and tls.key",
		},
		"no certificate":  {document(map[string]any{"tls.key": p.key}), nil, secrets.ErrFieldNotFound, "no field tls.crt"},
		"no key":          {document(map[string]any{"tls.crt": p.cert}), nil, secrets.ErrFieldNotFound, "no field tls.key"},
		"no key of Vault": {document(map[string]any{"certificate": p.cert}), nil, secrets.ErrFieldNotFound, "no field private_key"},
		"the named CA is missing": {
			k8s(p.cert, p.key), secretstls.WithFields("tls.crt", "tls.key", "ca"), secrets.ErrFieldNotFound,
			"no field ca;",
		},
		"key in DER":           {k8s(p.cert, string(der.Bytes[:0])+"MIGH"), nil, secrets.ErrMalformed, "tls.key is not a PEM private key"},
		"empty key":            {k8s(p.cert, ""), nil, secrets.ErrMalformed, "tls.key is not a PEM private key"},
		"a certificate as key": {k8s(p.cert, p.cert), nil, secrets.ErrMalformed, "tls.key is not a PEM private key"},
		"a key as certificate": {k8s(p.key, p.key), nil, secrets.ErrMalformed, "tls.crt is not a PEM certificate"},
		"a key that is cut off": {
			k8s(p.cert, p.key[:100]), nil, secrets.ErrMalformed,
			"tls.key is not a PEM private key: a block in it is damaged or cut off",
		},
		"a key with other bytes": {k8s(p.cert, block("PRIVATE KEY", der.Bytes[1:])), nil, secrets.ErrMalformed, "tls.key cannot be parsed"},
		"a key for X25519":       {k8s(p.cert, x25519), nil, secrets.ErrMalformed, "tls.key cannot be parsed"},
		"a key with escapes":     {k8s(p.cert, escaped(p.key)), nil, secrets.ErrMalformed, `its lines end in "\" and "n"`},
		"encrypted, PKCS #8": {
			k8s(p.cert, block("ENCRYPTED PRIVATE KEY", der.Bytes)), nil, secrets.ErrMalformed,
			"the private key in tls.key is encrypted",
		},
		"encrypted, traditional": {k8s(p.cert, string(pem.EncodeToMemory(&pem.Block{
			Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: der.Bytes,
		}))), nil, secrets.ErrMalformed, "the private key in tls.key is encrypted"},
		"a certificate with other bytes": {k8s(p.cert+block("CERTIFICATE", certDER.Bytes[1:]), p.key), nil, secrets.ErrMalformed,
			"certificate 2 of tls.crt cannot be parsed"},
		"an empty CA": {
			withCA(""), nil, secrets.ErrMalformed,
			`ca.crt is empty; to do without a CA, use WithFields("tls.crt", "tls.key", "")`,
		},
		"a CA of white space":  {withCA("\n"), nil, secrets.ErrMalformed, "ca.crt is empty"},
		"a CA without one":     {withCA(p.key), nil, secrets.ErrMalformed, "ca.crt is not a PEM certificate"},
		"a CA of another kind": {withCA("none"), nil, secrets.ErrMalformed, "ca.crt is not a PEM certificate"},
		"a CA that is cut off": {
			withCA(ca.pem + ca.pem[:100]), nil, secrets.ErrMalformed,
			"ca.crt is not a PEM certificate: a block in it is damaged",
		},
		"a list with a number": {vault([]any{ca.pem, 1}), nil, secrets.ErrMalformed, "ca_chain is not a list of PEM certificates"},
		"an empty list, and no other CA": {
			vault([]any{}), nil, secrets.ErrMalformed,
			`ca_chain is empty; to do without a CA, use WithFields("certificate", "private_key", "")`,
		},
		"an empty list as the named CA": {
			withCA([]any{}), secretstls.WithFields("tls.crt", "tls.key", "ca.crt"), secrets.ErrMalformed, "ca.crt is empty",
		},
		"an empty issuing_ca": {
			document(map[string]any{"certificate": p.cert, "private_key": p.key, "issuing_ca": ""}), nil, secrets.ErrMalformed,
			"issuing_ca is empty",
		},
		"a curve that crypto/tls lacks": {k8s(leafOf(ca, p224.Public()), keyPEM(p224)), nil, secrets.ErrMalformed,
			"crypto/tls cannot use the private key in tls.key"},
		"a short RSA key": {k8s(leafOf(ca, short.Public()), keyPEM(short)), nil, secrets.ErrMalformed,
			"crypto/tls cannot use the private key in tls.key"},
		"no CA for clients": {k8s(p.cert, p.key), verifying, secrets.ErrFieldNotFound, "the document has no CA (ca.crt), and ClientAuth"},
		"no CA, if given":   {k8s(p.cert, p.key), ifGiven, secrets.ErrFieldNotFound, "the document has no CA (ca.crt), and ClientAuth"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			s := newSecret(t, tt.document)
			var opts []secretstls.Option
			if tt.opt != nil {
				opts = append(opts, tt.opt)
			}
			followed, err := secretstls.New(t.Context(), s.client, "tls", opts...)
			is.True(followed == nil)
			is.True(errors.Is(err, tt.class))
			if !strings.HasPrefix(err.Error(), "secrets: fake: tls: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %q, want %q", err, tt.want)
			}
			for _, text := range []string{p.key, other.key, x25519, p.cert, ca.pem} {
				for line := range strings.Lines(text) {
					if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") && len(line) > 8 {
						secretstest.AssertNoLeak(t, line, err)
					}
				}
			}
		})
	}
}

// New fails as Watch does if the secret does not exist.
func TestNewFailsAsWatchDoes(t *testing.T) {
	is := is.New(t)
	s := newSecret(t, "{}")
	_, err := secretstls.New(t.Context(), s.client, "other")
	is.True(errors.Is(err, secrets.ErrNotFound))
	_, err = secretstls.New(t.Context(), s.client, "##")
	is.True(errors.Is(err, secrets.ErrInvalidKey))
}

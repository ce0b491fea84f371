package secretstls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-5482dd03/secrets"
)

// Errors of crypto/tls and crypto/x509 may quote their input. These functions return only their own texts.

// textOf returns the text of the field name. The field may be a JSON list of strings, like Vault's ca_chain.
func textOf(name string, field secrets.Secret) (string, *secrets.Error) {
	text := strings.TrimSpace(field.Reveal())
	if !strings.HasPrefix(text, "[") {
		return text, nil
	}
	var list []string
	if err := field.JSON(&list); err != nil {
		return "", malformed(name + " is not a list of PEM certificates")
	}
	return strings.TrimSpace(strings.Join(list, "\n")), nil
}

// certificates returns the certificates in text, the content of the field name.
func certificates(name, text string) ([]*x509.Certificate, *secrets.Error) {
	blocks, err := blocksOf(name, text, "certificate")
	if err != nil {
		return nil, err
	}
	var all []*x509.Certificate
	for _, block := range blocks {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, malformed("certificate " + strconv.Itoa(len(all)+1) + " of " + name + " cannot be parsed")
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, malformed(name + " is not a PEM certificate")
	}
	return all, nil
}

// privateKey returns the private key in the field name.
func privateKey(name string, field secrets.Secret) (crypto.Signer, *secrets.Error) {
	blocks, err := blocksOf(name, field.Reveal(), "private key")
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(blocks, func(b *pem.Block) bool { return strings.HasSuffix(b.Type, "PRIVATE KEY") })
	if i < 0 {
		return nil, malformed(name + " is not a PEM private key")
	}
	block := blocks[i]
	if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, malformed("the private key in " + name + " is encrypted; store it without a passphrase")
	}
	key := parseKey(block.Bytes)
	if key == nil {
		return nil, malformed("the private key in " + name + " cannot be parsed; " +
			"it must be an RSA, ECDSA or Ed25519 key in PKCS #8, PKCS #1 or SEC 1")
	}
	if !isUsable(key) {
		return nil, malformed("crypto/tls cannot use the private key in " + name + "; " +
			"it must be RSA of at least 1024 bits, ECDSA on P-256, P-384 or P-521, or Ed25519")
	}
	return key, nil
}

// blocksOf returns the PEM blocks in text, the content of the field name, which should be a what.
func blocksOf(name, text, what string) ([]*pem.Block, *secrets.Error) {
	var blocks []*pem.Block
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		blocks = append(blocks, block)
	}
	switch begun := strings.Count(text, "-----BEGIN "); {
	case len(blocks) < begun && strings.Contains(text, `\n`):
		return nil, malformed(name + ` is not a PEM ` + what + `: its lines end in "\" and "n" instead of a newline`)
	case len(blocks) == 0 && begun == 0:
		return nil, malformed(name + " is not a PEM " + what)
	case len(blocks) < begun: // pem.Decode skips damaged blocks, such as the end of a half-written file
		return nil, malformed(name + " is not a PEM " + what + ": a block in it is damaged or cut off")
	}
	return blocks, nil
}

// parseKey returns the private key in der, or nil.
func parseKey(der []byte) crypto.Signer {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer
		}
		return nil // such as a key for X25519
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key
	}
	return nil
}

// isUsable reports whether crypto/tls can sign a handshake with key. crypto/x509 also parses keys without a signature scheme in crypto/tls
// (signatureSchemesForCertificate there) and keys that crypto/rsa refuses (https://pkg.go.dev/crypto/rsa#hdr-Minimum_key_size).
func isUsable(key crypto.Signer) bool {
	switch public := key.Public().(type) {
	case *rsa.PublicKey:
		return public.N.BitLen() >= 1024
	case *ecdsa.PublicKey:
		return public.Curve == elliptic.P256() || public.Curve == elliptic.P384() || public.Curve == elliptic.P521()
	default:
		return true
	}
}

// isOf returns a function that reports whether a certificate has the public key of key.
func isOf(key crypto.Signer) func(c *x509.Certificate) bool {
	public, ok := key.Public().(publicKey)
	return func(c *x509.Certificate) bool { return ok && public.Equal(c.PublicKey) }
}

// publicKey is implemented by all public keys of the standard library: https://pkg.go.dev/crypto#PublicKey.
type publicKey interface{ Equal(x crypto.PublicKey) bool }

// Package secretstls serves and dials TLS with a certificate, a key and a CA that change without a restart.
//
// A server:
//
//	t, err := secretstls.New(ctx, client, "tls") // ctx is the program's
//	if err != nil {
//		return err
//	}
//	defer t.Close()
//	server := &http.Server{TLSConfig: t.Server()}
//	err = server.ListenAndServeTLS("", "")
//
// A client that presents its certificate and trusts the CA of the secret:
//
//	t, err := secretstls.New(ctx, client, "tls", secretstls.WithConfig(&tls.Config{NextProtos: []string{"h2", "http/1.1"}}))
//	…
//	transport := &http.Transport{DialTLSContext: t.DialTLS, ForceAttemptHTTP2: true}
//
// # The document
//
// The key names one document with all parts, so that they have the same version. It is a directory of [backend/file], such as a mounted
// Kubernetes Secret, or a JSON object of Vault, AWS or an environment variable. Its fields hold PEM:
//
//	tls.crt      tls.key      ca.crt                   a Kubernetes Secret of type kubernetes.io/tls; ca.crt is optional
//	certificate  private_key  ca_chain or issuing_ca   what Vault's PKI engine issues, stored in a KV secret
//
// [WithFields] sets other names. The certificate of the key comes first, then its chain. If the chain is incomplete, intermediates of the
// CA field complete it: Vault returns the certificate alone. If ca_chain is empty, issuing_ca is used.
//
// DialTLS trusts the CA. Server verifies clients with it, if [tls.Config.ClientAuth] of [WithConfig] requires that. Without a CA field,
// DialTLS trusts the system roots, and Server cannot verify clients.
//
// # What it does
//
// New connections use a new version as soon as it is fetched: for files, within about half a second. If the new certificate and key do not
// match or cannot be read, the last good version stays, and [TLS.Err] returns the reason. Two files may therefore be renamed one after the
// other; only [New] fails between the two renames, so try it again. After a version with a CA, one without is not used: DialTLS would trust
// the system roots instead.
//
// To replace a CA, first put the old and the new one into the field. Then replace the certificates everywhere, then remove the old CA.
//
// TLS 1.2 and 1.3 sessions resume only within a version, on both sides: a session of a client whose CA was removed does not resume. After
// each change, each client's first handshake is a full one.
//
// # Limits
//
//   - Open connections keep the certificate and the CA that they began with. Limit their age if that matters.
//   - A certificate that has expired, or is not valid yet, is accepted, since the clock may be wrong. It can replace a valid one, and
//     then peers refuse it. To detect that, check NotBefore and NotAfter of Certificates[0].Leaf of the Config that GetConfigForClient of
//     [TLS.Server] returns.
//   - Revocation is not checked: crypto/tls has no support for it.
//   - A directory is read as a whole. A file in it that is not text, such as a keystore.jks of cert-manager, is an error.
//   - [http.Transport] does not use DialTLSContext for requests through a proxy.
//
// [backend/file]: https://pkg.go.dev/github.com/seed-5482dd03/secrets/backend/file
package secretstls

// Package secretstls serves and dials TLS with a certificate, a key and a CA that change without a restart.
//
//	t, err := secretstls.New(ctx, client, "tls") // ctx is that of the program
//	if err != nil {
//		return err
//	}
//	defer t.Close()
//	server := &http.Server{TLSConfig: t.Server()}
//	err = server.ListenAndServeTLS("", "")
//
// A client that shows its certificate to a server, and trusts the CA of the secret:
//
//	t, err := secretstls.New(ctx, client, "tls", secretstls.WithConfig(&tls.Config{NextProtos: []string{"h2", "http/1.1"}}))
//	…
//	transport := &http.Transport{DialTLSContext: t.DialTLS, ForceAttemptHTTP2: true}
//
// # The document
//
// The key names a document that holds all parts, so that they are of one version: a directory of [backend/file], where a Secret of
// Kubernetes is mounted, or a JSON object of Vault, AWS or an environment variable. Its fields hold PEM:
//
//	tls.crt      tls.key      ca.crt                   a Secret of Kubernetes of type kubernetes.io/tls; ca.crt is optional
//	certificate  private_key  ca_chain or issuing_ca   what Vault's PKI engine issues, stored in a KV secret
//
// [WithFields] names others. The certificate of the key comes first, and its chain follows. If the chain is not complete, intermediates
// of the CA field complete it: the certificate of Vault comes alone. An empty ca_chain gives way to issuing_ca.
//
// The CA is what DialTLS trusts, and what Server verifies clients with, if [tls.Config.ClientAuth] of [WithConfig] asks for that. Without
// a CA field, DialTLS trusts the roots of the system, and Server cannot verify clients.
//
// # Changes
//
// New connections use the new version as soon as a handle sees it: for files, within about half a second. If the new certificate and
// key do not match or cannot be read, the last good version stays, and [TLS.Err] says why. So two files that are renamed one after the
// other do no harm. Only [New] fails between the two renames; try it again. A version whose CA is missing is not used either, if one
// before it had a CA: DialTLS would trust the roots of the system instead.
//
// To replace a CA, put the old and the new one into the field first. Then replace the certificates everywhere, then remove the old CA.
//
// # Sessions
//
// TLS 1.2 and 1.3 sessions resume within a version, and never across two, on both sides. So a session of a client whose CA was
// removed does not resume. After each change, the first handshake of each client is a full one.
//
// # Limits
//
//   - Open connections stay as they are, with the certificate and the CA that they began with. Bound their age if that matters.
//   - A certificate that is expired, or not valid yet, is not refused, since the clock may be wrong. So it replaces one that is valid, and
//     its peers refuse it. To watch for that, read NotBefore and NotAfter of Certificates[0].Leaf of the Config that GetConfigForClient of
//     [TLS.Server] returns.
//   - There is no check for revocation: crypto/tls has none.
//   - A directory is read as a whole. A file in it that is not text, such as a keystore.jks of cert-manager, is an error.
//   - [http.Transport] does not use DialTLSContext for requests through a proxy.
//
// [backend/file]: https://pkg.go.dev/github.com/seed-5482dd03/secrets/backend/file
package secretstls

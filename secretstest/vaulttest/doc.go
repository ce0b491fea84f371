// Package vaulttest runs a fake HashiCorp Vault on loopback. It answers reads of KV secrets as Vault does, so tests use the real Vault
// client. It needs no Vault binary and no Docker.
//
//	server := vaulttest.New(t)
//	server.Put("secret/database", `{"password":"correct horse"}`)
//	backend, err := vault.New(vault.WithAddress(server.Address()), vault.WithToken(server.Token()))
//	…
//	server.Put("secret/database", `{"password":"battery staple"}`) // a rotation: version 2
//	server.Deny("secret/database")                                 // a policy that no longer grants the read
//	server.ExpireToken()                                           // an expired or revoked token
//	server.Seal()                                                  // an outage: Vault is sealed
//	server.Fail(http.StatusBadGateway)                             // an outage: a proxy answers
//	server.Recover()                                               // the end of Deny, Seal and Fail
//	…
//	if server.Count("secret/database") != 1 { … }                  // the cache served the other reads
//
// # What it does
//
// A path is what "vault kv" takes: the mount, then the name of the secret. The server starts with the mount "secret", KV v2, like "vault
// server -dev". [Server.Mount] adds mounts and upgrades them.
//
// Every login at auth/MOUNT/login succeeds, with any method and credentials. It returns a new token with a TTL of one hour, which can be
// renewed and revoked.
//
// In a testing/synctest bubble, where no network works, use [Unstarted] and [Server.Client]. For TLS, pass an Unstarted server to
// httptest.NewTLSServer: it is an [http.Handler].
//
// Error messages are those of Vault 1.21.
//
// # Limits
//
// The server does not model:
//
//   - Writes, listings and metadata over the API. Tests change the server through its methods.
//   - Policies, except Deny. Namespaces, quotas, response wrapping, replication, and engines other than KV.
//   - Floating-point numbers of KV v2: the server returns numbers as they were put.
//   - Time. Nothing expires automatically; deletion_time and token TTLs are only reported.
//
// Secrets are held unprotected.
package vaulttest

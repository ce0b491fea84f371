// Package vaulttest is HashiCorp Vault for tests: a server on loopback that answers reads of KV secrets as Vault does, so that the
// code under test talks to it through the real Vault client. It needs neither a Vault binary nor Docker, and starts in no time.
//
//	server := vaulttest.New(t)
//	server.Put("secret/database", `{"password":"correct horse"}`)
//	backend, err := vault.New(vault.WithAddress(server.Address()), vault.WithToken(server.Token()))
//	…
//	server.Put("secret/database", `{"password":"battery staple"}`) // a rotation: version 2
//	server.Deny("secret/database")                                 // a policy that no longer grants the read
//	server.ExpireToken()                                           // a token that has expired, or was revoked
//	server.Seal()                                                  // an outage, in Vault's own words
//	server.Fail(http.StatusBadGateway)                             // an outage, in those of a proxy
//	server.Recover()                                               // the end of Deny, Seal and Fail
//	…
//	if server.Count("secret/database") != 1 { … }                  // the cache has answered the other reads
//
// A path is the one that the command "vault kv" takes: the mount, and the name of the secret below it. There is one mount at first,
// "secret", of KV version 2, as in a server of "vault server -dev". [Server.Mount] adds others, and upgrades one.
//
// Each login at auth/MOUNT/login is accepted, whatever its credentials and method are, and brings a token of its own, for an hour.
// It can be renewed and revoked.
//
// In a bubble of testing/synctest, where no network works, use [Unstarted] and [Server.Client]. For a server with TLS, give an
// Unstarted one to httptest.NewTLSServer: it is an [http.Handler].
//
// # What is not modelled
//
//   - Writes, listings and metadata over the API: a test changes the server by its methods.
//   - Policies, but for Deny. Namespaces, quotas, response wrapping, replication, and engines other than KV.
//   - Numbers, which KV version 2 of Vault reads as floating-point ones: the server gives them back as they were put.
//   - Times. Nothing expires by itself; deletion_time and the durations of tokens are only shown.
//
// The texts of errors are those of Vault 1.21. The package is for tests: it protects nothing that it holds.
package vaulttest

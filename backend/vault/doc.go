// Package vault reads secrets from HashiCorp Vault and OpenBao: KV versions 1 and 2, and engines with leases, such as database.
//
//	backend, err := vault.New(vault.WithMount("team/kv"), vault.WithAuth(vault.Kubernetes("web")))
//	…
//	client, err := secrets.New(backend, middleware.Standard())
//	…
//	password, err := client.Get(ctx, "database#password")
//
// [New] makes no network calls. For tests, package secretstest/vaulttest has a server.
//
// # Keys
//
// A backend reads one mount. The key contains neither the mount nor data/. The last segment of a path is a field. With the mount M:
//
//	database#password          the field password of the secret M/database
//	database/password          the same: one document, one call, one version
//	team/app/database#         the whole secret M/team/app/database, as JSON
//	database                   the whole secret M/database: a path of one segment has no field
//	database?version=3#user    the field user of version 3; KV version 2 only
//
// The document is the JSON object that the server stores. For its numbers, see Limits.
//
// The backend detects the KV version with the first secret, and again after an upgrade; [WithKVVersion] sets it. If the token has no
// permission to ask for it, the answers to reads decide. The token needs read on M/data/PATH for version 2, and on M/PATH for version 1.
//
// When a consumer refuses a secret of KV version 2, the backend offers the version before it ([secrets.Info] Alternates). That version may
// be gone: max_versions limits how many the server keeps.
//
// # Configuration
//
// Options win over variables. VAULT_AGENT_ADDR or VAULT_ADDR is the address, VAULT_MOUNT the mount, VAULT_NAMESPACE the namespace. TLS uses
// VAULT_CACERT, VAULT_CACERT_BYTES, VAULT_CAPATH, VAULT_CLIENT_CERT, VAULT_CLIENT_KEY, VAULT_TLS_SERVER_NAME and VAULT_SKIP_VERIFY. The
// official client, github.com/hashicorp/vault/api, which sends the requests, reads a few more itself, such as VAULT_HEADERS,
// VAULT_PROXY_ADDR and VAULT_RATE_LIMIT.
//
// The token comes from the first of these:
//
//   - one of [WithToken], [WithTokenFile], [WithAuth] and [WithoutToken]
//   - the token of the client of [WithClient], if it has one
//   - the login of VAULT_AUTH_METHOD, with VAULT_AUTH_PATH, VAULT_ROLE, VAULT_JWT_FILE, VAULT_ROLE_ID, VAULT_SECRET_ID and
//     VAULT_SECRET_ID_FILE; docs/vault.md explains them
//   - VAULT_TOKEN, then VAULT_TOKEN_FILE
//   - none, if VAULT_AGENT_ADDR is the address: the agent adds its own
//   - ~/.vault-token, which `vault login` writes; a token helper of ~/.vault is not run
//
// [WithAuth] logs in with [AppRole], [Kubernetes], [JWT] or any method of the official client. The first request logs in, and concurrent
// requests share that login. The backend renews the token at about two thirds of its TTL. It logs in again before the token reaches its
// maximum TTL, and when the server rejects the token. After a failed login or renewal, it waits a second or more. No goroutine runs before
// the first login or after [Backend.Close], which revokes the token of a login.
//
// To renew and revoke, a token needs the policy default. Vault adds it unless the role has token_no_default_policy. Without it, the backend
// logs in more often, and Close returns [secrets.ErrPermissionDenied]. If the auth method is in another namespace than the secrets, use
// [WithAuthNamespace].
//
// The token goes only to the host of the address. A redirect to another host is an error, unless [WithRedirectHosts] allows it, and so is a
// redirect to another path. Hooks of net/http/httptrace in a caller's context see no request; the transport of [WithHTTPClient] does.
//
// # Freshness, leases
//
// Files may be replaced while the program runs, by a rename or in place. A token file is read at each request, a credential at each login.
// Changed TLS files take effect with the next request: it opens a new connection, and requests under way finish on the old one. While only
// half of a certificate pair is new, the last good pair is used, and a TLS error says so. A file system that hangs blocks no call beyond
// its context; for TLS files, a request waits up to a second and then uses the last content.
//
// Secrets of KV have no lease, whatever duration Vault returns. If delete_version_after is set, Meta.ExpiresAt is the deletion time.
//
// [WithDynamicSecrets] is for engines that create credentials at each read. Meta.ExpiresAt is then the end of the lease, which replaces the
// cache's TTL. When the lease or the token that obtained it ends, a cache drops the secret. The backend does not renew leases: the next
// fetch creates a new one. A cache that refreshes in the background serves the old credentials meanwhile; Meta.ExpiresAt says how long they
// are still valid.
//
// A static role has no lease. Its Meta.ExpiresAt is the scheduled password change, to about a second. Vault checks the schedule every 5
// seconds and may be late. Until it rotates, the password works, and Meta.ExpiresAt is a second ahead. The document omits the field ttl of
// the answer, which changes every second. [secrets.Client.Do] with secrets.Bridge retries through the change.
//
// # Errors
//
// Each error is a [secrets.Error] of one class, or the error of the context. Its Detail quotes neither the server nor its address, into
// which proxies put tokens.
//
//	secrets.ErrNotFound          no such secret, or nothing is mounted
//	secrets.ErrDeleted           the version was deleted or destroyed
//	secrets.ErrPermissionDenied  the policies do not grant the read. Vault also answers this for a missing secret or a wrong mount that
//	                             the policies do not cover; a fallback does not go on
//	secrets.ErrUnauthenticated   the token is unknown, expired or revoked, or the login was refused
//	secrets.ErrUnavailable       the network, TLS that either side refuses, a sealed server, a standby, a quota, a server error, a
//	                             redirect elsewhere, an answer that is not Vault's, such as the 403 of a proxy
//	secrets.ErrInvalidKey        a malformed version, a version with KV version 1, a mount that is not KV
//	secrets.ErrMalformed         an answer of Vault that is wrapped, too large, without a secret, or contradicts itself
//
// A request is tried up to three times, within the deadline of its context. If the server asks for a longer pause (Retry-After), the
// backend waits a second. Longer outages are for the layers above: the cache's stale values and back-off, and the next backend. A dead
// HTTP/2 connection is closed after 15 seconds.
//
// # Limits
//
//   - KV version 2 of Vault stores numbers as float64: numbers of more than 15 digits change, and 1.50 becomes 1.5. Store them as strings.
//   - Vault before 1.17 and OpenBao do not say whether a denial is about the token. The backend then calls auth/token/lookup-self: at most
//     once in 10 seconds for each token, for up to 2 seconds. A dead token is replaced by a login.
//   - System certificate authorities, and the TLS settings of [WithTLSConfig], [WithHTTPClient] and [WithClient], are not reloaded.
//   - The package logs nothing. If a server or proxy sends more bytes than it announced, net/http writes the beginning of the rest to the
//     standard logger of package log.
package vault

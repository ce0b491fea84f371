// Package vault is the backend of HashiCorp Vault: the secrets of one mount of a server.
//
//	backend, err := vault.New(vault.WithMount("team/kv"), vault.WithAuth(vault.Kubernetes("web")))
//	…
//	client, err := secrets.New(backend, middleware.Standard())
//	…
//	password, err := client.Get(ctx, "database#password")
//
// It speaks through the official client, github.com/hashicorp/vault/api, and takes its settings from the variables that
// users of Vault know, as far as no option gives them: VAULT_ADDR, VAULT_AGENT_ADDR, VAULT_TOKEN, VAULT_NAMESPACE,
// VAULT_CACERT, VAULT_CACERT_BYTES, VAULT_CAPATH, VAULT_CLIENT_CERT, VAULT_CLIENT_KEY, VAULT_TLS_SERVER_NAME and
// VAULT_SKIP_VERIFY, and some of its own: VAULT_TOKEN_FILE, VAULT_MOUNT, and for a login VAULT_AUTH_METHOD, VAULT_AUTH_PATH,
// VAULT_ROLE, VAULT_JWT_FILE, VAULT_ROLE_ID, VAULT_SECRET_ID and VAULT_SECRET_ID_FILE, which docs/vault.md explains. Last of all, it reads
// the token that `vault login` keeps in ~/.vault-token; a token helper that ~/.vault names is not run. The official client reads a few
// more itself, such as VAULT_HEADERS, VAULT_PROXY_ADDR and VAULT_RATE_LIMIT. [New] contacts nobody. For tests, package
// secretstest/vaulttest has a server.
//
// # Keys
//
// The last segment of a path is a field, and the mount is not part of it:
//
//	database#password          the field password of the secret M/database
//	database/password          the same: one document, one call, one version
//	team/app/database#         the whole secret M/team/app/database, as JSON
//	database                   the whole secret M/database: a path of one segment has no field
//	database?version=3#user    the field user of version 3
//
// The document is the JSON object that the server keeps. KV version 2 of Vault reads numbers as floating-point ones: those of
// more than 15 digits come back changed, and 1.50 as 1.5. Keep such as strings.
//
// Whether the mount is KV version 1 or 2 is asked of the server once, with the first secret; [WithKVVersion] says it instead.
// An upgrade from 1 to 2 is noticed. Where the token must not ask, the answers to a read tell. The policy of the token must
// grant read on M/data/PATH for version 2, and on M/PATH for version 1. Versions can be pinned on version 2 only. Keys have no
// data/ in them, with either version.
//
// When a consumer refuses a secret of version 2, the backend names the version before it as worth a try ([secrets.Info] Alternates). That
// version may be deleted or gone: max_versions bounds what the server keeps.
//
// # Tokens
//
// The token is one of [WithToken] and [WithTokenFile], or a login brings it: [WithAuth] with [AppRole], [Kubernetes], [JWT]
// or any method of the official client. A login happens at the first request, once for all that wait for it. The backend
// renews its token at about two thirds of its time to live, logs in again before the token reaches its last end or when the
// server does not know it any more, and lets failed attempts wait for a second and more. Nothing runs before the first login
// and after [Backend.Close], which revokes the token if a login brought it. To renew and to revoke, a token needs the policy
// default, which Vault adds unless the role has token_no_default_policy; without it, there are more logins, and Close returns
// [secrets.ErrPermissionDenied].
//
// The token is sent to the server of the address, below the path in it, and to no other host: a redirect elsewhere is an error, unless
// [WithRedirectHosts] names the host. A redirect must be to the same document. Hooks of net/http/httptrace in the context of a caller see
// no request of the backend; a transport of the program's own, of [WithHTTPClient], does.
//
// Vault before 1.17, and OpenBao, do not say whether a denial is about the token. The backend then asks auth/token/lookup-self, at most
// once in ten seconds for each token and for two seconds at most. A token that is dead is replaced by a login.
//
// An auth method may be in another namespace than the secrets: [WithAuthNamespace].
//
// # Files that change
//
// Every file that is named to the backend may be replaced under a running program, in one step or in place: a token file counts from the
// next request on, a credential from the next login, authorities and the client's pair from the next connection. The first request after
// a change of the TLS files opens one; requests under way end on the old one. A pair of which only half is new is not used: the last good
// one is, and an error of TLS says so. A file on a file system that hangs keeps nobody beyond the context; for the files of TLS, a request
// waits a second, and goes on with what they held last. The authorities of the system, [WithTLSConfig], [WithHTTPClient] and
// [WithClient] stay as they are.
//
// # Leases
//
// Secrets of KV have none, whatever duration Vault gives for them. A version that delete_version_after will delete has that time as
// its Meta.ExpiresAt. [WithDynamicSecrets] is for the engines that make
// credentials at each read. Meta.ExpiresAt is then the end of the lease, past which no cache serves the secret; if the token
// ends before, what was got with it is not served either. Leases are not renewed: a new one takes their place, at the TTL of the
// cache if that is before the end of the lease; give the cache a TTL of at least the lease. A cache that renews in the background
// serves the old one meanwhile, perhaps with a moment left: see Meta.ExpiresAt.
//
// A static role has no lease. Its Meta.ExpiresAt is when Vault is to change the password, give or take a second. Vault may be late: it
// looks every 5 seconds. As long as it is, the password is good, and Meta.ExpiresAt is a second ahead. The field ttl of its answer is not
// in the document, or the document would change each second. [secrets.Client.Do] with secrets.Bridge lasts through the change.
//
// # Errors
//
// Each is a [secrets.Error] of one class, or the error of the context. The Detail is of this package's own words: neither
// what the server has said nor its address is in it, which proxies fill with tokens.
//
//	secrets.ErrNotFound          Vault says that nothing is there, or nothing is mounted
//	secrets.ErrDeleted           the version was deleted or destroyed
//	secrets.ErrPermissionDenied  the policies do not grant the read. A missing secret that they do not cover is this too, so that
//	                             no fallback goes on; so is a wrong mount that they do not cover
//	secrets.ErrUnauthenticated   the token is unknown, expired or revoked, or the login was refused
//	secrets.ErrUnavailable       the network, TLS that either side refuses, a sealed server, a standby, a quota, a server error, a
//	                             redirect elsewhere, an answer of any status that is not Vault's, such as the 403 of a proxy
//	secrets.ErrInvalidKey        no version, a version of KV version 1, a mount that is no KV
//	secrets.ErrMalformed         an answer of Vault that is wrapped, too large, without a secret or contradicts itself
//
// A request is tried three times in all, within the time that its context has, and a server that asks for a longer pause is
// given a second. A connection of HTTP/2 that has died in silence is given up after 15 seconds. What lasts longer is for the layers above:
// the cache with its stale values and its back-off, and the next backend.
//
// The package logs nothing. Package net/http does, to the standard logger of package log: of a server, or a proxy, that sends
// more bytes than it has announced, it logs the beginning of the rest.
package vault

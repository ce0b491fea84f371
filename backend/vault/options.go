package vault

import (
	"crypto/tls"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/seed-5482dd03/secrets/internal/faults"
	"github.com/seed-5482dd03/secrets/internal/text"
)

// Option configures a [Backend].
type Option func(c *config)

// config collects the options.
type config struct {
	name      string
	mount     string
	version   kvVersion // unknownVersion: detect it
	dynamic   bool
	maxSize   int64
	maxPause  time.Duration // between two attempts; tests shorten it
	address   string
	namespace *string // nil: not set by an option
	plaintext bool
	dial      dialer
	peers     []string
	lookup    func(string) (string, bool)

	source  source   // of tokens, or nil
	sources []string // the options that set one

	tls        api.TLSConfig
	tlsConfig  *tls.Config
	httpClient *http.Client
	client     *api.Client
	connection []string // the options that configure the connection

	faults faults.List
}

// source makes the token source for a server.
type source func(s *server, ended func(serial uint64)) (tokens, error)

func newConfig(opts []Option) *config {
	c := &config{
		name: "vault", maxSize: 1 << 20, maxPause: maxRetryWait, lookup: os.LookupEnv, dial: dialKeepingAlerts,
		faults: faults.List{Prefix: "secrets: vault: "},
	}
	faults.Apply(&c.faults, opts, func(o Option) { o(c) })
	if c.mount == "" {
		c.mount = c.defaultMount()
	}
	return c
}

// env returns the value of a variable, without a newline at its end: Kubernetes Secrets often end with one. An empty variable counts as
// unset, as in Vault's own tools.
func (c *config) env(name string) string {
	value, _ := c.lookup(name)
	return text.Trim(value)
}

// setSource records that option sets the token source. A second one is a fault.
func (c *config) setSource(option string, s source) {
	if c.sources = append(c.sources, option); len(c.sources) > 1 {
		c.faults.Addf("%s is a second source of tokens, after %s; pass only one", option, c.sources[0])
		return
	}
	c.source = s
}

// addConnection records that option configures the connection.
func (c *config) addConnection(option string) {
	if !slices.Contains(c.connection, option) {
		c.connection = append(c.connection, option)
	}
}

// WithName sets the name of the backend in errors and in secrets.Meta. Two backends of one client need different names. Default: "vault".
func WithName(name string) Option {
	return func(c *config) {
		c.name = name
		c.faults.Checkf(name != "", "WithName: an empty name")
	}
}

// WithAddress sets the address of the server, such as https://vault.example.com:8200, or unix:///run/vault.sock for a socket. A user name
// or password in it is a fault. Default: VAULT_AGENT_ADDR, or else VAULT_ADDR; without either, [New] returns an error.
func WithAddress(address string) Option {
	return func(c *config) {
		c.addConnection("WithAddress")
		if c.address = address; address == "" {
			c.faults.Addf("WithAddress: an empty address")
		}
	}
}

// WithPlaintext allows an http:// address of another machine: tokens and secrets cross the network unencrypted. Default: New returns an
// error for such an address.
func WithPlaintext() Option { return func(c *config) { c.plaintext = true } }

// WithNamespace sets the Vault Enterprise namespace of the mount, and of the auth method unless [WithAuthNamespace] sets another. An empty
// name is the root namespace. Vault Community ignores namespaces and answers from its root. Default: VAULT_NAMESPACE.
func WithNamespace(namespace string) Option {
	return func(c *config) {
		c.namespace = &namespace
		c.faults.Checkf(printable(namespace), "WithNamespace: %q is not a namespace", namespace)
	}
}

// WithMount sets the path of the secrets engine. It may have several segments, such as team/kv. Default: VAULT_MOUNT, or else "secret".
func WithMount(path string) Option {
	return func(c *config) {
		mount := strings.TrimSuffix(path, "/") // as Vault itself writes it
		if !validPath(mount) {
			c.faults.Addf("WithMount: %q is not the path of a mount", path)
			return
		}
		c.mount = mount
	}
}

// WithKVVersion sets the version of the KV secrets engine: 1 or 2. Default: the backend detects it once, and again after an upgrade of the
// mount.
func WithKVVersion(version int) Option {
	return func(c *config) {
		if version != int(kv1) && version != int(kv2) {
			c.faults.Addf("WithKVVersion: %d is not 1 or 2", version)
			return
		}
		c.version = kvVersion(version)
	}
}

// WithDynamicSecrets is for a secrets engine other than KV, such as database or aws, where a read may create credentials with a lease.
// Meta.ExpiresAt is the end of the lease; a cache fetches anew before it and serves nothing after it. Leases also end with their token:
// [Backend.Close] revokes the token of a login. Leases of a token that the program set live until their own end.
//
// With the mount M, creds/app#password is the field password of what M/creds/app returns, and creds/app# is all of it. Fields of one cached
// document belong to one lease; without a cache, each Get creates a lease. secrets.Client.Has answers from the cache only, and is
// [secrets.ErrInvalidKey] for anything else.
//
// Default: only KV mounts are read.
func WithDynamicSecrets() Option { return func(c *config) { c.dynamic = true } }

// WithToken sets the token. The backend neither renews nor revokes it. It wins over the token of [WithClient]. Passing more than one of
// WithToken, [WithTokenFile], [WithAuth] and [WithoutToken], or one of them twice, is a fault. Default: the login of VAULT_AUTH_METHOD, or
// else VAULT_TOKEN, or else the file VAULT_TOKEN_FILE, or else ~/.vault-token, which `vault login` writes and which is not read with
// VAULT_AGENT_ADDR.
func WithToken(token string) Option {
	return func(c *config) {
		c.setSource("WithToken", func(*server, func(uint64)) (tokens, error) { return staticToken(token) })
	}
}

// WithTokenFile sets the file that holds the token, such as the sink of a Vault Agent. The backend reads it at every request. While it is
// missing or empty, requests are [secrets.ErrUnavailable].
func WithTokenFile(path string) Option {
	return func(c *config) {
		if path == "" {
			c.faults.Addf("WithTokenFile: an empty path")
		}
		c.setSource("WithTokenFile", func(_ *server, ended func(uint64)) (tokens, error) { return fileToken(path, ended), nil })
	}
}

// WithAuth logs in with method: [AppRole], [Kubernetes], [JWT], a method of the official client, or your own. The backend calls Login at
// the first request and whenever it needs a new token, never concurrently, with a client that has no token. It renews the token, and
// [Backend.Close] revokes it.
func WithAuth(method api.AuthMethod) Option {
	return func(c *config) {
		if faults.IsNil(method) {
			c.faults.Addf("WithAuth: a nil method")
		} else if own, ok := method.(*Auth); ok {
			if err := own.Validate(); err != nil {
				c.faults.Addf("WithAuth: %w", err)
			}
		}
		c.setSource("WithAuth", func(s *server, ended func(uint64)) (tokens, error) { return newSession(s, method, ended), nil })
	}
}

// WithoutToken sends no token. It is for a Vault Agent or Vault Proxy that adds its own to each request.
func WithoutToken() Option {
	return func(c *config) {
		c.setSource("WithoutToken", func(*server, func(uint64)) (tokens, error) { return noToken{}, nil })
	}
}

// WithTLSCACert sets the PEM file of the certificate authorities that are trusted for the server. It may be replaced: new connections use
// its current content. Default: the file VAULT_CACERT, or else VAULT_CACERT_BYTES, or else the directory VAULT_CAPATH, or else the system's
// authorities.
func WithTLSCACert(file string) Option {
	return func(c *config) {
		c.addConnection("WithTLSCACert")
		c.tls.CACert = file
	}
}

// WithTLSClientCert sets the PEM files of the client's certificate and key. They may be replaced: new connections use their current
// content, and the last good pair while only one of them is new. Default: VAULT_CLIENT_CERT and VAULT_CLIENT_KEY.
func WithTLSClientCert(cert, key string) Option {
	return func(c *config) {
		c.addConnection("WithTLSClientCert")
		if cert == "" || key == "" {
			c.faults.Addf("WithTLSClientCert: both files are needed")
		}
		c.tls.ClientCert, c.tls.ClientKey = cert, key
	}
}

// WithTLSServerName sets the name that the server's certificate must have. Default: VAULT_TLS_SERVER_NAME, or else the host of the address.
func WithTLSServerName(name string) Option {
	return func(c *config) {
		c.addConnection("WithTLSServerName")
		c.tls.TLSServerName = name
	}
}

// WithTLSSkipVerify accepts any certificate: anyone on the network path can then read the token and the secrets. Default:
// VAULT_SKIP_VERIFY, or else off.
func WithTLSSkipVerify() Option {
	return func(c *config) {
		c.addConnection("WithTLSSkipVerify")
		c.tls.Insecure = true
	}
}

// WithTLSConfig sets the whole TLS configuration, which is cloned. The TLS variables then do not apply; combining it with another WithTLS
// option is a fault.
func WithTLSConfig(settings *tls.Config) Option {
	return func(c *config) {
		c.addConnection("WithTLSConfig")
		if settings == nil {
			c.faults.Addf("WithTLSConfig: nil")
			return
		}
		c.tlsConfig = settings.Clone()
	}
}

// WithHTTPClient sends requests through the transport of client. The redirect policy, timeout and cookies of client do not apply, nor do
// the variables for TLS and a proxy; a WithTLS option is a fault. Set HTTP2.SendPingTimeout of the transport: otherwise an HTTP/2
// connection that a firewall has dropped stays in use for a quarter of an hour. Default: a transport of the backend's own, which sends
// pings.
func WithHTTPClient(client *http.Client) Option {
	return func(c *config) {
		c.addConnection("WithHTTPClient")
		if client == nil {
			c.faults.Addf("WithHTTPClient: nil")
		}
		c.httpClient = client
	}
}

// WithClient takes the address, namespace, headers, TLS and token from client. The backend uses a copy with its own timeouts, retries and
// redirect rules. It reads the token of client at every request, unless another option sets the token, and the program keeps renewing it.
func WithClient(client *api.Client) Option {
	return func(c *config) {
		if client == nil {
			c.faults.Addf("WithClient: nil")
		}
		c.client = client
	}
}

// WithRedirectHosts allows redirects, with the token, to these hosts: nodes of the same cluster whose standby nodes do not forward
// requests. A host without a port is allowed on every port. A redirect from https to http is never followed. Default: a redirect to another
// host or port is [secrets.ErrUnavailable].
func WithRedirectHosts(hosts ...string) Option {
	return func(c *config) {
		for _, host := range hosts {
			if host == "" || strings.ContainsAny(host, "/@*? ") {
				c.faults.Addf("WithRedirectHosts: %q is not a host", host)
				continue
			}
			c.peers = append(c.peers, host)
		}
	}
}

// WithMaxSize sets the maximum size of an answer in bytes; it holds the whole secret. A larger one is [secrets.ErrMalformed]. Default: 1
// MiB.
func WithMaxSize(bytes int64) Option {
	return func(c *config) {
		c.maxSize = bytes
		c.faults.Checkf(bytes > 0, "WithMaxSize: %d is not more than 0", bytes)
	}
}

// WithLookup sets the function that looks up environment variables, for tests and for programs with their own settings. It must be safe for
// concurrent use. Variables that only the official client reads, such as VAULT_HEADERS and VAULT_RATE_LIMIT, still come from the process.
// Default: os.LookupEnv.
func WithLookup(lookup func(name string) (value string, ok bool)) Option {
	return func(c *config) {
		if lookup == nil {
			c.faults.Addf("WithLookup: nil")
			return
		}
		c.lookup = lookup
	}
}

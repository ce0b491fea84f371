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

// config is what the options say.
type config struct {
	name      string
	mount     string
	version   kvVersion // as given, or unknownVersion
	dynamic   bool
	maxSize   int64
	maxPause  time.Duration // between two attempts; tests shorten it
	address   string
	namespace *string // nil if no option gives it
	plaintext bool
	dial      dialer
	peers     []string
	lookup    func(string) (string, bool)

	source  source   // of tokens, or nil
	sources []string // the options that gave one

	tls        api.TLSConfig
	tlsConfig  *tls.Config
	httpClient *http.Client
	client     *api.Client
	connection []string // the options that say how to connect

	faults faults.List
}

// source makes a source of tokens for a server.
type source func(s *server, ended func(serial uint64)) (tokens, error)

func newConfig(opts []Option) *config {
	c := &config{
		name: "vault", maxSize: 1 << 20, maxPause: retryAtMost, lookup: os.LookupEnv, dial: dialAttentively,
		faults: faults.List{Prefix: "secrets: vault: "},
	}
	faults.Apply(&c.faults, opts, func(o Option) { o(c) })
	if c.mount == "" {
		c.mount = c.mountOfEnvironment()
	}
	return c
}

// env returns the value of a variable, or "". One that is set and empty counts as unset, as it does for the tools of Vault. A newline at
// the end does not count: a Secret of Kubernetes often ends with one.
func (c *config) env(name string) string {
	value, _ := c.lookup(name)
	return text.Trim(value)
}

// take notes that option gives the source of tokens.
func (c *config) take(option string, s source) {
	if c.sources = append(c.sources, option); len(c.sources) > 1 {
		c.faults.Addf("%s gives a second source of tokens beside %s; give one", option, c.sources[0])
		return
	}
	c.source = s
}

// connects notes that option says how to connect.
func (c *config) connects(option string) {
	if !slices.Contains(c.connection, option) {
		c.connection = append(c.connection, option)
	}
}

// WithName sets the name of the backend in errors and in secrets.Meta, for a client with two of them. The last one given
// counts. By default, it is "vault".
func WithName(name string) Option {
	return func(c *config) {
		c.name = name
		c.faults.Checkf(name != "", "WithName: an empty name")
	}
}

// WithAddress sets the address of the server, as https://vault.example.com:8200, or as unix:///run/vault.sock for a socket.
// It wins over VAULT_ADDR and VAULT_AGENT_ADDR. A user name and password in it are a fault. The last one given counts. By
// default, it is the value of VAULT_AGENT_ADDR, or else of VAULT_ADDR; without either, [New] returns an error.
func WithAddress(address string) Option {
	return func(c *config) {
		c.connects("WithAddress")
		if c.address = address; address == "" {
			c.faults.Addf("WithAddress: an empty address")
		}
	}
}

// WithPlaintext allows an address that begins with http:// and is not of this machine. Tokens and secrets then cross the
// network for everybody on it to read. By default, New returns an error for such an address.
func WithPlaintext() Option { return func(c *config) { c.plaintext = true } }

// WithNamespace sets the namespace of Vault Enterprise in which the mount is, and the auth method, unless [WithAuthNamespace] says
// otherwise. The community edition ignores namespaces: it answers from its root. An empty name is the root namespace. The last one given
// counts. By default, it is the value of VAULT_NAMESPACE.
func WithNamespace(namespace string) Option {
	return func(c *config) {
		c.namespace = &namespace
		c.faults.Checkf(printable(namespace), "WithNamespace: %q is not a namespace", namespace)
	}
}

// WithMount sets the path at which the secrets engine is mounted. It may have several segments, as team/kv. The last one
// given counts. Default: that of VAULT_MOUNT, or else "secret".
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

// WithKVVersion sets the version of the KV secrets engine at the mount, 1 or 2. The last one given counts. By default, the
// server is asked, once, and again when an answer shows that the mount was upgraded.
func WithKVVersion(version int) Option {
	return func(c *config) {
		if version != int(kv1) && version != int(kv2) {
			c.faults.Addf("WithKVVersion: %d; there are 1 and 2", version)
			return
		}
		c.version = kvVersion(version)
	}
}

// WithDynamicSecrets is for a mount that is no KV secrets engine, such as database or aws, where each read may make new
// credentials with a lease. Their end is the Meta.ExpiresAt of the secret: a cache serves nothing past it, and reads anew
// before. They end with the token too: [Backend.Close] revokes the token of a login, and all leases with it; those of a
// token that the program has given stay until their end.
//
// A key is as ever: creds/app#password is the field password of what M/creds/app gives, and creds/app# the whole. Fields
// are of one lease as long as they come from one document in the cache; without a cache, each Get is a lease of its own.
// secrets.Client.Has answers from the cache, and is [secrets.ErrInvalidKey] otherwise, since no lease is made to answer it.
//
// By default, only KV mounts are read.
func WithDynamicSecrets() Option { return func(c *config) { c.dynamic = true } }

// WithToken sets the token. It is used as it is: it is neither renewed nor revoked. Give one of WithToken, [WithTokenFile],
// [WithAuth] and [WithoutToken]: a second one is a fault, also if it is the same option. It wins over the token of
// [WithClient]. By default, the token is the value of VAULT_TOKEN, or else in the file that VAULT_TOKEN_FILE names, or
// else in ~/.vault-token, which `vault login` writes; that one is not read with VAULT_AGENT_ADDR.
func WithToken(token string) Option {
	return func(c *config) {
		c.take("WithToken", func(*server, func(uint64)) (tokens, error) { return staticToken(token) })
	}
}

// WithTokenFile sets the file that holds the token, such as the sink of a Vault Agent. It is read at every request, so that a
// new token counts at once. While it is missing or empty, requests are [secrets.ErrUnavailable].
func WithTokenFile(path string) Option {
	return func(c *config) {
		if path == "" {
			c.faults.Addf("WithTokenFile: an empty path")
		}
		c.take("WithTokenFile", func(_ *server, ended func(uint64)) (tokens, error) { return fileToken(path, ended), nil })
	}
}

// WithAuth makes the backend log in with method: [AppRole], [Kubernetes], [JWT], a method of the official client's own
// packages, or one of the program. Login is called at the first request and whenever a new token is needed, never twice at a
// time; the client that it gets has no token. The token is renewed, and revoked by [Backend.Close].
func WithAuth(method api.AuthMethod) Option {
	return func(c *config) {
		if faults.IsNil(method) {
			c.faults.Addf("WithAuth: a nil method")
		} else if own, ok := method.(*Auth); ok {
			if err := own.Validate(); err != nil {
				c.faults.Addf("WithAuth: %w", err)
			}
		}
		c.take("WithAuth", func(s *server, ended func(uint64)) (tokens, error) { return newSession(s, method, ended), nil })
	}
}

// WithoutToken is for the address of a Vault Agent or Vault Proxy that adds its own token to each request.
func WithoutToken() Option {
	return func(c *config) {
		c.take("WithoutToken", func(*server, func(uint64)) (tokens, error) { return noToken{}, nil })
	}
}

// WithTLSCACert sets the file of PEM certificates of the authorities that may vouch for the server. It may be replaced: new connections
// use what it holds then. The last one given counts. By default, those are in the file VAULT_CACERT, in VAULT_CACERT_BYTES or in the
// directory VAULT_CAPATH, and else those of the system.
func WithTLSCACert(file string) Option {
	return func(c *config) {
		c.connects("WithTLSCACert")
		c.tls.CACert = file
	}
}

// WithTLSClientCert sets the files of the PEM certificate and key that the client shows to the server. They may be replaced: new
// connections use what they hold then, and the last good pair as long as only one of them is new. The last one given counts. By default,
// they are VAULT_CLIENT_CERT and VAULT_CLIENT_KEY.
func WithTLSClientCert(cert, key string) Option {
	return func(c *config) {
		c.connects("WithTLSClientCert")
		if cert == "" || key == "" {
			c.faults.Addf("WithTLSClientCert: both files are needed")
		}
		c.tls.ClientCert, c.tls.ClientKey = cert, key
	}
}

// WithTLSServerName sets the name that the certificate of the server must be for. The last one given counts. By default, it
// is VAULT_TLS_SERVER_NAME, or else the host of the address.
func WithTLSServerName(name string) Option {
	return func(c *config) {
		c.connects("WithTLSServerName")
		c.tls.TLSServerName = name
	}
}

// WithTLSSkipVerify accepts any certificate: whoever is between here and the server can read the token and the secrets. By
// default, VAULT_SKIP_VERIFY says so.
func WithTLSSkipVerify() Option {
	return func(c *config) {
		c.connects("WithTLSSkipVerify")
		c.tls.Insecure = true
	}
}

// WithTLSConfig sets the whole configuration of TLS, which is cloned. The environment and the other WithTLS options then do
// not count; giving both is a fault.
func WithTLSConfig(settings *tls.Config) Option {
	return func(c *config) {
		c.connects("WithTLSConfig")
		if settings == nil {
			c.faults.Addf("WithTLSConfig: nil")
			return
		}
		c.tlsConfig = settings.Clone()
	}
}

// WithHTTPClient sets the HTTP client whose transport the requests go through. It is not changed, and its redirect policy,
// timeout and cookies do not count. The WithTLS options, and the settings of TLS and of a proxy in the environment, do not
// apply to it. Set HTTP2.SendPingTimeout of its transport, or else a connection of HTTP/2 that a firewall has dropped stays in use for a
// quarter of an hour. The last one given counts. By default, it is one of the backend's own, which sends pings.
func WithHTTPClient(client *http.Client) Option {
	return func(c *config) {
		c.connects("WithHTTPClient")
		if client == nil {
			c.faults.Addf("WithHTTPClient: nil")
		}
		c.httpClient = client
	}
}

// WithClient takes address, namespace, headers, TLS and the token from a client that the program has set up. The backend
// speaks through a copy, with its own timeouts, retries and rules for redirects. The token is asked of client at every
// request, so that a program which renews it goes on to do so, unless WithAuth or another option gives the token. The last
// one given counts.
func WithClient(client *api.Client) Option {
	return func(c *config) {
		if client == nil {
			c.faults.Addf("WithClient: nil")
		}
		c.client = client
	}
}

// WithRedirectHosts allows the server to redirect requests, with the token in them, to these hosts: the other nodes of its
// cluster, if the standby ones do not forward. One without a port is allowed on every port. By default, and for any other
// host, a redirect is [secrets.ErrUnavailable], unless it is to the very address of the server. A redirect from https to
// http is never followed.
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

// WithMaxSize sets the most bytes of an answer, which holds the whole secret. What is larger is [secrets.ErrMalformed]. The
// last one given counts. By default, it is 1 MiB.
func WithMaxSize(bytes int64) Option {
	return func(c *config) {
		c.maxSize = bytes
		c.faults.Checkf(bytes > 0, "WithMaxSize: %d is not more than 0", bytes)
	}
}

// WithLookup sets the function that looks variables of the environment up, for tests and for programs with settings of
// their own. It must be safe for concurrent use. What the official client reads beside the variables that the package
// comment lists, such as VAULT_HEADERS and VAULT_RATE_LIMIT, is always of the environment of the process. The last one given
// counts. By default, it is os.LookupEnv.
func WithLookup(lookup func(name string) (value string, ok bool)) Option {
	return func(c *config) {
		if lookup == nil {
			c.faults.Addf("WithLookup: nil")
			return
		}
		c.lookup = lookup
	}
}

package vault

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/network"
)

// connection is what the options and the environment say about the server.
type connection struct {
	origin *url.URL
	socket string // of an address that begins with unix://
	agent  bool   // the address is that of an agent, by its variable
}

// connect sets the server of b, as the options and the environment name it, and where its tokens come from. Faults are noted.
func (c *config) connect(b *Backend) {
	conn, ok := c.locate()
	settings := c.settings()
	tokenSource := c.tokenSource(conn)
	if !ok || settings == nil || tokenSource == nil || c.faults.Err() != nil {
		return
	}
	if conn.socket != "" && !c.dialSocket(settings.HttpClient, conn.socket) {
		return
	}
	s, err := newServer(settings, conn.origin, c.peers, c.maxSize)
	if err != nil {
		c.faults.Addf("the settings in the environment: %s", bare(err))
		return
	}
	s.client().SetMaxRetryWait(c.maxPause)
	c.identify(s.client())
	if c.client == nil && c.httpClient == nil {
		s.release = settings.HttpClient.CloseIdleConnections
	}
	b.server = s
	if b.tokens, err = tokenSource(s, b.leases.end); err != nil {
		c.faults.Addf("%w", err)
	}
}

// identify sets the headers that go with every request.
func (c *config) identify(client *api.Client) {
	if c.client != nil {
		client.SetHeaders(c.client.Headers())
	}
	switch namespace := c.env(api.EnvVaultNamespace); {
	case c.namespace != nil && *c.namespace == "":
		client.ClearNamespace()
	case c.namespace != nil:
		client.SetNamespace(*c.namespace)
	case c.client == nil && namespace != "":
		client.SetNamespace(namespace)
	}
}

// locate finds the server.
func (c *config) locate() (conn connection, ok bool) {
	address, from := c.whichAddress()
	conn.agent = from == api.EnvVaultAgentAddr
	if address == "" {
		c.faults.Addf("no address: give WithAddress, or set %s", api.EnvVaultAddress)
		return conn, false
	}
	if path, isSocket := strings.CutPrefix(address, unixScheme); isSocket {
		conn.origin = &url.URL{Scheme: schemeHTTP, Host: "localhost"}
		if c.client == nil { // the transport of a client knows its socket
			conn.socket = path
		}
		return conn, true
	}
	u, err := url.Parse(address)
	if err != nil { // it would quote the address, which may hold a password
		c.faults.Addf("%s is not an address: it must begin with https://, http:// or unix:// and name a host", from)
		return conn, false
	}
	if why := c.unfit(u); why != "" {
		c.faults.Addf("%s%s", from, why)
		return conn, false
	}
	conn.origin = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimSuffix(u.Path, "/")}
	return conn, true
}

// unfit says why u cannot be the address of a server, behind what it is from, or "".
func (c *config) unfit(u *url.URL) string {
	switch {
	case u.Scheme != schemeHTTP && u.Scheme != schemeHTTPS || u.Hostname() == "":
		return " must begin with https://, http:// or unix:// and name a host"
	case u.User != nil:
		return " holds a user name or a password, which Vault has no use for"
	case u.RawQuery != "" || u.Fragment != "":
		return " has a query or a fragment"
	case strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/v1"):
		return " ends in /v1, which is added to it"
	case u.Scheme == schemeHTTP && !c.plaintext && !network.Loopback(u.Hostname()):
		return fmt.Sprintf(": %s://%s would send the token and the secrets in the clear; use https, or say WithPlaintext", u.Scheme, u.Host)
	default:
		return ""
	}
}

// whichAddress returns the address, and the option or the variable that it is from.
func (c *config) whichAddress() (address, from string) {
	agent := c.env(api.EnvVaultAgentAddr)
	switch {
	case c.client != nil:
		if len(c.connection) > 0 {
			c.faults.Addf("WithClient says how to connect already, beside %s", strings.Join(c.connection, ", "))
		}
		return c.client.CloneConfig().Address, "WithClient"
	case c.address != "":
		return c.address, "WithAddress"
	case agent != "":
		return agent, api.EnvVaultAgentAddr
	default:
		return c.env(api.EnvVaultAddress), api.EnvVaultAddress
	}
}

const (
	schemeHTTP  = "http"
	schemeHTTPS = "https"
	unixScheme  = "unix://"
)

// settings returns the settings of the official client, but for the address, or nil.
func (c *config) settings() *api.Config {
	if c.client != nil {
		return c.client.CloneConfig()
	}
	settings := api.DefaultConfig()
	if settings.Error != nil {
		c.faults.Addf("the settings in the environment: %s", bare(settings.Error))
		return nil
	}
	if c.httpClient != nil {
		if slices.ContainsFunc(c.connection, ofTLS) {
			c.faults.Addf("WithHTTPClient brings its own settings of TLS")
		}
		transport := c.httpClient.Transport
		if transport == nil {
			transport = http.DefaultTransport
		}
		settings.HttpClient = &http.Client{Transport: transport}
		return settings
	}
	transport, ok := settings.HttpClient.Transport.(*http.Transport)
	if !ok {
		c.faults.Addf("the official client has a transport of another kind, a %T", settings.HttpClient.Transport)
		return nil
	}
	transport.MaxResponseHeaderBytes = maxFailure
	if c.tlsConfig != nil {
		if slices.ContainsFunc(c.connection, func(option string) bool { return option != "WithTLSConfig" && ofTLS(option) }) {
			c.faults.Addf("WithTLSConfig is all of the settings of TLS; another WithTLS option has no place beside it")
		}
		transport.TLSClientConfig = c.tlsConfig
		if c.tlsConfig.NextProtos == nil {
			c.tlsConfig.NextProtos = protocols()
		}
		return settings
	}
	// A fresh one: that of the default settings holds what the environment of the process says, whatever the look-up is.
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols()}
	if err := settings.ConfigureTLS(c.tlsSettings()); err != nil {
		c.faults.Addf("TLS: %w", err)
	}
	return settings
}

func ofTLS(option string) bool { return strings.HasPrefix(option, "WithTLS") }

func protocols() []string { return []string{"h2", "http/1.1"} }

// tlsSettings returns what the options say of TLS, and what the environment says beyond that.
func (c *config) tlsSettings() *api.TLSConfig {
	t := c.tls
	if t.CACert == "" {
		t.CACert, t.CAPath = c.env(api.EnvVaultCACert), c.env(api.EnvVaultCAPath)
		if bytes := c.env(api.EnvVaultCACertBytes); bytes != "" {
			t.CACertBytes = []byte(bytes)
		}
	}
	if t.ClientCert == "" {
		t.ClientCert, t.ClientKey = c.env(api.EnvVaultClientCert), c.env(api.EnvVaultClientKey)
	}
	if t.TLSServerName == "" {
		t.TLSServerName = c.env(api.EnvVaultTLSServerName)
	}
	if skip := c.env(api.EnvVaultSkipVerify); skip != "" && !t.Insecure {
		var err error
		if t.Insecure, err = strconv.ParseBool(skip); err != nil {
			c.faults.Addf("%s is neither true nor false", api.EnvVaultSkipVerify)
		}
	}
	return &t
}

// dialSocket makes client connect to the socket at path.
func (c *config) dialSocket(client *http.Client, path string) bool {
	transport, ok := client.Transport.(*http.Transport)
	if !ok {
		c.faults.Addf("an address that begins with unix:// does not go with a transport of one's own")
		return false
	}
	transport = transport.Clone()
	transport.Proxy = nil
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	client.Transport = transport
	return true
}

// envTokenFile is this package's own; the official client knows no such variable.
const envTokenFile = "VAULT_TOKEN_FILE"

// tokenSource returns where tokens come from, or nil.
func (c *config) tokenSource(conn connection) source {
	token, file := c.env(api.EnvVaultToken), c.env(envTokenFile)
	switch {
	case len(c.sources) > 0:
		return c.source
	case c.client != nil && c.client.Token() != "":
		return func(_ *server, ended func(uint64)) (tokens, error) { return clientToken(c.client, ended), nil }
	case token != "":
		return func(*server, func(uint64)) (tokens, error) { return staticToken(token) }
	case file != "":
		return func(_ *server, ended func(uint64)) (tokens, error) { return fileToken(file, ended), nil }
	case conn.agent:
		return func(*server, func(uint64)) (tokens, error) { return noToken{}, nil }
	default:
		c.faults.Addf("no token: give WithToken, WithTokenFile or WithAuth, or set %s or %s; WithoutToken is for an agent that adds its own",
			api.EnvVaultToken, envTokenFile)
		return nil
	}
}

// bare returns the text of err without what it may quote of an address.
func bare(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return "an address in them cannot be parsed: " + u.Op
	}
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Error()
	}
	return err.Error()
}

// validPath reports whether path, of a mount, is one that the server would take as it is.
func validPath(path string) bool {
	ref, err := secrets.ParseRef(path)
	return err == nil && ref == secrets.Ref{Path: path}
}

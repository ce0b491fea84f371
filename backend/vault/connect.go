package vault

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/network"
	"github.com/seed-5482dd03/secrets/internal/text"
)

// connection is the server's address.
type connection struct {
	origin *url.URL
	socket string // of an address that begins with unix://
	agent  bool   // the address is from VAULT_AGENT_ADDR
}

// connect sets the server and the token source of b. It records faults.
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
	if !c.secure(settings.HttpClient) {
		return
	}
	s, err := newServer(settings, conn.origin, c.peers, c.maxSize)
	if err != nil {
		c.faults.Addf("%s", environmentFault(err))
		return
	}
	s.client().SetMaxRetryWait(c.maxPause)
	c.setHeaders(s.client())
	if c.client == nil && c.httpClient == nil {
		s.release = settings.HttpClient.CloseIdleConnections
	}
	b.server = s
	if b.tokens, err = tokenSource(s, b.leases.end); err != nil {
		c.faults.Addf("%w", err)
	}
}

// setHeaders sets the headers of every request.
func (c *config) setHeaders(client *api.Client) {
	if c.client != nil {
		client.SetHeaders(c.client.Headers())
	}
	switch namespace := c.env(api.EnvVaultNamespace); {
	case c.namespace != nil && *c.namespace == "":
		client.ClearNamespace()
	case c.namespace != nil:
		client.SetNamespace(*c.namespace)
	case c.client == nil && namespace != "":
		c.faults.Checkf(printable(namespace), "%s is not a namespace, such as team/shop", api.EnvVaultNamespace)
		client.SetNamespace(namespace)
	}
}

// locate returns the address of the server.
func (c *config) locate() (conn connection, ok bool) {
	address, from := c.whichAddress()
	conn.agent = from == api.EnvVaultAgentAddr
	if address == "" {
		c.faults.Addf("no address: give WithAddress, or set %s", api.EnvVaultAddress)
		return conn, false
	}
	if path, isSocket := strings.CutPrefix(address, unixScheme); isSocket {
		conn.origin = &url.URL{Scheme: schemeHTTP, Host: "localhost"}
		if c.client == nil { // the client's own transport connects to its socket
			conn.socket = path
		}
		return conn, true
	}
	u, err := url.Parse(address)
	if err != nil { // err quotes the address, which may contain a password
		c.faults.Addf("%s is not an address: it must begin with https://, http:// or unix:// and name a host", from)
		return conn, false
	}
	if why := c.addressFault(u); why != "" {
		c.faults.Addf("%s%s", from, why)
		return conn, false
	}
	conn.origin = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimSuffix(u.Path, "/")}
	return conn, true
}

// addressFault says why u cannot be the server's address, or returns "". The text follows the name of the option or variable.
func (c *config) addressFault(u *url.URL) string {
	switch {
	case u.Scheme != schemeHTTP && u.Scheme != schemeHTTPS || u.Hostname() == "":
		return " must begin with https://, http:// or unix:// and name a host"
	case u.User != nil:
		return " holds a user name or a password, which Vault does not use; remove it"
	case u.RawQuery != "" || u.Fragment != "":
		return " has a query or a fragment"
	case strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/v1"):
		return " ends in /v1, which the client adds itself; remove it"
	case u.Scheme == schemeHTTP && !c.plaintext && !network.Loopback(u.Hostname()):
		return fmt.Sprintf(": %s://%s would send the token and the secrets in the clear; use https, or pass WithPlaintext", u.Scheme, u.Host)
	default:
		return ""
	}
}

// whichAddress returns the address and its option or variable.
func (c *config) whichAddress() (address, from string) {
	agent := c.env(api.EnvVaultAgentAddr)
	switch {
	case c.client != nil:
		if len(c.connection) > 0 {
			c.faults.Addf("WithClient already says how to connect; drop %s", strings.Join(c.connection, ", "))
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

// settings returns the official client's settings without the address, or nil after a fault.
func (c *config) settings() *api.Config {
	if c.client != nil {
		return c.client.CloneConfig()
	}
	settings := api.DefaultConfig()
	if settings.Error != nil {
		c.faults.Addf("%s", environmentFault(settings.Error))
		return nil
	}
	if c.httpClient != nil {
		if slices.ContainsFunc(c.connection, ofTLS) {
			c.faults.Addf("WithHTTPClient has TLS settings of its own; drop the WithTLS options")
		}
		transport := c.httpClient.Transport
		if transport == nil {
			transport = http.DefaultTransport
		}
		settings.HttpClient = &http.Client{Transport: transport}
		return settings
	}
	defaults, ok := settings.HttpClient.Transport.(*http.Transport)
	if !ok {
		c.faults.Addf("the official client has an unknown type of transport, %T", settings.HttpClient.Transport)
		return nil
	}
	settings.HttpClient = &http.Client{Transport: ownTransport(defaults.Proxy, c.dial)}
	return settings
}

// dialer connects to an address, as [net.Dialer.DialContext] does.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// dialKeepingAlerts connects with the timeouts of the official client.
func dialKeepingAlerts(ctx context.Context, network, address string) (net.Conn, error) {
	const timeout = 30 * time.Second
	conn, err := (&net.Dialer{Timeout: timeout, KeepAlive: timeout}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return alertConn{conn}, nil
}

// ownTransport returns a transport with the settings of the official client, which come from github.com/hashicorp/go-cleanhttp. The
// client's own transport cannot be cloned for changed TLS files: golang.org/x/net/http2 is wired into it.
func ownTransport(proxy func(*http.Request) (*url.URL, error), dial dialer) *http.Transport {
	const idleTimeout, handshakeTimeout, idle = 90 * time.Second, 10 * time.Second, 100
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            dial,
		MaxIdleConns:           idle,
		MaxIdleConnsPerHost:    runtime.GOMAXPROCS(0) + 1,
		IdleConnTimeout:        idleTimeout,
		TLSHandshakeTimeout:    handshakeTimeout,
		ExpectContinueTimeout:  time.Second,
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: maxFailure,
	}
}

// secure configures TLS of client. A transport that the program brings keeps its settings; only its failures get this package's texts.
func (c *config) secure(client *http.Client) bool {
	if c.client != nil || c.httpClient != nil {
		client.Transport = &secure{current: client.Transport}
		return true
	}
	transport, ok := client.Transport.(*http.Transport)
	if !ok {
		return false // cannot happen: settings has created it
	}
	settings, files := c.tlsSettings()
	if settings == nil {
		return false
	}
	transport.TLSClientConfig = settings
	s, fault := newSecure(transport, files)
	if fault != "" {
		c.faults.Addf("TLS: %s", fault)
		return false
	}
	client.Transport = s
	return true
}

func ofTLS(option string) bool { return strings.HasPrefix(option, "WithTLS") }

// tlsSettings returns the TLS settings of the options and the environment, and the files they name. After a fault, the settings are nil.
func (c *config) tlsSettings() (settings *tls.Config, files tlsFiles) {
	protocols := []string{"h2", "http/1.1"}
	if settings = c.tlsConfig; settings != nil {
		if slices.ContainsFunc(c.connection, func(option string) bool { return option != "WithTLSConfig" && ofTLS(option) }) {
			c.faults.Addf("WithTLSConfig is the whole TLS configuration; drop the other WithTLS options")
			return nil, tlsFiles{}
		}
		if settings.NextProtos == nil {
			settings.NextProtos = protocols
		}
		return settings, tlsFiles{}
	}
	settings = &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protocols,
		ServerName:         cmp.Or(c.tls.TLSServerName, c.env(api.EnvVaultTLSServerName)),
		InsecureSkipVerify: c.tls.Insecure, //nolint:gosec // WithTLSSkipVerify says so
	}
	if skip := c.env(api.EnvVaultSkipVerify); skip != "" && !c.tls.Insecure {
		var err error
		if settings.InsecureSkipVerify, err = strconv.ParseBool(skip); err != nil {
			c.faults.Addf("%s is neither true nor false", api.EnvVaultSkipVerify)
			return nil, tlsFiles{}
		}
	}
	if !c.setCA(settings, &files) || !c.setClientCert(&files) {
		return nil, tlsFiles{}
	}
	return settings, files
}

// setCA sets the trusted authorities: from the option, or else from the environment in the order of the official client.
func (c *config) setCA(settings *tls.Config, files *tlsFiles) bool {
	switch file, text, dir := c.env(api.EnvVaultCACert), c.env(api.EnvVaultCACertBytes), c.env(api.EnvVaultCAPath); {
	case c.tls.CACert != "":
		files.ca, files.caFrom = c.tls.CACert, "WithTLSCACert"
	case file != "":
		files.ca, files.caFrom = file, api.EnvVaultCACert
	case text != "":
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM([]byte(text)) {
			c.faults.Addf("TLS: %s holds no PEM certificate", api.EnvVaultCACertBytes)
			return false
		}
	case dir != "":
		files.ca, files.caFrom, files.caIsDir = dir, api.EnvVaultCAPath, true
	}
	return true
}

// setClientCert sets the certificate of the client and its key.
func (c *config) setClientCert(files *tlsFiles) bool {
	const fromVariables = api.EnvVaultClientCert + ", " + api.EnvVaultClientKey
	if c.tls.ClientCert != "" {
		files.cert, files.key, files.certFrom = c.tls.ClientCert, c.tls.ClientKey, "WithTLSClientCert"
		return true
	}
	cert, key := c.env(api.EnvVaultClientCert), c.env(api.EnvVaultClientKey)
	if (cert == "") != (key == "") {
		c.faults.Addf("TLS: set both %s and %s, or unset both", api.EnvVaultClientCert, api.EnvVaultClientKey)
		return false
	}
	if cert != "" {
		files.cert, files.key, files.certFrom = cert, key, fromVariables
	}
	return true
}

// dialSocket makes client connect to the socket at path.
func (c *config) dialSocket(client *http.Client, path string) bool {
	transport, ok := client.Transport.(*http.Transport)
	if !ok {
		c.faults.Addf("an address that begins with unix:// needs an *http.Transport in WithHTTPClient")
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

// tokenSource returns the source of tokens, or nil after a fault.
func (c *config) tokenSource(conn connection) source {
	switch {
	case len(c.sources) > 0:
		return c.source
	case c.client != nil && c.client.Token() != "":
		return func(_ *server, ended func(uint64)) (tokens, error) { return clientToken(c.client, ended), nil }
	}
	login, ok := c.envLogin()
	switch {
	case !ok:
		return nil
	case login != nil:
		return func(s *server, ended func(uint64)) (tokens, error) { return newSession(s, login, ended), nil }
	}
	token, file := c.env(api.EnvVaultToken), c.env(envTokenFile)
	switch {
	case token != "":
		return func(*server, func(uint64)) (tokens, error) { return staticToken(token) }
	case file != "":
		return func(_ *server, ended func(uint64)) (tokens, error) { return fileToken(file, ended), nil }
	case conn.agent:
		return func(*server, func(uint64)) (tokens, error) { return noToken{}, nil }
	default:
		return c.vaultLoginToken()
	}
}

// vaultLoginToken returns the source of the token that `vault login` has written, or nil after a fault. It comes last, as in the vault
// command: https://developer.hashicorp.com/vault/docs/commands/token-helper.
func (c *config) vaultLoginToken() source {
	path, why := c.homeTokenPath(), "HOME is not set"
	if path != "" {
		_, err := os.Stat(path)
		if err == nil {
			return func(_ *server, ended func(uint64)) (tokens, error) { return fileToken(path, ended), nil }
		}
		why = text.Printable(path) + ": " + unreadable(err, maxCredential)
	}
	c.faults.Addf("no token: give WithToken, WithTokenFile or WithAuth, or set %s, %s or %s (all are unset or empty), "+
		"or run vault login (%s); WithoutToken is for an agent that adds its own token%s",
		api.EnvVaultToken, envTokenFile, envAuthMethod, why, c.missingMethodHint())
	return nil
}

// validPath reports whether path is a mount path that the server accepts unchanged.
func validPath(path string) bool {
	ref, err := secrets.ParseRef(path)
	return err == nil && ref == secrets.Ref{Path: path}
}

package secretshttp

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Hosts sets the hosts that get the credential. It is required. Several Hosts options add up. An entry is
//
//	api.example.com            https on port 443
//	api.example.com:8443       https on that port
//	[2001:db8::1]              the same for an IPv6 address, always in brackets
//	http://localhost:8200      plain http on that port
//
// Plain http shows the credential to everyone on the network path. Use it for a sidecar or a test server on the same machine; the entry
// does not allow https. A proxy that base uses for such a request sees the credential too. [http.DefaultTransport] takes its proxy from
// HTTP_PROXY, which does not apply to localhost.
//
// Names are compared without case and without a final dot. There are no wildcards. Write an internationalized name in ASCII form (xn--),
// here and in the URL of the request.
func Hosts(hosts ...string) Option {
	return func(c *config) {
		c.hasHosts = true
		c.faults.Checkf(len(hosts) > 0, "Hosts: no hosts")
		for i, entry := range hosts {
			o, fault := parseEntry(entry)
			c.faults.Checkf(fault == "", "Hosts: entry %d: %s", i+1, fault) // without the entry, which may hold user:password@
			c.allowed[o] = true
		}
		delete(c.allowed, origin{}) // from an entry with a fault
	}
}

// origin is the destination of a request. The zero origin is never allowed.
type origin struct{ scheme, host, port string }

// originOf returns the origin of a URL with that scheme and host, with or without a port. It returns the zero origin if Hosts cannot
// contain it.
func originOf(scheme, hostport string) origin {
	u := url.URL{Host: hostport}
	host, ok := canonicalHost(u.Hostname())
	port := u.Port()
	if port == "" {
		port = map[string]string{schemePlain: "80", schemeTLS: "443"}[scheme]
	}
	if !ok {
		return origin{}
	}
	return origin{scheme, host, port}
}

const (
	schemeTLS   = "https"
	schemePlain = "http"
)

// parseEntry returns the origin that an entry of Hosts allows, or the fault in it.
func parseEntry(entry string) (o origin, fault string) {
	rest, isPlain := strings.CutPrefix(entry, schemePlain+"://")
	switch {
	case strings.Contains(rest, "://"):
		return o, "it has a scheme; write only host or host:port, and https is meant"
	case entry == "":
		return o, "it is empty"
	case strings.Contains(rest, "/"):
		return o, "it has a slash; write only host or host:port"
	case strings.Contains(rest, "*"):
		return o, "there are no wildcards; name each host"
	}
	host, port, hasPort, ok := split(rest)
	if !ok {
		return o, "it is not host, host:port or [IPv6 address]:port"
	}
	if host, ok = canonicalHost(host); !ok {
		return o, "its host is not a name in ASCII letters, digits, '-', '_' and '.', nor an IP address"
	}
	switch {
	case hasPort && !isPort(port):
		return o, "its port is not a number from 1 to 65535"
	case isPlain && !hasPort:
		return o, "it has no port; plain http needs one"
	case isPlain:
		return origin{schemePlain, host, port}, ""
	case !hasPort:
		port = "443"
	}
	return origin{schemeTLS, host, port}, ""
}

// split splits host:port. Only an IPv6 address may be in brackets, and it must be.
func split(s string) (host, port string, hasPort, ok bool) {
	if inner, found := strings.CutPrefix(s, "["); found {
		host, s, found = strings.Cut(inner, "]")
		if ip, err := netip.ParseAddr(host); !found || err != nil || !ip.Is6() || s != "" && s[0] != ':' {
			return "", "", false, false
		}
		port, hasPort = strings.CutPrefix(s, ":")
		return host, port, hasPort, true
	}
	host, port, hasPort = strings.Cut(s, ":")
	return host, port, hasPort, !strings.Contains(port, ":")
}

// isPort reports whether s is a port in its shortest form.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == s
}

// canonicalHost returns the only form of a host name or an IP address that is compared. It refuses letters outside ASCII: net/http maps
// some to ASCII, so two texts could be one name. It refuses an IP address with a final dot: to the DNS, it is a name.
func canonicalHost(s string) (host string, ok bool) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return ip.String(), true
	}
	name := strings.TrimSuffix(s, ".")
	if _, err := netip.ParseAddr(name); err == nil {
		return "", false
	}
	lower := []byte(name)
	for i, b := range lower {
		switch {
		case 'A' <= b && b <= 'Z':
			lower[i] = b - 'A' + 'a'
		case 'a' <= b && b <= 'z', '0' <= b && b <= '9', b == '-', b == '_':
		case b == '.' && i > 0 && lower[i-1] != '.':
		default:
			return "", false
		}
	}
	return string(lower), len(lower) > 0 && lower[len(lower)-1] != '.'
}

package secretshttp_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretshttp"
)

func TestHostsThatAreAllowed(t *testing.T) {
	client := open(t, holding())
	for _, tc := range []struct {
		entry, url, host string // host is the Host header, or ""
		want             bool
	}{
		{"api.example.com", "https://api.example.com/v1", "", true},
		{"api.example.com", "https://api.example.com:443/v1", "", true},
		{"api.example.com", "https://api.example.com:/v1", "", true},
		{"api.example.com", "https://API.Example.COM/", "", true},
		{"API.Example.COM", "https://api.example.com/", "", true},
		{"api.example.com", "https://api.example.com./", "", true},
		{"api.example.com.", "https://api.example.com/", "", true},
		{"api.example.com", "https://user:pw@api.example.com/", "", true},
		{"api.example.com", "https://api.example.com/", "API.example.com:443", true},
		{"api_internal", "https://api_internal/", "", true},
		{"xn--bcher-kva.example", "https://xn--bcher-kva.example/", "", true},
		{"api.example.com:8443", "https://api.example.com:8443/", "", true},
		{"192.0.2.1", "https://192.0.2.1/", "", true},
		{"[2001:db8::1]", "https://[2001:DB8:0::1]/", "", true},
		{"[2001:db8:0:0::1]:8443", "https://[2001:db8::1]:8443/", "", true},
		{"http://localhost:8200", "http://localhost:8200/", "", true},
		{"http://localhost:80", "http://localhost/", "", true},
		{"http://[::1]:80", "http://[::1]/", "", true},

		{"api.example.com", "http://api.example.com/", "", false},
		{"api.example.com", "http://api.example.com:443/", "", false},
		{"api.example.com", "https://api.example.com:8443/", "", false},
		{"api.example.com", "https://api.example.com:0443/", "", false},
		{"api.example.com", "https://api.example.com../", "", false},
		{"api.example.com", "https://example.com/", "", false},
		{"api.example.com", "https://v1.api.example.com/", "", false},
		{"api.example.com", "https://api.example.com.evil.example/", "", false},
		{"api.example.com", "https://api.example.com@evil.example/", "", false},
		{"api.example.com", "https://evil.example/api.example.com", "", false},
		{"api.example.com", "https://api.example.com/", "evil.example", false}, // a shared front end uses the header
		{"api.example.com", "https://api.example.com/", "api.example.com:8443", false},
		{"api.example.com", "https://evil.example/", "api.example.com", false},
		{"api.example.com", "ftp://api.example.com/", "", false},
		{"kube.example", "https://\u212Aube.example/", "", false}, // the Kelvin sign, whose lower case is k
		{"api.example.com", "https://\uFF41pi.example.com/", "", false},
		{"api.example.com:8443", "https://api.example.com/", "", false},
		{"[2001:db8::1]", "https://[2001:db8::2]/", "", false},
		{"[::ffff:192.0.2.1]", "https://192.0.2.1/", "", false},
		{"[fe80::1]", "https://[fe80::1%25eth0]/", "", false},
		{"192.0.2.1", "https://192.0.2.1./", "", false}, // a name for the DNS
		{"http://192.0.2.1:8200", "http://192.0.2.1.:8200/", "", false},
		{"http://localhost:8200", "https://localhost:8200/", "", false},
		{"http://localhost:8200", "http://localhost/", "", false},
	} {
		t.Run(tc.entry+" "+tc.url+" "+tc.host, func(t *testing.T) {
			is := is.New(t)
			var got string
			rt := secretshttp.Transport(roundTrip(func(r *http.Request) (*http.Response, error) {
				got = r.Header.Get("Authorization")
				return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
			}), client, "api", bearer, secretshttp.Hosts("another.example", tc.entry))
			r := request(t, http.MethodGet, tc.url, http.NoBody)
			if tc.host != "" {
				r.Host = tc.host
			}
			resp, err := rt.RoundTrip(r)
			is.NoErr(err)
			is.NoErr(resp.Body.Close())
			is.Equal(got != "", tc.want)
		})
	}
}

// With an opaque URL, the request line may name another host than the one that is dialed.
func TestOpaqueURLGetsNoCredential(t *testing.T) {
	is := is.New(t)
	var got []string
	rt := secretshttp.Transport(roundTrip(func(r *http.Request) (*http.Response, error) {
		got = append(got, r.Header.Get("Authorization"))
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	}), open(t, holding()), "api", bearer, secretshttp.Hosts("api.example"))
	for _, opaque := range []string{"", "//evil.example/"} {
		r := request(t, http.MethodGet, "https://api.example/", http.NoBody)
		r.URL.Opaque = opaque
		resp, err := rt.RoundTrip(r)
		is.NoErr(err)
		is.NoErr(resp.Body.Close())
	}
	is.Equal(got, []string{"Bearer " + first, ""})
}

func TestHostsAddUp(t *testing.T) {
	is := is.New(t)
	one, other := serve(t, first), serve(t, first)
	rt := secretshttp.Transport(base(t, one), open(t, holding()), "api", bearer,
		secretshttp.Hosts(one.host()), secretshttp.Hosts(other.host()))
	for _, s := range []*server{one, other} {
		status, _ := answer(t, &http.Client{Transport: rt}, request(t, http.MethodGet, s.URL, http.NoBody))
		is.Equal(status, http.StatusOK)
	}
}

func TestMalformedHostsAreFaults(t *testing.T) {
	const notHost, notName = "it is not host, host:port or [IPv6 address]:port", "its host is not a name in ASCII letters"
	client := open(t, holding())
	for entry, want := range map[string]string{
		"":                                  "it is empty",
		"https://api.example.com":           "it has a scheme",
		"ftp://api.example.com":             "it has a scheme",
		"HTTP://api.example.com:80":         "it has a scheme",
		"http://https://a.example:80":       "it has a scheme",
		"*.example.com":                     "there are no wildcards",
		"*":                                 "there are no wildcards",
		"api.example.com/v1":                "it has a slash",
		"api.example .com":                  notName,
		"user:" + first + "@api.example":    "its port is not a number from 1 to 65535",
		first + "@api.example":              notName,
		"https://u:" + first + "@a.example": "it has a scheme",
		"api..example.com":                  notName,
		".example.com":                      notName,
		"api.example.com..":                 notName,
		".":                                 notName,
		"192.0.2.1.":                        notName,
		"bücher.example":                    notName,
		"\u212Aube.example":                 notName,
		"api.example.com:":                  "its port",
		"api.example.com:0":                 "its port",
		"api.example.com:0443":              "its port",
		"api.example.com:+443":              "its port",
		"api.example.com:65536":             "its port",
		"api.example.com:https":             "its port",
		":443":                              notName,
		"::1":                               notHost,
		"[::1":                              notHost,
		"[::1]443":                          notHost,
		"[192.0.2.1]:443":                   notHost,
		"[api.example.com]:443":             notHost,
		"http://localhost":                  "it has no port; plain http needs one",
	} {
		t.Run(entry, func(t *testing.T) {
			is := is.New(t)
			rt := secretshttp.Transport(nil, client, "api", bearer, secretshttp.Hosts("api.example.com", entry))
			_, err := rt.RoundTrip(request(t, http.MethodGet, "https://api.example.com", http.NoBody)) //nolint:bodyclose // there is none
			is.True(err != nil)
			is.True(strings.HasPrefix(err.Error(), "secretshttp: Hosts: entry 2: "+want))
			secretstest.AssertNoLeak(t, first, err)
		})
	}
}

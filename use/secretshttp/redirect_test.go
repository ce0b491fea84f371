package secretshttp_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretshttp"
)

// ways are the places in a request that can hold a credential.
var ways = map[string]func(*http.Request, secrets.Secret) error{
	"Authorization": bearer,
	"a header of its own": func(r *http.Request, s secrets.Secret) error {
		r.Header.Set("X-Api-Key", s.Reveal())
		return nil
	},
	"basic auth": func(r *http.Request, s secrets.Secret) error {
		r.SetBasicAuth("app", s.Reveal())
		return nil
	},
	"a cookie": func(r *http.Request, s secrets.Secret) error {
		r.AddCookie(&http.Cookie{Name: "session", Value: s.Reveal()})
		return nil
	},
	"a query parameter": func(r *http.Request, s secrets.Secret) error {
		q := r.URL.Query()
		q.Set("key", s.Reveal())
		r.URL.RawQuery = q.Encode()
		return nil
	},
}

// elsewhere returns a URL at which s redirects to the given URLs, one after the other.
func elsewhere(s *server, then ...string) string {
	if len(then) == 0 {
		return s.URL
	}
	return s.URL + "?to=" + url.QueryEscape(then[0])
}

// shows reports whether text contains the credential in one of these forms.
func shows(text string) bool {
	r := http.Request{Header: make(http.Header)}
	r.SetBasicAuth("app", first)
	return strings.Contains(text, first) || strings.Contains(text, r.Header.Get("Authorization"))
}

func TestRedirectToAnotherHostCarriesNoCredential(t *testing.T) {
	for name, set := range ways {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			ours, other := serve(t), serve(t)
			client := open(t, holding())
			// To the other host and back: the other host has chosen the third hop, so it carries no credential either.
			away := elsewhere(ours, elsewhere(other, ours.URL+"/back"))

			c := &http.Client{Transport: secretshttp.Transport(base(t, ours), client, "api", set, secretshttp.Hosts(ours.host()))}
			answer(t, c, request(t, http.MethodGet, away, http.NoBody))
			_, _, there := other.take()
			is.True(strings.HasPrefix(there, "GET /?to="))
			is.True(strings.Contains(there, "Referer: "+ours.URL)) // without a credential, too
			secretstest.AssertNoLeak(t, first, there)
			_, _, here := ours.take()
			out, back, ok := strings.Cut(here, "GET /back")
			is.True(ok)
			is.True(shows(out))
			secretstest.AssertNoLeak(t, first, back)
			is.True(!shows(back))

			// Control: if the program sets the credential itself, http.Client sends it to the other host.
			r := request(t, http.MethodGet, away, http.NoBody)
			s, err := client.Get(t.Context(), "api")
			is.NoErr(err)
			is.NoErr(set(r, s))
			answer(t, &http.Client{Transport: base(t, ours)}, r)
			_, _, there = other.take()
			is.True(shows(there))
		})
	}
}

// A host that is not allowed must not choose a request with the credential: with a 307, it could choose the path of a POST.
func TestNoCredentialAfterAHostThatIsNotAllowed(t *testing.T) {
	const start, hop, end = "https://api.example/start", "https://hop.example/", "https://api.example/transfer"
	client := open(t, holding())
	for name, tc := range map[string]struct {
		hosts []string
		hops  []string
		want  []bool // whether each hop carries the credential
	}{
		"out and back":            {[]string{"api.example"}, []string{start, hop, end}, []bool{true, false, false}},
		"back and on":             {[]string{"api.example"}, []string{start, hop, end, start}, []bool{true, false, false, false}},
		"from the other host":     {[]string{"api.example"}, []string{hop, end}, []bool{false, false}},
		"by plain http":           {[]string{"api.example"}, []string{"http://api.example/", end}, []bool{false, false}},
		"all allowed (control)":   {[]string{"api.example", "hop.example"}, []string{start, hop, end}, []bool{true, true, true}},
		"on one host (control)":   {[]string{"api.example"}, []string{start, end}, []bool{true, true}},
		"a new request (control)": {[]string{"api.example"}, []string{end}, []bool{true}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			var got []bool
			fake := roundTrip(func(r *http.Request) (*http.Response, error) {
				is.Equal(r.Method, http.MethodPost)
				is.Equal(r.URL.String(), tc.hops[len(got)])
				got = append(got, shows(r.Header.Get("Authorization")))
				if len(got) == len(tc.hops) {
					return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
				}
				header := http.Header{"Location": {tc.hops[len(got)]}}
				return &http.Response{StatusCode: http.StatusTemporaryRedirect, Header: header, Body: http.NoBody, Request: r}, nil
			})
			c := &http.Client{Transport: secretshttp.Transport(fake, client, "api", bearer, secretshttp.Hosts(tc.hosts...))}
			answer(t, c, request(t, http.MethodPost, tc.hops[0], strings.NewReader("an invoice")))
			is.Equal(got, tc.want)
		})
	}
}

// If base does not set the Request of a response, earlier hops are unknown, so no credential is sent.
func TestUnknownHopCountsAsNotAllowed(t *testing.T) {
	is := is.New(t)
	var got []bool
	rt := secretshttp.Transport(roundTrip(func(r *http.Request) (*http.Response, error) {
		got = append(got, shows(r.Header.Get("Authorization")))
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	}), open(t, holding()), "api", bearer, secretshttp.Hosts("api.example"))
	known := request(t, http.MethodGet, "https://api.example/", http.NoBody)
	for _, before := range []*http.Response{nil, {Request: known}, {}} {
		r := request(t, http.MethodGet, "https://api.example/", http.NoBody)
		r.Response = before
		resp, err := rt.RoundTrip(r)
		is.NoErr(err)
		is.NoErr(resp.Body.Close())
	}
	is.Equal(got, []bool{true, true, false})
}

// A redirect from https to http stays on the host, but would show the credential to everyone on the network path.
func TestDowngradeCarriesNoCredential(t *testing.T) {
	is := is.New(t)
	const to = "http://api.example.com/plain"
	var sent []string
	fake := roundTrip(func(r *http.Request) (*http.Response, error) {
		sent = append(sent, r.URL.Scheme+" "+r.Header.Get("Authorization"))
		header := http.Header{"Location": {to}}
		status := http.StatusFound
		if r.URL.String() == to {
			status = http.StatusOK
		}
		return &http.Response{StatusCode: status, Header: header, Body: http.NoBody, Request: r}, nil
	})
	client := open(t, holding())
	get := func(hosts ...string) {
		c := &http.Client{Transport: secretshttp.Transport(fake, client, "api", bearer, secretshttp.Hosts(hosts...))}
		answer(t, c, request(t, http.MethodGet, "https://api.example.com/", http.NoBody))
	}
	get("api.example.com")
	is.Equal(sent, []string{"https Bearer " + first, "http "})
	sent = nil
	get("api.example.com", "http://api.example.com:80") // control: plain http must be listed
	is.Equal(sent, []string{"https Bearer " + first, "http Bearer " + first})
}

// http.Client quotes the URL of the last response's request in some of its errors.
func TestNoErrorQuotesTheCredential(t *testing.T) {
	is := is.New(t)
	ours := serve(t)
	client := open(t, holding())
	query := ways["a query parameter"]
	fail := func(rt http.RoundTripper) error {
		const malformed = "http://["
		c := &http.Client{Transport: rt}
		resp, err := c.Do(request(t, http.MethodGet, elsewhere(ours, malformed), http.NoBody)) //nolint:bodyclose // there is none
		is.True(resp == nil)
		is.True(strings.Contains(err.Error(), "Location"))
		_, _, dump := ours.take()
		is.True(shows(dump)) // the credential was sent
		return err
	}
	secretstest.AssertNoLeak(t, first, fail(secretshttp.Transport(base(t, ours), client, "api", query, secretshttp.Hosts(ours.host()))))

	// Control: without Transport, the Request of a response is the one that was sent.
	naive := base(t, ours)
	is.True(shows(fail(roundTrip(func(r *http.Request) (*http.Response, error) {
		s, err := client.Get(r.Context(), "api")
		is.NoErr(err)
		clone := r.Clone(r.Context())
		is.NoErr(query(clone, s))
		return naive.RoundTrip(clone)
	})).Error()))

	// The connection fails.
	closed := serve(t)
	closed.Close()
	c := &http.Client{Transport: secretshttp.Transport(base(t, ours), client, "api", query, secretshttp.Hosts(closed.host()))}
	_, err := c.Do(request(t, http.MethodGet, closed.URL, http.NoBody)) //nolint:bodyclose // there is none
	is.True(strings.Contains(err.Error(), closed.URL))
	secretstest.AssertNoLeak(t, first, err)
}

// net/http names a header that it cannot send, and does not quote its value.
func TestNoErrorQuotesAHeaderThatCannotBeSent(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		is := is.New(t)
		ours := serve(t)
		b := base(t, ours)
		b.ForceAttemptHTTP2 = http2
		c := &http.Client{Transport: secretshttp.Transport(b, open(t, holding()), "api", func(r *http.Request, s secrets.Secret) error {
			r.Header.Set("X-Api-Key", s.Reveal()+"\n")
			return nil
		}, secretshttp.Hosts(ours.host()))}
		_, err := c.Do(request(t, http.MethodGet, ours.URL, http.NoBody)) //nolint:bodyclose // there is none
		is.True(strings.Contains(err.Error(), "X-Api-Key"))
		secretstest.AssertNoLeak(t, first, err)
	}
}

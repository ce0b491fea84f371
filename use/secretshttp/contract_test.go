package secretshttp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretshttp"
)

func TestTheCallersRequestIsNotChanged(t *testing.T) {
	for name, set := range ways {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			ours := serve(t)
			rt := secretshttp.Transport(base(t, ours), open(t, holding()), "api", set, secretshttp.Hosts(ours.host()))
			r := request(t, http.MethodGet, ours.URL+"?a=b", http.NoBody)
			r.Header = nil // a RoundTripper may be called without http.Client
			resp, err := rt.RoundTrip(r)
			is.NoErr(err)
			is.NoErr(resp.Body.Close())
			is.True(resp.Request == r)
			secretstest.AssertNoLeak(t, first, resp.Request.Header, resp.Request.URL.String())
			_, _, dump := ours.take()
			is.True(shows(dump)) // but it was sent
		})
	}
}

func TestFaultsAreErrorsOfEachRoundTrip(t *testing.T) {
	client := open(t, holding())
	hosts := secretshttp.Hosts("api.example")
	var missing *http.Transport
	for name, tc := range map[string]struct {
		rt   http.RoundTripper
		want []string
	}{
		"no hosts":     {secretshttp.Transport(nil, client, "api", bearer), []string{"no Hosts; name each host"}},
		"empty hosts":  {secretshttp.Transport(nil, client, "api", bearer, secretshttp.Hosts()), []string{"Hosts: no hosts"}},
		"nil base":     {secretshttp.Transport(missing, client, "api", bearer, hosts), []string{"base is a nil pointer"}},
		"empty key":    {secretshttp.Transport(nil, client, "", bearer, hosts), []string{"secrets: "}},
		"nil option":   {secretshttp.Transport(nil, client, "api", bearer, hosts, nil), []string{"option 2 is nil"}},
		"all together": {secretshttp.Transport(nil, nil, "api", nil), []string{"a nil *secrets.Client", "a nil set", "no Hosts"}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			for range 2 {
				body := &tracked{Reader: strings.NewReader("an invoice")}
				_, err := tc.rt.RoundTrip(request(t, http.MethodPost, "https://api.example", body)) //nolint:bodyclose // there is no response
				is.True(err != nil)
				for _, want := range tc.want {
					is.True(strings.Contains(err.Error(), want))
				}
				is.Equal(strings.Count(err.Error(), "\n")+1, len(tc.want))
				is.True(body.closed)
			}
		})
	}
}

func TestARequestFailsWithTheErrorOfGet(t *testing.T) {
	is := is.New(t)
	backend := holding()
	backend.Fail(secrets.ErrPermissionDenied)
	ours := serve(t, first)
	c := calling(t, open(t, backend), ours)
	body := &tracked{Reader: strings.NewReader("an invoice")}
	_, err := c.Do(request(t, http.MethodPost, ours.URL, body)) //nolint:bodyclose // there is no response
	is.True(errors.Is(err, secrets.ErrPermissionDenied))
	is.True(body.closed)
	backend.Recover()
	status, _ := answer(t, c, request(t, http.MethodPost, ours.URL, strings.NewReader("an invoice")))
	is.Equal(status, http.StatusOK)
}

// An error of base may be anything, also a proxy's refusal of another credential.
func TestErrorsOfBaseAreReturnedUnchanged(t *testing.T) {
	for name, own := range map[string]error{
		"any":                   errors.New("no route"),
		"a wrapped ErrRejected": fmt.Errorf("proxy: %w", secrets.ErrRejected),
		"that of a context":     context.Canceled,
	} {
		for _, refuse := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", after a 401: ", refuse), func(t *testing.T) {
				is := is.New(t)
				_, client, _ := rotated(t)
				calls := 0
				refused := &tracked{Reader: strings.NewReader("refused")}
				rt := secretshttp.Transport(roundTrip(func(*http.Request) (*http.Response, error) {
					if calls++; refuse && calls == 1 {
						return &http.Response{StatusCode: http.StatusUnauthorized, Body: refused}, nil
					}
					return nil, own
				}), client, "api", bearer, secretshttp.Hosts("api.example"))
				_, err := rt.RoundTrip(request(t, http.MethodGet, "https://api.example", http.NoBody)) //nolint:bodyclose // there is no response
				is.True(err == own)
				is.Equal(refused.closed, refuse)
			})
		}
	}
}

func TestAPanicClosesBodies(t *testing.T) {
	is := is.New(t)
	_, client, _ := rotated(t)
	refused, body := &tracked{Reader: strings.NewReader("refused")}, &tracked{Reader: strings.NewReader("an invoice")}
	rt := secretshttp.Transport(roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusUnauthorized, Body: refused}, nil
	}), client, "api", func(_ *http.Request, s secrets.Secret) error {
		if s.Reveal() == second || body.Reader == nil {
			panic("a bug")
		}
		return nil
	}, secretshttp.Hosts("api.example"))
	panics := func(r *http.Request) {
		defer func() { is.Equal(recover(), "a bug") }()
		_, _ = rt.RoundTrip(r) //nolint:bodyclose // it panics
	}
	panics(request(t, http.MethodGet, "https://api.example", http.NoBody))
	is.True(refused.closed)
	body.Reader = nil
	panics(request(t, http.MethodPost, "https://api.example", body))
	is.True(body.closed)

	// set panics for the second candidate: its body must be closed.
	_, client, _ = rotated(t)
	again := &tracked{Reader: strings.NewReader("an invoice")}
	r := request(t, http.MethodPost, "https://api.example", strings.NewReader("an invoice"))
	r.GetBody = func() (io.ReadCloser, error) { return again, nil }
	rt = secretshttp.Transport(roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusUnauthorized, Body: refused}, nil
	}), client, "api", func(_ *http.Request, s secrets.Secret) error {
		if s.Reveal() == second {
			panic("a bug")
		}
		return nil
	}, secretshttp.Hosts("api.example"))
	panics(r)
	is.True(again.closed)
}

// httptrace hooks see the headers of a request, and tracing records them in spans.
func TestHooksSeeNoCredential(t *testing.T) {
	is := is.New(t)
	ours := serve(t, first)
	var fields []string
	trace := &httptrace.ClientTrace{WroteHeaderField: func(key string, values []string) {
		fields = append(fields, key+": "+strings.Join(values, ","))
	}}
	r := request(t, http.MethodGet, ours.URL, http.NoBody)
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
	status, _ := answer(t, calling(t, open(t, holding()), ours), r)
	is.Equal(status, http.StatusOK)
	is.Equal(len(fields), 0)

	// Control: a request that carries the credential without Transport.
	r.Header.Set("Authorization", "Bearer "+first)
	answer(t, &http.Client{Transport: base(t, ours)}, r)
	is.True(shows(strings.Join(fields, "\n")))
}

// A body is read after RoundTrip returns, so only the request's context may end it.
func TestBodyEndsWithTheContextOfTheRequest(t *testing.T) {
	is := is.New(t)
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+second {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		for _, line := range []string{"one", "two"} {
			_, _ = io.WriteString(w, line+"\n")
			is.NoErr(http.NewResponseController(w).Flush())
			select {
			case <-release:
			case <-r.Context().Done():
				return
			}
		}
	}))
	defer s.Close()
	_, client, _ := rotated(t)
	b := new(http.Transport)
	defer b.CloseIdleConnections()
	rt := secretshttp.Transport(b, client, "api", bearer, secretshttp.Hosts(s.URL))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp, err := rt.RoundTrip(request(t, http.MethodGet, s.URL, http.NoBody).WithContext(ctx))
	is.NoErr(err)
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for _, want := range []string{"one\n", "two\n"} {
		line, err := lines.ReadString('\n')
		is.NoErr(err)
		is.Equal(line, want)
		if want == "one\n" {
			release <- struct{}{}
		}
	}
	cancel()
	_, err = lines.ReadString('\n')
	is.True(errors.Is(err, context.Canceled))
}

// While Do waits for the backend, the caller's context may end. The caller still gets the 401.
func TestTheCallerMayCancelDuringTheRefresh(t *testing.T) {
	is := is.New(t)
	backend, client, _ := rotated(t)
	release := backend.Block()
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rt := secretshttp.Transport(roundTrip(func(*http.Request) (*http.Response, error) {
		cancel()
		return &http.Response{StatusCode: http.StatusUnauthorized, Body: http.NoBody}, nil
	}), client, "api", bearer, secretshttp.Hosts("api.example"))
	resp, err := rt.RoundTrip(request(t, http.MethodGet, "https://api.example", http.NoBody).WithContext(ctx))
	is.NoErr(err)
	is.NoErr(resp.Body.Close())
	is.Equal(resp.StatusCode, http.StatusUnauthorized)
}

type closing struct {
	http.RoundTripper

	closed int
}

func (c *closing) CloseIdleConnections() { c.closed++ }

func TestCloseIdleConnectionsReachesBase(t *testing.T) {
	is := is.New(t)
	client := open(t, holding())
	b := &closing{RoundTripper: http.DefaultTransport}
	(&http.Client{Transport: secretshttp.Transport(b, client, "api", bearer, secretshttp.Hosts("api.example"))}).CloseIdleConnections()
	is.Equal(b.closed, 1)
	plain := roundTrip(nil) // it has no such method
	(&http.Client{Transport: secretshttp.Transport(plain, client, "api", bearer, secretshttp.Hosts("api.example"))}).CloseIdleConnections()
}

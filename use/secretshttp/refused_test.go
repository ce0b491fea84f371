package secretshttp_test

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretshttp"
)

// rotated returns a client whose cache has the first version of the credential, while the backend and the server have the second.
func rotated(t *testing.T) (*secretstest.Backend, *secrets.Client, *server) {
	t.Helper()
	backend := holding()
	client := open(t, backend)
	_, err := client.Get(t.Context(), "api")
	is.New(t).NoErr(err)
	backend.Set("api", second)
	backend.ResetCounts()
	return backend, client, serve(t, second)
}

func TestRefusedRequestIsRepeatedWithTheNewCredential(t *testing.T) {
	for name, tc := range map[string]struct {
		method string
		body   io.Reader
		want   string
	}{
		"no body":           {http.MethodGet, nil, ""},
		"http.NoBody":       {http.MethodPost, http.NoBody, ""},
		"one with GetBody":  {http.MethodPost, strings.NewReader("an invoice"), "an invoice"},
		"one of a megabyte": {http.MethodPut, strings.NewReader(strings.Repeat("x", 1<<20)), strings.Repeat("x", 1<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			backend, client, ours := rotated(t)
			status, body := answer(t, calling(t, client, ours), request(t, tc.method, ours.URL, tc.body))
			is.Equal(status, http.StatusOK)
			is.Equal(body, "welcome")
			tokens, bodies, _ := ours.take()
			is.Equal(tokens, []string{first, second})
			is.Equal(bodies, []string{tc.want})
			is.Equal(backend.Calls(), 1)
		})
	}
}

func TestRequestThatCannotBeRepeatedRefreshesForTheNextOne(t *testing.T) {
	is := is.New(t)
	backend, client, ours := rotated(t)
	c := calling(t, client, ours)
	status, body := answer(t, c, request(t, http.MethodPost, ours.URL, onlyOnce{strings.NewReader("an invoice")}))
	is.Equal(status, http.StatusUnauthorized)
	is.Equal(body, "refused")
	is.Equal(backend.Calls(), 1)

	status, _ = answer(t, c, request(t, http.MethodPost, ours.URL, onlyOnce{strings.NewReader("the next one")}))
	is.Equal(status, http.StatusOK)
	tokens, bodies, _ := ours.take()
	is.Equal(tokens, []string{first, second})
	is.Equal(bodies, []string{"the next one"})
	is.Equal(backend.Calls(), 1)
}

func TestAFailingGetBodyLeavesThe401(t *testing.T) {
	is := is.New(t)
	_, client, ours := rotated(t)
	r := request(t, http.MethodPost, ours.URL, strings.NewReader("an invoice"))
	r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
	status, body := answer(t, calling(t, client, ours), r)
	is.Equal(status, http.StatusUnauthorized)
	is.Equal(body, "refused")
}

// The back-off of Do limits the calls while a server refuses all credentials. No credential is sent twice for one request.
func TestAServerThatRefusesAllCostsFewCalls(t *testing.T) {
	is := is.New(t)
	const requests = 50
	backend, client, ours := rotated(t)
	ours.accept()
	c := calling(t, client, ours)
	for range requests {
		status, body := answer(t, c, request(t, http.MethodGet, ours.URL, http.NoBody))
		is.Equal(status, http.StatusUnauthorized)
		is.Equal(body, "refused")
	}
	tokens, _, _ := ours.take()
	is.Equal(tokens[:2], []string{first, second}) // the first request
	is.Equal(len(tokens), requests+1)             // then the cache has the second; each other request sends it once
	is.True(backend.Calls() < requests/4)

	// Control: a refresh for each 401.
	backend.ResetCounts()
	for range requests {
		_, err := client.Refresh(t.Context(), "api")
		is.NoErr(err)
	}
	is.Equal(backend.Calls(), requests)
}

func TestCallerGetsThe401IfThereIsNoOtherCredential(t *testing.T) {
	for name, fail := range map[string]func(*secretstest.Backend){
		"in an outage":     func(b *secretstest.Backend) { b.Fail(secrets.ErrUnavailable) },
		"after a denial":   func(b *secretstest.Backend) { b.FailPath("api", secrets.ErrPermissionDenied) },
		"after a deletion": func(b *secretstest.Backend) { b.Delete("api") },
		"without a change": func(b *secretstest.Backend) { b.Set("api", first) },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			backend, client, ours := rotated(t)
			fail(backend)
			status, body := answer(t, calling(t, client, ours), request(t, http.MethodGet, ours.URL, http.NoBody))
			is.Equal(status, http.StatusUnauthorized)
			is.Equal(body, "refused")
			tokens, _, _ := ours.take()
			is.Equal(tokens, []string{first})
		})
	}
}

// Do also tries other versions.
func TestPreviousVersionIsTried(t *testing.T) {
	is := is.New(t)
	backend := holding()
	backend.Set("api", second)
	client := open(t, &staged{backend, []string{"1"}})
	ours := serve(t, first) // it does not accept the second yet
	c := calling(t, client, ours)
	for range 2 {
		status, _ := answer(t, c, request(t, http.MethodGet, ours.URL, http.NoBody))
		is.Equal(status, http.StatusOK)
	}
	tokens, _, _ := ours.take()
	is.Equal(tokens, []string{second, first, first}) // an accepted version comes first for a minute
}

func TestOtherStatusesAreNotRefusals(t *testing.T) {
	is := is.New(t)
	backend, client, _ := rotated(t)
	for _, status := range []int{http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusInternalServerError} {
		n := 0
		rt := secretshttp.Transport(roundTrip(func(*http.Request) (*http.Response, error) {
			n++
			return &http.Response{StatusCode: status, Body: http.NoBody}, nil
		}), client, "api", bearer, secretshttp.Hosts("api.example"))
		resp, err := rt.RoundTrip(request(t, http.MethodGet, "https://api.example", http.NoBody))
		is.NoErr(err)
		is.NoErr(resp.Body.Close())
		is.Equal(resp.StatusCode, status)
		is.Equal(n, 1)
	}
	is.Equal(backend.Calls(), 0)
}

// After a refusal, only a success shows that the server accepts a credential. One stray 401 must not move a program to a revoked key.
func TestOnlyASuccessMarksACredentialAsAccepted(t *testing.T) {
	for _, status := range []int{
		http.StatusFound, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusServiceUnavailable,
		http.StatusOK, http.StatusNoContent, // the controls
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			is := is.New(t)
			backend := holding()
			backend.Set("api", second)
			var got []string
			rt := secretshttp.Transport(roundTrip(func(r *http.Request) (*http.Response, error) {
				got = append(got, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
				answer := http.StatusOK
				switch {
				case len(got) == 1:
					answer = http.StatusUnauthorized
				case got[len(got)-1] == first:
					answer = status
				}
				return &http.Response{StatusCode: answer, Body: http.NoBody}, nil
			}), open(t, &staged{backend, []string{"1"}}), "api", bearer, secretshttp.Hosts("api.example"))
			next := first // the controls: an accepted version comes first for a minute
			if status >= 300 {
				next = second
			}
			for i, want := range []int{status, http.StatusOK, http.StatusOK} {
				resp, err := rt.RoundTrip(request(t, http.MethodGet, "https://api.example", http.NoBody))
				is.NoErr(err)
				is.NoErr(resp.Body.Close())
				is.True(resp.StatusCode == want || i > 0 && next == first)
			}
			is.Equal(got, []string{second, first, next, next})
		})
	}
}

func TestErrorOfSet(t *testing.T) {
	field := func(r *http.Request, s secrets.Secret) error {
		key, err := s.Field("key")
		if err != nil {
			return err
		}
		return bearer(r, key)
	}
	t.Run("RoundTrip returns it", func(t *testing.T) {
		is := is.New(t)
		ours := serve(t)
		rt := secretshttp.Transport(base(t, ours), open(t, holding()), "api", field, secretshttp.Hosts(ours.host()))
		body := &tracked{Reader: strings.NewReader("an invoice")}
		_, err := rt.RoundTrip(request(t, http.MethodPost, ours.URL, body)) //nolint:bodyclose // there is no response
		is.True(errors.Is(err, secrets.ErrMalformed))
		is.True(body.closed)
		tokens, _, _ := ours.take()
		is.Equal(len(tokens), 0)
	})
	t.Run("an older version without the field is skipped", func(t *testing.T) {
		is := is.New(t)
		backend := secretstest.NewBackend(map[string]string{"api": `{"key":"` + first + `"}`})
		backend.Set("api", `{"key":"`+second+`"}`)
		backend.SetVersion("api", "old", `{"token":"x"}`)
		ours := serve(t, first)
		rt := secretshttp.Transport(base(t, ours), open(t, &staged{backend, []string{"old", "1"}}), "api", field,
			secretshttp.Hosts(ours.host()))
		r := request(t, http.MethodPost, ours.URL, strings.NewReader("an invoice"))
		status, _ := answer(t, &http.Client{Transport: rt}, r)
		is.Equal(status, http.StatusOK)
		tokens, bodies, _ := ours.take()
		is.Equal(tokens, []string{second, first})
		is.Equal(bodies, []string{"an invoice"})
	})
	t.Run("the caller gets the 401 if no other candidate can be set", func(t *testing.T) {
		is := is.New(t)
		backend := secretstest.NewBackend(map[string]string{"api": `{"key":"` + first + `"}`})
		client := open(t, backend)
		ours := serve(t)
		c := &http.Client{Transport: secretshttp.Transport(base(t, ours), client, "api", field, secretshttp.Hosts(ours.host()))}
		_, err := client.Get(t.Context(), "api")
		is.NoErr(err)
		backend.Set("api", `{"token":"x"}`)
		status, body := answer(t, c, request(t, http.MethodGet, ours.URL, http.NoBody))
		is.Equal(status, http.StatusUnauthorized)
		is.Equal(body, "refused")
		_, err = c.Do(request(t, http.MethodGet, ours.URL, http.NoBody)) //nolint:bodyclose // there is no response
		is.True(errors.Is(err, secrets.ErrFieldNotFound))                // the next request gets the reason
	})
}

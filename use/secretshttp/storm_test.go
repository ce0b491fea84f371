package secretshttp_test

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/use/secretshttp"
)

// storm sends 200 requests with the old credential, which the server refuses all at once. It returns how many fail and how many backend
// calls they cost.
func storm(t *testing.T, wrap func(base http.RoundTripper, client *secrets.Client) http.RoundTripper) (failed int64, calls int) {
	t.Helper()
	const requests = 200
	is := is.New(t)
	backend, client, _ := rotated(t)
	var old sync.WaitGroup
	old.Add(requests)
	api := roundTrip(func(r *http.Request) (*http.Response, error) {
		status := http.StatusOK
		if r.Header.Get("Authorization") != "Bearer "+second {
			old.Done()
			old.Wait() // until all have arrived
			status = http.StatusUnauthorized
		}
		return &http.Response{StatusCode: status, Body: http.NoBody}, nil
	})
	c := &http.Client{Transport: wrap(api, client)}
	var wg sync.WaitGroup
	var failures atomic.Int64
	for range requests {
		r := request(t, http.MethodGet, "https://api.example", http.NoBody)
		wg.Go(func() {
			resp, err := c.Do(r)
			if err != nil {
				failures.Add(1)
				return
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				failures.Add(1)
			}
		})
	}
	wg.Wait()
	is.Equal(backend.Fetches("api"), backend.Calls())
	return failures.Load(), backend.Calls()
}

func TestConcurrent401sShareOneRefresh(t *testing.T) {
	is := is.New(t)
	failed, calls := storm(t, func(base http.RoundTripper, client *secrets.Client) http.RoundTripper {
		return secretshttp.Transport(base, client, "api", bearer, secretshttp.Hosts("api.example"))
	})
	t.Logf("Transport: %d of 200 failed, %d calls of the backend", failed, calls)
	is.Equal(failed, int64(0))
	is.Equal(calls, 1)

	// Control: a program without Transport refreshes after each 401.
	failed, calls = storm(t, func(base http.RoundTripper, client *secrets.Client) http.RoundTripper {
		return refreshing{base, client}
	})
	t.Logf("Refresh after each 401: %d of 200 failed, %d calls of the backend", failed, calls)
	is.Equal(failed, int64(0))
	is.True(calls > 1)
}

// refreshing refreshes the credential after each 401.
type refreshing struct {
	base   http.RoundTripper
	client *secrets.Client
}

func (t refreshing) RoundTrip(r *http.Request) (*http.Response, error) {
	s, err := t.client.Get(r.Context(), "api")
	if err != nil {
		return nil, err
	}
	resp, err := t.send(r, s)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if s, err = t.client.Refresh(r.Context(), "api"); err != nil {
		return nil, err
	}
	return t.send(r, s)
}

func (t refreshing) send(r *http.Request, s secrets.Secret) (*http.Response, error) {
	clone := r.Clone(r.Context())
	if err := bearer(clone, s); err != nil {
		return nil, err
	}
	return t.base.RoundTrip(clone)
}

package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
)

// Store is a backend for a server that answers GET /v1/<path> with the secret.
type Store struct {
	base   *url.URL
	client *http.Client
	token  secrets.Secret // which no format or dump shows
}

var _ secrets.Backend = (*Store)(nil)

// NewStore returns the backend for the server at base.
func NewStore(base string, token secrets.Secret) (*Store, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, errors.New("store: the address is no URL") // err quotes the address, which may hold a password
	}
	// A transport of its own, so that Close ends no other connections. No redirects: the token goes to no other server.
	return &Store{base: u, token: token, client: &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Info describes the store. Only the name is required.
func (s *Store) Info() secrets.Info { return secrets.Info{Name: "store"} }

// Fetch returns an error of one class for each failure. It wraps no error of net/http, since those quote the URL.
func (s *Store) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	if ref.Version != "" {
		return fail(secrets.ErrInvalidKey, "the store keeps no versions")
	}
	u := *s.base
	u.Path += "/v1/" + ref.Path // a url.URL escapes it
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return fail(secrets.ErrInvalidKey, "the key makes no URL")
	}
	req.Header.Set("Authorization", "Bearer "+s.token.Reveal())
	resp, err := s.client.Do(req)
	if err != nil {
		return s.unavailable(ctx, "the store cannot be reached")
	}
	defer resp.Body.Close()

	switch code := resp.StatusCode; {
	case code == http.StatusOK:
	case code == http.StatusNotFound:
		return fail(secrets.ErrNotFound, "")
	case code == http.StatusUnauthorized:
		return fail(secrets.ErrUnauthenticated, "")
	case code == http.StatusForbidden:
		return fail(secrets.ErrPermissionDenied, "")
	case code == http.StatusTooManyRequests, code >= 500:
		return fail(secrets.ErrUnavailable, fmt.Sprint("status ", code)) // the server writes resp.Status: it may hold anything
	default:
		return fail(secrets.ErrUnknown, fmt.Sprint("status ", code))
	}

	const maxSize = 1 << 20
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxSize+1))
	switch {
	case err != nil:
		return s.unavailable(ctx, "the answer broke off")
	case len(body) > maxSize:
		return fail(secrets.ErrMalformed, "the secret is larger than 1 MiB")
	}
	return secrets.NewSecret(string(body), secrets.Meta{Version: resp.Header.Get("ETag")}), nil
}

// Close ends the connections. The Client calls it last.
func (s *Store) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// unavailable returns an outage, unless the caller has given up.
func (*Store) unavailable(ctx context.Context, detail string) (secrets.Secret, error) {
	if err := ctx.Err(); err != nil {
		return secrets.Secret{}, err
	}
	return fail(secrets.ErrUnavailable, detail)
}

func fail(class error, detail string) (secrets.Secret, error) {
	return secrets.Secret{}, secrets.NewError(class, detail)
}

// A backend describes itself, returns documents, and gives each error a class. The Client does the rest: fields, timeouts,
// cache, dedup. Run of package secretstest is the conformance suite.
func ExampleBackend() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/database" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, `{"user":"app","password":"correct horse"}`)
	}))
	defer server.Close()

	store, err := NewStore(server.URL, secrets.NewSecret("example-token", secrets.Meta{}))
	if err != nil {
		log.Panic(err)
	}
	client, err := secrets.New(store, middleware.Standard())
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	ctx := context.Background()
	user, err := client.Get(ctx, "database#user")
	fmt.Println(user.Reveal(), err)
	_, err = client.Get(ctx, "api/token")
	fmt.Println(err)
	// Output:
	// app <nil>
	// secrets: store: api/token: not found
}

package vault_test

import (
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
)

// An httptrace hook in a caller's context gets every request header. It must see no request of the backend: no read, detection of the
// mount, lookup-self or login.
func TestRequestsAreUntraced(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.put("app", `{"a":"b"}`)
	f.reply("secret/data/open", http.StatusForbidden, bodyNoToken)
	var (
		mu   sync.Mutex
		seen []string
	)
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteHeaderField: func(key string, values []string) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, key+"="+strings.Join(values, ","))
	}})
	for _, auth := range []vault.Option{vault.WithToken(fakeToken), vault.WithAuth(vault.AppRole("role", vault.Value("id")))} {
		b, err := vault.New(vault.WithAddress(f.URL), auth, vault.WithLookup(noEnvironment))
		is.NoErr(err)
		_, err = b.Fetch(ctx, secrets.Ref{Path: "app"})
		is.NoErr(err)
		_, err = b.Fetch(ctx, secrets.Ref{Path: "open"})
		is.True(err != nil)
		is.NoErr(b.Close())
	}
	requests := f.seen()
	is.True(count(requests, lookupSelf) > 0)
	is.True(count(requests, "PUT auth/approle/login") > 0)
	is.Equal(seen, nil)

	// The control: the hook sees the token of any other request in that context.
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL+"/v1/secret/data/app", http.NoBody)
	is.NoErr(err)
	r.Header.Set("X-Vault-Token", fakeToken)
	resp, err := f.Server.Client().Do(r)
	is.NoErr(err)
	is.NoErr(resp.Body.Close())
	is.True(slices.Contains(seen, "X-Vault-Token="+fakeToken))
}

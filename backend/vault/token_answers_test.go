package vault_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
)

// tokenAnswers are the answers of servers about a token, with status 403, at every path that needs one.
//
// Vault 1.17 and later add "invalid token" for one that is expired, revoked, used up or unknown:
// https://github.com/hashicorp/vault/pull/25953, https://developer.hashicorp.com/vault/docs/concepts/tokens#error-responses. Earlier ones
// and OpenBao return a bare logical.ErrPermissionDenied from fetchACLTokenEntryAndEntity. All of them do so for a request without a token,
// from an address that the token is not bound to, or of a disabled entity. A denial by policy is a multierror of one:
// https://github.com/openbao/openbao/blob/main/vault/request_handling.go,
// https://github.com/hashicorp/vault/blob/v1.16.3/vault/request_handling.go. The answers of 1.21.0 are checked with the real server.
var tokenAnswers = []struct {
	server                               string
	dead, denied, deniedMount, elsewhere string
	says                                 bool // the answer itself says that the token is dead
}{
	{server: "Vault 1.21.0", dead: bodyInvalidToken, denied: bodyDenied, deniedMount: bodyPreflightDenied, elsewhere: bodyNoToken, says: true},
	{server: "Vault 1.16", dead: bodyNoToken, denied: bodyDenied, deniedMount: bodyPreflightDenied, elsewhere: bodyNoToken},
	{server: "OpenBao 2", dead: bodyNoToken, denied: bodyDenied, deniedMount: bodyPreflightDenied, elsewhere: bodyNoToken},
}

const lookupSelf = "GET auth/token/lookup-self"

func count(requests []string, prefix string) int {
	n := 0
	for _, request := range requests {
		if strings.HasPrefix(request, prefix) {
			n++
		}
	}
	return n
}

// forbid makes the fake answer every path with body, except for requests with a token other than dead.
func forbid(f *fake, dead *string, body string) {
	for _, path := range []string{"sys/internal/ui/mounts/secret", "secret/data/app", "secret/app", "auth/token/lookup-self"} {
		f.handle(path, func(w http.ResponseWriter, r *http.Request) {
			if *dead == "" {
				*dead = r.Header.Get("X-Vault-Token")
			}
			if r.Header.Get("X-Vault-Token") == *dead {
				respond(w, http.StatusForbidden, body)
				return
			}
			f.vault.ServeHTTP(w, r)
		})
	}
}

func TestADeadTokenIsReplacedOnce(t *testing.T) {
	for _, server := range tokenAnswers {
		for name, body := range map[string]string{"dead": server.dead, "bound to another address": server.elsewhere} {
			for _, known := range []bool{false, true} { // whether the mount's version is known
				t.Run(server.server+" "+name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						is := is.New(t)
						f := inMemory(t)
						f.put("app", `{"a":"b"}`)
						opts := []vault.Option{vault.WithAddress(f.URL), vault.WithHTTPClient(f.client), vault.WithLookup(noEnvironment),
							vault.WithAuth(vault.AppRole("role", vault.Value("id")))}
						if known {
							opts = append(opts, vault.WithKVVersion(2))
						}
						b, err := vault.New(opts...)
						is.NoErr(err)
						_, err = b.Fetch(t.Context(), secrets.Ref{Path: "app"})
						is.NoErr(err)
						time.Sleep(time.Minute) // a token younger than a second is not replaced
						f.seen()
						dead := ""
						forbid(f, &dead, body)
						s, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
						is.NoErr(err)
						is.Equal(s.Reveal(), `{"a":"b"}`)
						requests := f.seen()
						is.Equal(count(requests, "PUT auth/approle/login"), 1)
						is.Equal(count(requests, lookupSelf), map[bool]int{true: 0, false: 1}[body == bodyInvalidToken])
						is.NoErr(b.Close())
					})
				})
			}
		}
	}
}

func TestADeadFixedTokenIsUnauthenticated(t *testing.T) {
	for _, server := range tokenAnswers {
		for _, opts := range [][]vault.Option{nil, {vault.WithKVVersion(2)}, {vault.WithDynamicSecrets()}} {
			is := is.New(t)
			f := newFake(t)
			dead := ""
			forbid(f, &dead, server.dead)
			b := f.backend(t, opts...)
			for range 3 {
				_, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
				is.Equal(secrets.Class(err), secrets.ErrUnauthenticated) // of server
				is.True(strings.Contains(err.Error(), "has expired, was revoked"))
			}
			is.Equal(count(f.seen(), lookupSelf), map[bool]int{true: 0, false: 1}[server.says])
		}
	}
}

func TestADenialByPolicyNeedsNoLookup(t *testing.T) {
	for _, server := range tokenAnswers {
		is := is.New(t)
		f := newFake(t)
		f.reply("sys/internal/ui/mounts/secret", http.StatusForbidden, server.deniedMount)
		f.reply("secret/data/app", http.StatusForbidden, server.denied)
		f.reply("secret/app", http.StatusForbidden, server.denied)
		for _, opts := range [][]vault.Option{nil, {vault.WithKVVersion(2)}, {vault.WithDynamicSecrets()}} {
			b := f.backend(t, opts...)
			_, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
			is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)
			is.Equal(count(f.seen(), lookupSelf), 0)
		}
	}
}

// lookup-self decides a 403 that is ambiguous. A token whose policies deny lookup-self is alive, too.
func TestAnAmbiguousDenialIsLookedUp(t *testing.T) {
	const (
		granted = "policies of the token must grant read on secret/data/app"
		itself  = `{"data":{"id":"x"}}`
	)
	for name, test := range map[string]struct {
		read, lookup string
		status       int
		class        error
		detail       string
	}{
		"alive":                      {bodyNoToken, itself, 200, secrets.ErrPermissionDenied, granted},
		"lookup denied":              {bodyNoToken, bodyDenied, 403, secrets.ErrPermissionDenied, granted},
		"another text":               {`{"errors":["namespaces feature not enabled"]}`, itself, 200, secrets.ErrPermissionDenied, granted},
		"another text of a dead one": {`{"errors":["bad token"]}`, bodyInvalidToken, 403, secrets.ErrUnauthenticated, "expired"},
		"sealed meanwhile":           {bodyNoToken, bodySealed, 503, secrets.ErrPermissionDenied, "or the token has expired"},
		"a proxy in between":         {bodyNoToken, page, 403, secrets.ErrPermissionDenied, "or the token has expired"},
		"a page":                     {bodyNoToken, page, 200, secrets.ErrPermissionDenied, "or the token has expired"},
		"not found":                  {bodyNoToken, bodyMissing, 404, secrets.ErrPermissionDenied, "or the token has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			f := newFake(t)
			f.reply("secret/data/app", http.StatusForbidden, test.read)
			f.reply("auth/token/lookup-self", test.status, test.lookup)
			b := f.backend(t, vault.WithKVVersion(2))
			for range 5 {
				_, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
				is.Equal(secrets.Class(err), test.class)
				is.True(strings.Contains(err.Error(), test.detail))
			}
			is.True(count(f.seen(), lookupSelf) <= 3) // one look-up; the client retries in an outage
		})
	}
}

func TestLookupsOfDenialsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := inMemory(t)
		f.reply("secret/data/app", http.StatusForbidden, bodyNoToken)
		hang := true
		f.handle("auth/token/lookup-self", func(w http.ResponseWriter, r *http.Request) {
			if hang {
				<-r.Context().Done()
				return
			}
			time.Sleep(time.Second)
			respond(w, http.StatusOK, `{"data":{"id":"x"}}`)
		})
		b := f.backend(t, vault.WithKVVersion(2))
		together := func() (took time.Duration) {
			began := time.Now()
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					_, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
					is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)
				})
			}
			wg.Wait()
			return time.Since(began)
		}
		is.Equal(together(), 2*time.Second) // the server does not answer
		is.Equal(count(f.seen(), lookupSelf), 1)
		hang = false
		is.Equal(together(), 0*time.Second)
		is.Equal(count(f.seen(), lookupSelf), 0) // remembered for 10 seconds
		time.Sleep(10 * time.Second)
		is.Equal(together(), time.Second)
		is.Equal(count(f.seen(), lookupSelf), 1)
		is.NoErr(b.Close())
	})
}

// A denial is returned before the caller's deadline: as an outage, it would let a fallback answer in its place. If a caller has too little
// time for the look-up, the next one repeats it.
func TestADenialIsReturnedBeforeTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := inMemory(t)
		f.reply("secret/data/app", http.StatusForbidden, bodyNoToken)
		slow := func(d time.Duration) {
			f.handle("auth/token/lookup-self", func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-time.After(d):
					respond(w, http.StatusForbidden, bodyNoToken)
				case <-r.Context().Done():
				}
			})
		}
		slow(time.Hour)
		b := f.backend(t, vault.WithKVVersion(2))
		weak := secrets.NewBackend(secrets.Info{Name: "weak"}, func(context.Context, secrets.Ref) (secrets.Secret, error) {
			return secrets.NewSecret(`{"a":"weak"}`, secrets.Meta{}), nil
		})
		_, err := client(t, b, secrets.WithTimeout(time.Second), secrets.WithFallback(fallback.To(weak))).Get(t.Context(), "app#a")
		is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)

		var wg sync.WaitGroup
		wg.Go(func() { _, _ = b.Fetch(t.Context(), secrets.Ref{Path: "app"}) }) // looks up, for 2 seconds
		synctest.Wait()
		ctx, cancel := contextWithTimeout(t, 50*time.Millisecond)
		defer cancel()
		_, err = b.Fetch(ctx, secrets.Ref{Path: "app"})
		is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)
		is.NoErr(ctx.Err())
		wg.Wait()

		time.Sleep(10 * time.Second)
		slow(100 * time.Millisecond)
		ctx, cancel = contextWithTimeout(t, 50*time.Millisecond)
		defer cancel()
		_, err = b.Fetch(ctx, secrets.Ref{Path: "app"})
		is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)
		_, err = b.Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.Equal(secrets.Class(err), secrets.ErrUnauthenticated)
		is.NoErr(b.Close())
	})
}

// If the caller that looks a token up leaves, the next caller looks it up.
func TestACanceledLookupIsRepeatedForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := inMemory(t)
		f.reply("secret/data/app", http.StatusForbidden, bodyNoToken)
		f.handle("auth/token/lookup-self", func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(time.Second):
				respond(w, http.StatusForbidden, bodyNoToken)
			case <-r.Context().Done():
			}
		})
		b := f.backend(t, vault.WithKVVersion(2))
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		wg.Go(func() {
			_, err := b.Fetch(ctx, secrets.Ref{Path: "app"})
			is.Equal(err, context.Canceled)
		})
		time.AfterFunc(time.Second/2, cancel)
		synctest.Wait()
		wg.Go(func() {
			_, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
			is.Equal(secrets.Class(err), secrets.ErrUnauthenticated)
		})
		wg.Wait()
		is.NoErr(b.Close())
	})
}

// An engine's error about a token of its own, with another status than 403, is not about the request's token: the backend keeps that token
// and its leases.
func TestAnEnginesInvalidTokenIsNotTheRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for status, class := range map[int]error{400: secrets.ErrInvalidKey, 404: secrets.ErrUnknown, 500: secrets.ErrUnavailable} {
			is := is.New(t)
			f := inMemory(t)
			f.reply("gitlab/creds/app", status, `{"errors":["1 error occurred:\n\t* GET /api/v4/tokens: 401 invalid token\n\n"]}`)
			b, err := vault.New(vault.WithAddress(f.URL), vault.WithHTTPClient(f.client), vault.WithLookup(noEnvironment),
				vault.WithMount("gitlab"), vault.WithDynamicSecrets(), vault.WithAuth(vault.AppRole("role", vault.Value("id"))))
			is.NoErr(err)
			for range 3 {
				_, err = b.Fetch(t.Context(), secrets.Ref{Path: "creds/app"})
				is.Equal(secrets.Class(err), class) // status
				time.Sleep(time.Minute)
			}
			is.Equal(count(f.seen(), "PUT auth/approle/login"), 1)
			is.NoErr(b.Close())
		}
	})
}

// A token of a namespace that the server does not have is another server's. Vault 1.21.0 answers status 500.
func TestATokenOfAnotherNamespaceIsUnauthenticated(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.reply("secret/data/app", http.StatusInternalServerError, bodyOtherNamespace)
	_, err := f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "app"})
	is.Equal(secrets.Class(err), secrets.ErrUnauthenticated)
	f.reply("secret/data/app", http.StatusInternalServerError, `{"errors":["internal error"]}`) // the control
	_, err = f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "app"})
	is.Equal(secrets.Class(err), secrets.ErrUnavailable)
}

func TestARequestWithoutATokenIsUnauthenticated(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	b, err := vault.New(vault.WithAddress(f.URL), vault.WithoutToken(), vault.WithLookup(noEnvironment))
	is.NoErr(err)
	_, err = b.Fetch(t.Context(), secrets.Ref{Path: "app"})
	is.Equal(secrets.Class(err), secrets.ErrUnauthenticated)
	is.True(strings.Contains(err.Error(), "agent"))
	is.Equal(count(f.seen(), lookupSelf), 0)
	is.NoErr(b.Close())
}

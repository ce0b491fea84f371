package vault_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// canary is in every place of a body that may hold a secret.
const canary = "canary-3f9b1c7d2e"

// page is a proxy's answer in place of Vault's. Some proxies echo the request.
const page = "<html><body><h1>Bad gateway</h1>X-Vault-Token=" + fakeToken + " " + canary + "</body></html>"

// TestAnswers replays the answers of Vault 1.21, and of proxies in front of it, to a read.
func TestAnswers(t *testing.T) {
	large := `{"data":{"data":{"a":"` + strings.Repeat("x", 2<<20) + `"},"metadata":{"version":1}}}`
	for _, c := range []struct {
		name   string
		status int
		body   string
		class  error  // nil for a secret
		detail string // a part of the detail
	}{
		{"missing", 404, bodyMissing, secrets.ErrNotFound, "nothing at secret/data/app"},
		{"missing mount", 404, bodyMountMissing, secrets.ErrNotFound, "no secrets engine is mounted"},
		{"deleted", 404, bodyDeleted, secrets.ErrDeleted, "version 2 was deleted"},
		{"destroyed", 404, bodyDestroyed, secrets.ErrDeleted, "version 1 was destroyed"},
		{"unsupported path", 404, `{"errors":["1 error occurred:\n\t* unsupported path\n\n"]}`, secrets.ErrInvalidKey, ""},
		{"another 404", 404, `{"errors":["` + canary + `"]}`, secrets.ErrUnknown, ""},
		{"404 of a proxy", 404, page, secrets.ErrUnavailable, "not Vault's"},
		{"404 of an ingress", 404, "default backend - 404", secrets.ErrUnavailable, "not Vault's"},
		{"404 of a gateway", 404, `{"message":"no Route matched with those values"}`, secrets.ErrUnavailable, "not Vault's"},
		{"404 of a framework", 404, `{"errors":{"detail":"Not Found"}}`, secrets.ErrUnavailable, "not Vault's"},
		{"404 with one error", 404, `{"errors":"not found"}`, secrets.ErrUnavailable, "not Vault's"},
		{"404 with errors of another kind", 404, `{"errors":[{"status":"404"}]}`, secrets.ErrUnavailable, "not Vault's"},
		{"404 without errors", 404, `{"errors":null}`, secrets.ErrUnavailable, "not Vault's"},
		{"404 with no data", 404, `{"status":404,"data":null,"message":"no such route"}`, secrets.ErrUnavailable, "not Vault's"},
		{"404 at the root of a mount", 404,
			`{"data":null,"warnings":["Non-listing operations on the root of a K/V v2 mount are not supported."]}`, secrets.ErrNotFound, ""},
		{"404 without a body", 404, "", secrets.ErrUnavailable, "not Vault's"},
		{"404 null", 404, "null", secrets.ErrUnavailable, "not Vault's"},
		{"404 cut short", 404, `{"errors":[`, secrets.ErrUnavailable, "not Vault's"},
		{"denied", 403, bodyDenied, secrets.ErrPermissionDenied, "read on secret/data/app"},
		{"invalid token", 403, bodyInvalidToken, secrets.ErrUnauthenticated, "does not accept the token"},
		{"no token", 403, bodyNoToken, secrets.ErrPermissionDenied, "read on secret/data/app"},
		{"403 of a proxy", 403, page, secrets.ErrUnavailable, "not Vault's"},
		{"403 without a body", 403, "", secrets.ErrUnavailable, "not Vault's"},
		{"401", 401, `{"errors":["x"]}`, secrets.ErrUnauthenticated, ""},
		{"401 of a proxy", 401, page, secrets.ErrUnavailable, "not Vault's"},
		{"sealed", 503, bodySealed, secrets.ErrUnavailable, "sealed"},
		{"503 of a proxy", 503, page, secrets.ErrUnavailable, "status 503"},
		{"quota", 429, bodyQuota, secrets.ErrUnavailable, "too many requests"},
		{"disaster recovery", 472, `{"errors":["x"]}`, secrets.ErrUnavailable, "standby"},
		{"performance standby", 473, `{"errors":["x"]}`, secrets.ErrUnavailable, "standby"},
		{"not initialized", 501, `{"errors":["Vault is not initialized"]}`, secrets.ErrUnavailable, "not initialized"},
		{"500", 500, `{"errors":["` + canary + `"]}`, secrets.ErrUnavailable, "status 500"},
		{"502 of a proxy", 502, page, secrets.ErrUnavailable, "status 502"},
		{"504 without a body", 504, "", secrets.ErrUnavailable, "status 504"},
		{"408", 408, "", secrets.ErrUnavailable, "status 408"},
		{"412", 412, `{"errors":["required index state not present"]}`, secrets.ErrUnavailable, "status 412"},
		{"425", 425, "", secrets.ErrUnavailable, "status 425"},
		{"405", 405, `{"errors":[]}`, secrets.ErrInvalidKey, ""},
		{"upgrading", 400, bodyUpgrading, secrets.ErrUnavailable, "upgraded"},
		{"bad version", 400, bodyBadVersion, secrets.ErrInvalidKey, ""},
		{"another 400", 400, `{"errors":["` + canary + `"]}`, secrets.ErrInvalidKey, ""},
		{"plaintext to a TLS port", 400, "Client sent an HTTP request to an HTTPS server.\n", secrets.ErrUnavailable, "https://"},
		{"409", 409, `{"errors":["x"]}`, secrets.ErrUnknown, "status 409"},
		{"409 of a proxy", 409, page, secrets.ErrUnavailable, "status 409"},
		{"200 without a body", 200, "", secrets.ErrUnavailable, "not Vault's"},
		{"200 null", 200, "null", secrets.ErrUnavailable, "not Vault's"},
		{"200 empty object", 200, "{}", secrets.ErrUnavailable, "not Vault's"},
		{"200 array", 200, "[1]", secrets.ErrUnavailable, "not Vault's"},
		{"200 data null", 200, `{"data":null}`, secrets.ErrMalformed, "without data"},
		{"200 data a string", 200, `{"data":"` + canary + `"}`, secrets.ErrMalformed, "without data"},
		{"200 in capitals", 200, `{"DATA":{"data":{"a":"` + canary + `"},"metadata":{"version":1}}}`, secrets.ErrUnavailable, ""},
		{"200 inner string", 200, `{"data":{"data":"` + canary + `","metadata":{"version":1}}}`, secrets.ErrMalformed, ""},
		{"200 no version", 200, `{"data":{"data":{"a":"` + canary + `"},"metadata":{}}}`, secrets.ErrMalformed, ""},
		{"200 of a proxy", 200, page, secrets.ErrUnavailable, "not Vault's"},
		{"200 cut short", 200, `{"data":{"data":{"a":"` + canary, secrets.ErrUnavailable, "not Vault's"},
		{"200 and more", 200, `{"data":{"data":{"a":"b"},"metadata":{"version":1}}} {}`, secrets.ErrUnavailable, "not Vault's"},
		{"200 wrapped", 200, bodyWrapped, secrets.ErrMalformed, "wrapped"},
		{"200 too large", 200, large, secrets.ErrMalformed, "WithMaxSize"},
		{"503 too large", 503, strings.Repeat("x", 2<<20), secrets.ErrUnavailable, "status 503"},
		{"204", 204, "", secrets.ErrMalformed, "status 204"},
		{"206", 206, `{"data":{"data":{"a":"` + canary + `"},"metadata":{"version":1}}}`, secrets.ErrMalformed, "status 206"},
		{"304", 304, "", secrets.ErrUnavailable, "status 304"},
		{"secret", 200, `{"data":{"data":{"a":"b"},"metadata":{"version":1}},"wrap_info":null}`, nil, ""},
		{"empty secret", 200, `{"data":{"data":{},"metadata":{"version":7}}}`, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			f := newFake(t)
			f.reply("secret/data/app", c.status, c.body)
			s, err := client(t, f.backend(t, vault.WithKVVersion(2))).Get(t.Context(), "app")
			if c.class == nil {
				is.NoErr(err)
				is.True(s.Reveal() != "")
				is.True(s.Meta().ExpiresAt.IsZero())
				return
			}
			is.Equal(secrets.Class(err), c.class)
			var e *secrets.Error
			is.True(errors.As(err, &e))
			is.True(strings.Contains(e.Detail, c.detail)) // describes the fault
			secretstest.AssertNoLeak(t, canary, err)
			secretstest.AssertNoLeak(t, fakeToken, err)
			is.True(s.IsZero())
		})
	}
}

func TestFailedRequestsAreRetried(t *testing.T) {
	for status, tries := range map[int]int{
		200: 1, 400: 1, 403: 1, 404: 1, 405: 1, 472: 1, 473: 1, 501: 1, 412: 3, 429: 3, 500: 3, 502: 3, 503: 3, 504: 3,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel() // they pause between attempts
			is := is.New(t)
			f := newFake(t)
			f.reply("secret/data/app", status, map[bool]string{true: bodyDenied, false: `{"errors":[]}`}[status == http.StatusForbidden])
			_, err := f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "app"})
			is.True(err != nil)
			is.Equal(len(f.seen()), tries)
		})
	}
}

func TestALongRetryAfterIsIgnored(t *testing.T) {
	for _, after := range []string{"3600", "99999999999999999999", "-1", "Fri, 31 Dec 2999 23:59:59 GMT", "soon"} {
		t.Run(after, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			f := newFake(t)
			f.handle("secret/data/app", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", after)
				respond(w, http.StatusTooManyRequests, bodyQuota)
			})
			_, err := client(t, f.backend(t, vault.WithKVVersion(2))).Get(t.Context(), "app")
			is.True(errors.Is(err, secrets.ErrUnavailable))
			is.Equal(len(f.seen()), 3) // three attempts within the client's timeout
		})
	}
}

func TestMaxSizeCountsDecompressedBytes(t *testing.T) {
	is := is.New(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := z.Write(bytes.Repeat([]byte(" "), 64<<20))
	is.NoErr(err)
	is.NoErr(z.Close())
	f := newFake(t)
	f.handle("secret/data/app", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes()) // the client closes the connection
	})
	_, err = f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "app"})
	is.True(errors.Is(err, secrets.ErrMalformed))
}

func TestWithMaxSize(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.put("app", `{"a":"`+strings.Repeat("x", 2<<20)+`"}`)
	_, err := f.backend(t).Fetch(t.Context(), secrets.Ref{Path: "app"})
	is.True(errors.Is(err, secrets.ErrMalformed))
	s, err := f.backend(t, vault.WithMaxSize(3<<20)).Fetch(t.Context(), secrets.Ref{Path: "app"})
	is.NoErr(err)
	is.Equal(len(s.Reveal()), 2<<20+8)
}

func TestTheContextEndsARequest(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	received := make(chan struct{})
	f.handle("secret/data/app", func(_ http.ResponseWriter, r *http.Request) {
		close(received)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-received
		cancel()
	}()
	_, err := f.backend(t, vault.WithKVVersion(2)).Fetch(ctx, secrets.Ref{Path: "app"})
	is.Equal(err, context.Canceled)
}

package vault_test

import (
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

// foreign lists answers of a proxy in front of Vault, or of another server in its place.
var foreign = map[string]string{
	"nothing":               "",
	"Envoy":                 "RBAC: access denied",
	"a page":                page,
	"an API gateway":        `{"message":"Forbidden"}`,
	"Kubernetes":            `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"forbidden: ` + canary + `","code":403}`,
	"an error":              `{"error":{"code":403,"message":"` + canary + `"}}`,
	"one error":             `{"errors":"` + canary + `"}`,
	"an object of errors":   `{"errors":{"detail":"` + canary + `"}}`,
	"errors of another API": `{"errors":[{"status":"403","title":"` + canary + `"}]}`,
	"no errors":             `{"errors":null}`,
	"null":                  "null",
	"an array":              `["permission denied"]`,
	"cut short":             `{"errors":["permission denied"`,
	"errors twice":          `{"errors":["permission denied"],"errors":["invalid token"]}`,
}

// An answer that is not Vault's is ErrUnavailable, whatever its status.
func TestForeignAnswers(t *testing.T) {
	statuses := []int{200, 201, 202, 203, 206, 300, 304, 305, 306, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414,
		415, 416, 417, 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 460, 472, 473, 494, 495, 496, 497, 499, 500, 501, 502, 503, 504,
		505, 511, 520, 521, 522, 523, 524, 525, 526, 530}
	for _, status := range statuses {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel() // some are retried
			f := newFake(t)
			b := f.backend(t, vault.WithKVVersion(2))
			for name, body := range foreign {
				if status == http.StatusNotModified && body != "" {
					continue // it has no body
				}
				t.Run(name, func(t *testing.T) {
					is := is.New(t)
					f.reply("secret/data/app", status, body)
					s, err := b.Fetch(t.Context(), secrets.Ref{Path: "app"})
					is.Equal(secrets.Class(err), secrets.ErrUnavailable)
					is.True(s.IsZero())
					e, ok := errors.AsType[*secrets.Error](err)
					is.True(ok)
					is.True(strings.Contains(e.Detail, fmt.Sprintf("status %d that is not Vault's", status)))
					secretstest.AssertNoLeak(t, canary, err)
					secretstest.AssertNoLeak(t, fakeToken, err)
				})
			}
			is.New(t).Equal(count(f.seen(), lookupSelf), 0)
		})
	}
}

// The controls: with Vault's error format, each status has its own class.
func TestTheSameStatusesFromVault(t *testing.T) {
	for status, class := range map[int]error{
		400: secrets.ErrInvalidKey, 401: secrets.ErrUnauthenticated, 403: secrets.ErrPermissionDenied, 404: secrets.ErrNotFound,
		405: secrets.ErrInvalidKey, 409: secrets.ErrUnknown, 418: secrets.ErrUnknown, 429: secrets.ErrUnavailable, 503: secrets.ErrUnavailable,
	} {
		is := is.New(t)
		f := newFake(t)
		f.reply("secret/data/app", status, `{"errors":[]}`)
		_, err := f.backend(t, vault.WithKVVersion(2)).Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.Equal(secrets.Class(err), class)
		is.True(!strings.Contains(err.Error(), "not Vault's"))
	}
}

// A proxy that answers for a Vault that is down must not make a fallback's or an old value look current, and must not hide them.
func TestAForeignAnswerToTheMountDetection(t *testing.T) {
	for status, class := range map[int]error{200: secrets.ErrUnavailable, 401: secrets.ErrUnavailable, 503: secrets.ErrUnavailable} {
		for name, body := range foreign {
			t.Run(fmt.Sprint(status, name), func(t *testing.T) {
				is := is.New(t)
				f := newFake(t)
				f.put("app", `{"a":"b"}`)
				f.reply("sys/internal/ui/mounts/secret", status, body)
				_, err := f.backend(t).Fetch(t.Context(), secrets.Ref{Path: "app"})
				is.Equal(secrets.Class(err), class)
			})
		}
	}
	for _, status := range []int{403, 404, 405} { // a proxy blocks the detection: the secrets may still be readable
		is := is.New(t)
		f := newFake(t)
		f.put("app", `{"a":"b"}`)
		f.reply("sys/internal/ui/mounts/secret", status, page)
		_, err := f.backend(t).Fetch(t.Context(), secrets.Ref{Path: "app"})
		is.NoErr(err)
	}
}

// No error contains text of the server: it may echo the request.
func TestNoTextOfTheServerIsInAnError(t *testing.T) {
	for name, body := range map[string]string{
		"a type":    `{"data":{"path":"secret/","type":"` + fakeToken + `","options":null}}`,
		"a path":    `{"data":{"path":"` + fakeToken + `/","type":"kv","options":{"version":"2"}}}`,
		"a version": `{"data":{"path":"secret/","type":"kv","options":{"version":"` + fakeToken + `"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			f := newFake(t)
			f.reply("sys/internal/ui/mounts/secret", http.StatusOK, body)
			_, err := f.backend(t).Fetch(t.Context(), secrets.Ref{Path: "app"})
			is.True(err != nil)
			secretstest.AssertNoLeak(t, fakeToken, err)
		})
	}
}

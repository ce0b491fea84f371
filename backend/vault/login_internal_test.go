package vault

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestMethodThatIgnoresItsContext(t *testing.T) {
	var calls atomic.Int32
	deaf := loginFunc(func(context.Context, *api.Client) (*api.Secret, error) {
		calls.Add(1)
		pause(time.Minute)
		return &api.Secret{Auth: &api.SecretAuth{ClientToken: "late"}}, nil
	})
	bubble(t, deaf, func(t *testing.T, is *is.I, _ *wire, s *session, _ *endings) {
		start := time.Now()
		_, err := s.token(t.Context())
		is.True(errors.Is(err, secrets.ErrUnavailable))
		is.Equal(time.Since(start), loginTimeout+time.Second)
		_, err = s.token(t.Context())
		is.True(errors.Is(err, secrets.ErrUnavailable)) // at once
		is.Equal(time.Since(start), loginTimeout+time.Second)
		is.Equal(calls.Load(), int32(1))
		pass(time.Minute)
		got, err := s.token(t.Context())
		is.NoErr(err)
		is.Equal(value(got), "late")
	})
}

func TestForeignMethods(t *testing.T) {
	const canary = "secret-canary-7f3Kq9"
	auth := func(a api.SecretAuth) (*api.Secret, error) { return &api.Secret{Auth: &a}, nil }
	for _, c := range []struct {
		name   string
		method loginFunc
		class  error
		detail string
	}{
		{"panic", func(context.Context, *api.Client) (*api.Secret, error) { panic(canary) }, secrets.ErrUnknown, "panic with a string"},
		{"Goexit", func(context.Context, *api.Client) (*api.Secret, error) { runtime.Goexit(); panic("unreachable") }, secrets.ErrUnknown,
			"ended its goroutine"},
		{"nothing", func(context.Context, *api.Client) (*api.Secret, error) { return nil, nil }, secrets.ErrUnavailable,
			"the answer to the login is empty"},
		{"no auth", func(context.Context, *api.Client) (*api.Secret, error) { return &api.Secret{}, nil }, secrets.ErrUnavailable,
			"has no token"},
		{"wrapped", func(context.Context, *api.Client) (*api.Secret, error) {
			return &api.Secret{WrapInfo: &api.SecretWrapInfo{Token: canary}}, nil
		}, secrets.ErrMalformed, "wrapped"},
		{"empty token", func(context.Context, *api.Client) (*api.Secret, error) { return auth(api.SecretAuth{}) }, secrets.ErrMalformed,
			"no usable token"},
		{"token with a newline", func(context.Context, *api.Client) (*api.Secret, error) {
			return auth(api.SecretAuth{ClientToken: canary + "\nX: y"})
		}, secrets.ErrMalformed, "no usable token"},
		{"MFA", func(context.Context, *api.Client) (*api.Secret, error) {
			return auth(api.SecretAuth{MFARequirement: &api.MFARequirement{MFARequestID: canary}})
		}, secrets.ErrUnauthenticated, "second factor"},
		{"foreign error", func(context.Context, *api.Client) (*api.Secret, error) { return nil, errors.New(canary) }, secrets.ErrUnknown,
			"the login failed"},
		{"classified error", func(context.Context, *api.Client) (*api.Secret, error) {
			return nil, fmt.Errorf("%s: %w", canary, secrets.ErrUnavailable)
		}, secrets.ErrUnavailable, "the login failed"},
		{"own error", func(context.Context, *api.Client) (*api.Secret, error) {
			return nil, fmt.Errorf("%s: %w", canary, &secrets.Error{Backend: "x", Key: canary, Err: secrets.ErrUnavailable, Detail: "no such luck"})
		}, secrets.ErrUnavailable, "no such luck"},
		{"credential not found", func(context.Context, *api.Client) (*api.Secret, error) { return nil, secrets.ErrNotFound },
			secrets.ErrUnauthenticated, "the login failed"},
		{"closed client of another", func(context.Context, *api.Client) (*api.Secret, error) { return nil, secrets.ErrClosed },
			secrets.ErrUnauthenticated, "the login failed"},
		{"slow", func(ctx context.Context, _ *api.Client) (*api.Secret, error) { <-ctx.Done(); return nil, ctx.Err() }, secrets.ErrUnavailable,
			"took too long"},
		{"a nil error of ours", func(context.Context, *api.Client) (*api.Secret, error) { var e *secrets.Error; return nil, e },
			secrets.ErrUnknown, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, c.method, func(t *testing.T, is *is.I, _ *wire, s *session, _ *endings) {
				got, err := s.token(t.Context())
				is.True(got.value.IsZero())
				is.Equal(secrets.Class(err), c.class)
				is.True(strings.Contains(err.Error(), c.detail))
				secretstest.AssertNoLeak(t, canary, err)
			})
		})
	}
	t.Run("control", func(t *testing.T) {
		is.New(t).True(len(secretstest.Leaks(canary, fmt.Errorf("login: %w", errors.New(canary)))) > 0)
	})
}

func TestMethodCannotChangeTheBackendsClient(t *testing.T) {
	rude := loginFunc(func(ctx context.Context, client *api.Client) (*api.Secret, error) {
		client.SetToken("polluted")
		client.SetNamespace("polluted")
		client.AddHeader("X-Polluted", "yes")
		client.SetWrappingLookupFunc(func(_, _ string) string { return "60s" })
		return plainLogin{}.Login(ctx, client)
	})
	bubble(t, rude, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		_, err := s.token(t.Context())
		is.NoErr(err)
		is.Equal(w.calls("/login")[0].token, "polluted") // control: it changed its own client
		is.Equal(s.server.client().Token(), "")
		is.Equal(s.server.client().Namespace(), "")
		is.Equal(s.server.client().Headers().Get("X-Polluted"), "")
		is.Equal(s.server.client().CurrentWrappingLookupFunc()("PUT", "x"), "")
	})
}

func TestRefusals(t *testing.T) {
	const canary = "secret-canary-7f3Kq9"
	for _, c := range []struct {
		name   string
		status int
		body   string
		class  error
		detail string
	}{
		{"wrong secret ID", 400, `{"errors":["invalid role or secret ID"]}`, secrets.ErrUnauthenticated,
			"(status 400): the role ID or the secret ID"},
		{"unknown text", 400, `{"errors":["` + canary + `"]}`, secrets.ErrUnauthenticated, "refused the login (status 400)"},
		{"401", 401, `{"errors":["` + canary + `"]}`, secrets.ErrUnauthenticated, "(status 401)"},
		{"denied", 403, `{"errors":["permission denied"]}`, secrets.ErrUnauthenticated, "WithAuthMount"},
		{"denied by a proxy", 403, `<html>` + canary + `</html>`, secrets.ErrUnavailable, "is not Vault's (status 403)"},
		{"denied by a mesh", 403, `RBAC: access denied`, secrets.ErrUnavailable, "is not Vault's (status 403)"},
		{"401 of a proxy", 401, ``, secrets.ErrUnavailable, "is not Vault's (status 401)"},
		{"HTTP to a TLS port", 400, "Client sent an HTTP request to an HTTPS server.\n", secrets.ErrUnavailable, "https://"},
		{"no mount", 404, `{"errors":["no handler for route \"auth/test/login\". route entry not found."]}`, secrets.ErrUnauthenticated,
			"WithAuthMount"},
		{"no Vault behind a proxy", 404, `<html>` + canary + `</html>`, secrets.ErrUnavailable, "not Vault's"},
		{"quota", 429, `{"errors":["request path \"auth/test/login\": rate limit quota exceeded"]}`, secrets.ErrUnavailable, "(status 429)"},
		{"sealed", 503, `{"errors":["Vault is sealed"]}`, secrets.ErrUnavailable, "sealed"},
		{"bad gateway", 502, `<html>` + canary + `</html>`, secrets.ErrUnavailable, "(status 502)"},
		{"no connection", -1, "", secrets.ErrUnavailable, "no answer"},
		{"empty", 200, ``, secrets.ErrUnavailable, "the answer to the login is empty"},
		{"204", 204, ``, secrets.ErrUnavailable, "the answer to the login is empty"},
		{"another program's", 200, `{"status":"` + canary + `"}`, secrets.ErrUnavailable, "not Vault's"},
		{"no JSON", 200, `<html>` + canary + `</html>`, secrets.ErrUnavailable, "not Vault's"},
		{"another kind", 200, `{"auth":"` + canary + `"}`, secrets.ErrUnavailable, "not Vault's"},
		{"too large", 200, `{"auth":"` + strings.Repeat("x", 2<<20) + `"}`, secrets.ErrMalformed, "too large"},
		{"redirect", 307, "", secrets.ErrUnavailable, "redirect"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
				w.answer = func(call) (int, string) { return c.status, c.body }
				_, err := s.token(t.Context())
				is.Equal(secrets.Class(err), c.class)
				if !strings.Contains(err.Error(), c.detail) {
					t.Errorf("%q has no %q", err, c.detail)
				}
				secretstest.AssertNoLeak(t, canary, err)
				is.True(!strings.Contains(err.Error(), "vault.test"))
				is.True(!errors.Is(err, secrets.ErrNotFound))
			})
		})
	}
}

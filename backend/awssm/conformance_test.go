package awssm_test

import (
	"os"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

func TestConformance(t *testing.T) {
	modes := map[string][]awssm.Option{"batches": nil}
	if os.Getenv("LONG_TESTS") != "" { // as in CI
		modes["single calls"] = []awssm.Option{awssm.WithoutBatch()}
		modes["coalescing"] = []awssm.Option{awssm.WithCoalescing(time.Millisecond)}
	}
	for name, opts := range modes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conform(t, opts)
		})
	}
}

func conform(t *testing.T, opts []awssm.Option) {
	t.Helper()
	failing := func(change func(server *awstest.Server, secret string)) func(*testing.T, string) (secrets.Backend, string) {
		return func(t *testing.T, secret string) (secrets.Backend, string) {
			t.Helper()
			server := awstest.NewServer(t)
			server.Put("db", secret)
			change(server, secret)
			return hasty(t, server, opts...), "db"
		}
	}
	answering := func(answer func(secret string) *awstest.Response) func(*testing.T, string) (secrets.Backend, string) {
		return failing(func(server *awstest.Server, secret string) { server.Fail("*", answer(secret)) })
	}
	fault := func(code string) func(secret string) *awstest.Response {
		return func(secret string) *awstest.Response { return awstest.Fault(code, secret) }
	}
	body := func(status int) func(secret string) *awstest.Response {
		return func(secret string) *awstest.Response {
			return &awstest.Response{Status: status, Body: "<html>" + secret}
		}
	}
	secretstest.Run(t, func(t *testing.T, documents map[string]string) secrets.Backend {
		t.Helper()
		server := awstest.NewServer(t)
		for path, document := range documents {
			if utf8.ValidString(document) {
				server.Put(path, document)
			} else {
				server.PutBinary(path, []byte(document))
			}
		}
		return of(t, server, opts...)
	},
		secretstest.WithBinary(),
		secretstest.WithoutEmptyValues(),
		secretstest.WithVersions(func(t *testing.T) (secrets.Backend, string, map[string]string) {
			t.Helper()
			server := awstest.NewServer(t)
			versions := map[string]string{server.Put("db", "one"): "one", server.Put("db", "two"): "two"}
			return of(t, server, opts...), "db", versions
		}),
		secretstest.WithFailure(secrets.ErrPermissionDenied, failing(func(server *awstest.Server, _ string) { server.Deny("*") })),
		secretstest.WithFailure(secrets.ErrDeleted, failing(func(server *awstest.Server, _ string) { server.Delete("db") })),
		secretstest.WithFailure(secrets.ErrPermissionDenied, answering(fault("AccessDeniedException"))),
		secretstest.WithFailure(secrets.ErrUnauthenticated, answering(fault("ExpiredTokenException"))),
		secretstest.WithFailure(secrets.ErrUnavailable, answering(fault("ThrottlingException"))),
		secretstest.WithFailure(secrets.ErrUnavailable, answering(body(502))),
		secretstest.WithFailure(secrets.ErrUnavailable, answering(body(404))),
		secretstest.WithFailure(secrets.ErrMalformed, answering(body(200))),
		secretstest.WithFailure(secrets.ErrMalformed, answering(func(string) *awstest.Response { return &awstest.Response{} })),
		secretstest.WithFailure(secrets.ErrUnavailable, answering(func(secret string) *awstest.Response {
			return (&awstest.Response{Body: `{"Name":"db","SecretString":"` + secret + `"}`}).Truncated()
		})),
		secretstest.WithFailure(secrets.ErrUnknown, answering(fault("SomethingNewException"))),
		secretstest.WithStall(func(t *testing.T) (secrets.Backend, string) {
			t.Helper()
			server := awstest.NewServer(t)
			server.Fail("*", &awstest.Response{Stall: true})
			return of(t, server, opts...), "db"
		}),
	)
}

// hasty returns a backend for server that retries without a pause: the pauses of throttled calls would add up to half a minute.
func hasty(t *testing.T, server *awstest.Server, opts ...awssm.Option) *awssm.Backend {
	t.Helper()
	cfg := config()
	cfg.Region, cfg.BaseEndpoint, cfg.Credentials = server.Region(), aws.String(server.URL()), keys(server)
	theirs := secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond })
	})
	b, err := awssm.New(t.Context(), append(opts, awssm.WithClient(theirs))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() }) // it never fails
	return b
}

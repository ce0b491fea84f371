package awssm_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// canary is in every part of an answer that could contain a secret.
const canary = "canary-8c2e4f60b1"

// page is the answer of a proxy.
const page = "<html><body>" + canary + "</body></html>"

// TestAnswers replays answers of the service, and of proxies before it, to the real SDK.
func TestAnswers(t *testing.T) {
	fault := func(code, message string) string {
		return fmt.Sprintf(`{"__type":%q,"Message":%q}`, code, message+" "+canary)
	}
	const (
		arn           = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf"
		notTheService = "not the service's"
	)
	for _, c := range []struct {
		name     string
		status   int
		body     string
		header   string // x-amzn-ErrorType
		class    error
		detail   string
		attempts int64 // 0 means 1

		anonymous bool // without a request ID
	}{
		{name: "not found", status: 400, body: fault("ResourceNotFoundException", "Secrets Manager can't find the specified secret."),
			class: secrets.ErrNotFound, detail: "no such secret"},
		{name: "no value yet", status: 400,
			body:  fault("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"),
			class: secrets.ErrNotFound, detail: "no value yet"},
		{name: "no such version", status: 400,
			body:  fault("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: x"),
			class: secrets.ErrNotFound, detail: "the version is missing"},
		{name: "no such stage", status: 400,
			body:  fault("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: AWSPENDING"),
			class: secrets.ErrNotFound, detail: "the stage is missing"},
		{name: "a namespace before the code", status: 400, body: fault("com.amazonaws.secretsmanager#ResourceNotFoundException", "x"),
			class: secrets.ErrNotFound},
		{name: "a suffix behind the code", status: 400, body: fault("ResourceNotFoundException:http://internal.amazon.com/x/", "x"),
			class: secrets.ErrNotFound},
		{name: "the code of the header wins", status: 400, header: "AccessDeniedException", body: fault("ResourceNotFoundException", "x"),
			class: secrets.ErrPermissionDenied},
		{name: "deleted", status: 400,
			body:  fault("InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion."),
			class: secrets.ErrDeleted, detail: "marked for deletion"},
		{name: "stage of another version", status: 400,
			body:  fault("InvalidRequestException", "You provided a VersionStage that is not associated to the provided VersionId."),
			class: secrets.ErrInvalidKey, detail: "stage"},
		{name: "another account", status: 400, body: fault("InvalidRequestException",
			"You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key."),
			class: secrets.ErrPermissionDenied, detail: "another account"},
		{name: "another state", status: 400, body: fault("InvalidRequestException", "x"), class: secrets.ErrUnknown},
		{name: "invalid parameter", status: 400, body: fault("InvalidParameterException", "x"), class: secrets.ErrInvalidKey},
		{name: "validation", status: 400, body: fault("ValidationException", "x"), class: secrets.ErrInvalidKey},
		{name: "denied", status: 400, body: fault("AccessDeniedException",
			"User: arn:aws:iam::123456789012:user/app is not authorized to perform: secretsmanager:GetSecretValue on resource: db"),
			class: secrets.ErrPermissionDenied, detail: "secretsmanager:GetSecretValue"},
		{name: "decryption", status: 400, body: fault("DecryptionFailure", "x"), class: secrets.ErrPermissionDenied, detail: "KMS"},
		{name: "throttled", status: 400, body: fault("ThrottlingException", "Rate exceeded"), class: secrets.ErrUnavailable,
			detail: "too many requests", attempts: 3},
		{name: "limit", status: 400, body: fault("LimitExceededException", "x"), class: secrets.ErrUnavailable, detail: "too many requests",
			attempts: 3},
		{name: "429", status: 429, body: "", class: secrets.ErrUnavailable, attempts: 3},
		{name: "internal", status: 500, body: fault("InternalServiceError", "x"), class: secrets.ErrUnavailable, detail: "InternalServiceError",
			attempts: 3},
		{name: "unknown client", status: 400,
			body:  fault("UnrecognizedClientException", "The security token included in the request is invalid."),
			class: secrets.ErrUnauthenticated, detail: "UnrecognizedClientException"},
		{name: "expired token", status: 400, body: fault("ExpiredTokenException", "x"), class: secrets.ErrUnauthenticated, detail: "expired"},
		{name: "signature", status: 400, body: fault("InvalidSignatureException", "x"), class: secrets.ErrUnauthenticated},
		{name: "503 without a body", status: 503, class: secrets.ErrUnavailable, attempts: 3},
		{name: "502 of a proxy", status: 502, body: page, class: secrets.ErrUnavailable, attempts: 3},
		{name: "504 of a proxy", status: 504, body: page, class: secrets.ErrUnavailable, attempts: 3},
		{name: "404 of a proxy", status: 404, body: page, class: secrets.ErrUnavailable},
		{name: "404 without a body", status: 404, class: secrets.ErrUnavailable},
		{name: "403 of a proxy", status: 403, body: page, class: secrets.ErrUnavailable, detail: notTheService},
		{name: "403 without a body", status: 403, class: secrets.ErrUnavailable, detail: notTheService},
		{name: "403 with a text", status: 403, body: "RBAC: access denied", class: secrets.ErrUnavailable, detail: notTheService},
		{name: "403 with other JSON", status: 403, body: `{"message":"Forbidden"}`, class: secrets.ErrUnavailable, detail: notTheService},
		{name: "403 with a list", status: 403, body: `["Forbidden"]`, class: secrets.ErrUnavailable, detail: notTheService},
		{name: "403 with a code, not of AWS", status: 403, anonymous: true, body: `{"code":"forbidden"}`, class: secrets.ErrUnavailable,
			detail: notTheService},
		{name: "403 with the code of a denial", status: 403, anonymous: true, body: fault("AccessDeniedException", "x"),
			class: secrets.ErrPermissionDenied},
		{name: "403 with bad keys", status: 403, anonymous: true, body: fault("InvalidClientTokenId", "x"), class: secrets.ErrUnauthenticated},
		{name: "400 without a body", status: 400, class: secrets.ErrUnavailable, detail: notTheService},
		{name: "400 with other JSON", status: 400, body: `{"error":"bad request"}`, class: secrets.ErrUnavailable, detail: notTheService},
		{name: "403 of the service", status: 403, body: fault("Other", "x"), class: secrets.ErrPermissionDenied},
		{name: "401 of a proxy", status: 401, body: page, class: secrets.ErrUnavailable, detail: notTheService},
		{name: "401 without a body", status: 401, class: secrets.ErrUnavailable, detail: notTheService},
		{name: "401 of the service", status: 401, body: fault("Other", "x"), class: secrets.ErrUnauthenticated},
		{name: "an invalid code", status: 400, body: fault(canary+" "+canary, "x"), class: secrets.ErrUnknown},
		{name: "an unknown code", status: 400, body: fault("SomethingNewException", "x"), class: secrets.ErrUnknown,
			detail: "SomethingNewException"},
		{name: "302", status: 302, body: page, class: secrets.ErrUnavailable},
		{name: "empty 200", status: 200, class: secrets.ErrMalformed, detail: "did not say with which"},
		{name: "200 {}", status: 200, body: "{}", class: secrets.ErrMalformed, detail: "did not say with which"},
		{name: "200 without a value", status: 200, body: `{"Name":"db"}`, class: secrets.ErrMalformed, detail: "neither"},
		{name: "200 with two values", status: 200, body: `{"Name":"db","SecretString":"` + canary + `","SecretBinary":"AAH/"}`,
			class: secrets.ErrMalformed, detail: "both"},
		{name: "200 with only a value", status: 200, body: `{"SecretString":"` + canary + `"}`, class: secrets.ErrMalformed,
			detail: "did not say with which"},
		{name: "200 with another ARN for the name", status: 200,
			body:  `{"ARN":"arn:aws:secretsmanager:eu-west-1:123456789012:secret:other-AbCdEf","Name":"db","SecretString":"` + canary + `"}`,
			class: secrets.ErrMalformed, detail: "another secret"},
		{name: "200 for a longer name", status: 200, body: `{"Name":"db-AbCdEf","SecretString":"` + canary + `"}`, class: secrets.ErrMalformed,
			detail: "another secret"},
		{name: "200 that is not current", status: 200,
			body:  `{"ARN":"` + arn + `","Name":"db","SecretString":"` + canary + `","VersionStages":["AWSPREVIOUS"]}`,
			class: secrets.ErrMalformed, detail: "not the current one"},
		{name: "200 null", status: 200, body: "null", class: secrets.ErrMalformed},
		{name: "200 of a proxy", status: 200, body: page, class: secrets.ErrMalformed},
		{name: "200 cut short", status: 200, body: `{"Name":"db","SecretString":"` + canary, class: secrets.ErrMalformed},
		{name: "200 with an object", status: 200, body: `{"Name":"db","SecretString":{"` + canary + `":1}}`, class: secrets.ErrMalformed},
		{name: "200 with bad base64", status: 200, body: `{"Name":"db","SecretBinary":"` + canary + `!"}`, class: secrets.ErrMalformed},
		{name: "200 for another secret", status: 200, body: `{"Name":"other","SecretString":"` + canary + `"}`, class: secrets.ErrMalformed,
			detail: "another secret"},
		{name: "secret", status: 200, body: `{"ARN":"` + arn + `","Name":"db","SecretString":"s","VersionId":"v"}`},
		{name: "empty secret", status: 200, body: `{"ARN":"` + arn + `","Name":"db","SecretString":"","VersionId":"v"}`},
		{name: "binary secret", status: 200, body: `{"ARN":"` + arn + `","Name":"db","SecretBinary":"AAH/","VersionId":"v"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // some calls are retried
			is := is.New(t)
			var attempts atomic.Int64
			b := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				attempts.Add(1)
				if !c.anonymous {
					w.Header().Set("X-Amzn-Requestid", canary)
				}
				if c.header != "" {
					w.Header().Set("X-Amzn-Errortype", c.header)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body)) // the client hangs up
			})
			s, err := client(t, b).Get(t.Context(), "db")
			is.Equal(secrets.Class(err), c.class)
			is.Equal(attempts.Load(), max(1, c.attempts))
			if c.class == nil {
				is.Equal(s.Meta().Version, "v")
				return
			}
			var e *secrets.Error
			is.True(errors.As(err, &e))
			is.True(strings.Contains(e.Detail, c.detail)) // says what is wrong
			secretstest.AssertNoLeak(t, canary, err)
			is.True(s.IsZero())
		})
	}
}

func TestAnAnswerIsBounded(t *testing.T) {
	is := is.New(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := z.Write([]byte(`{"Name":"db","SecretString":"`))
	is.NoErr(err)
	_, err = z.Write(bytes.Repeat([]byte("x"), 64<<20))
	is.NoErr(err)
	is.NoErr(z.Close())
	b := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes()) // the client hangs up
	})
	_, err = b.Fetch(t.Context(), secrets.Ref{Path: "db"})
	is.True(errors.Is(err, secrets.ErrMalformed))
	is.True(strings.Contains(err.Error(), "too large"))
}

// A network failure in the middle of an answer is an outage, during which stale values are served.
func TestAnAnswerThatBreaksOffIsUnavailable(t *testing.T) {
	const begin = `{"Name":"db","SecretString":"` + canary
	for name, end := range map[string]func(w http.ResponseWriter, r *http.Request){
		"cut": func(http.ResponseWriter, *http.Request) {}, // before the end of its Content-Length
		"reset": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		},
		"stall": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, // until the timeout of the HTTP client
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			cfg := config()
			cfg.HTTPClient = &http.Client{Timeout: time.Second / 4}
			b := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "1000")
				_, _ = w.Write([]byte(begin))
				_ = http.NewResponseController(w).Flush()
				end(w, r)
			}, awssm.WithConfig(cfg))
			_, err := b.Fetch(t.Context(), secrets.Ref{Path: "db"})
			is.True(errors.Is(err, secrets.ErrUnavailable))
			secretstest.AssertNoLeak(t, canary, err)
		})
	}
}

// A captive portal or a wrong endpoint may redirect to another host.
func TestNoRedirectIsFollowed(t *testing.T) {
	var followed atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		followed.Add(1)
		_, _ = w.Write([]byte(`{"Name":"db","SecretString":"of another host","VersionId":"v"}`)) // the client may hang up
	}))
	defer other.Close()
	for name, theirs := range map[string]aws.HTTPClient{"the SDK's client": nil, "a client of the program": &http.Client{}} {
		for _, status := range []int{300, 301, 302, 303, 307, 308} {
			t.Run(fmt.Sprint(name, " ", status), func(t *testing.T) {
				is := is.New(t)
				cfg := config()
				cfg.HTTPClient = theirs
				b := serve(t, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Location", other.URL)
					w.WriteHeader(status)
				}, awssm.WithConfig(cfg))
				_, err := b.Fetch(t.Context(), secrets.Ref{Path: "db"})
				is.True(errors.Is(err, secrets.ErrUnavailable))
				is.Equal(followed.Load(), int64(0))
			})
		}
	}
}

// serve returns a backend for a service that answers with answer.
func serve(t testing.TB, answer http.HandlerFunc, opts ...awssm.Option) *awssm.Backend {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return backend(t, server.URL, opts...)
}

// backend returns a backend for the service at url.
func backend(t testing.TB, url string, opts ...awssm.Option) *awssm.Backend {
	t.Helper()
	b, err := awssm.New(t.Context(), append([]awssm.Option{
		awssm.WithConfig(config()), awssm.WithEndpoint(url), awssm.WithMaxPause(0), // a pause never ends while the clock of a bubble stands still
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() }) // it never fails
	return b
}

// config returns a configuration that uses nothing of the machine.
func config() aws.Config {
	return aws.Config{
		Region: "eu-west-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "EXAMPLEKEY"}, nil
		}),
	}
}

// client returns a client for b.
func client(t testing.TB, b secrets.Backend, opts ...secrets.Option) *secrets.Client {
	t.Helper()
	c, err := secrets.New(b, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // it never fails
	return c
}

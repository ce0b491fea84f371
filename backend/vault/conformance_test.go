package vault_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestConformance(t *testing.T) {
	for name, version := range map[string]int{"KV version 1": 1, "KV version 2": 2} {
		t.Run(name, func(t *testing.T) { conform(t, version) })
	}
}

func conform(t *testing.T, version int) {
	t.Helper()
	path := map[int]string{1: "secret/app", 2: "secret/data/app"}[version]
	failing := func(status int, body func(secret string) string) func(*testing.T, string) (secrets.Backend, string) {
		return func(t *testing.T, secret string) (secrets.Backend, string) {
			t.Helper()
			f := newFake(t)
			f.handle(path, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Reflected", secret)
				respond(w, status, body(secret))
			})
			return f.backend(t, vault.WithKVVersion(version)), "app"
		}
	}
	html := func(secret string) string { return "<html>" + secret + "</html>" }
	errorsOf := func(secret string) string { return `{"errors":[` + quoted(secret) + `]}` }
	opts := []secretstest.RunOption{
		secretstest.WithObjectsOnly(),
		secretstest.WithFailure(secrets.ErrPermissionDenied, failing(http.StatusForbidden, errorsOf)),
		secretstest.WithFailure(secrets.ErrUnavailable, failing(http.StatusForbidden, html)),
		secretstest.WithFailure(secrets.ErrUnauthenticated, failing(http.StatusForbidden, func(secret string) string {
			return `{"errors":["invalid token",` + quoted(secret) + `]}`
		})),
		secretstest.WithFailure(secrets.ErrUnavailable, failing(http.StatusBadGateway, html)),
		secretstest.WithFailure(secrets.ErrUnavailable, failing(http.StatusTooManyRequests, errorsOf)),
		secretstest.WithFailure(secrets.ErrUnavailable, failing(http.StatusNotFound, html)),
		secretstest.WithFailure(secrets.ErrUnavailable, failing(http.StatusOK, html)),
		secretstest.WithFailure(secrets.ErrMalformed,
			failing(http.StatusOK, func(secret string) string { return `{"data":` + quoted(secret) + `}` })),
		secretstest.WithFailure(secrets.ErrUnavailable, failing(http.StatusOK, func(secret string) string { return `{"data":{"a":"` + secret })),
		secretstest.WithFailure(secrets.ErrUnknown, failing(http.StatusTeapot, errorsOf)),
		secretstest.WithStall(func(t *testing.T) (secrets.Backend, string) {
			t.Helper()
			f := newFake(t)
			f.handle(path, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			return f.backend(t, vault.WithKVVersion(version)), "app"
		}),
	}
	if version == 2 {
		opts = append(opts,
			secretstest.WithFailure(secrets.ErrDeleted, failing(http.StatusNotFound, func(secret string) string {
				return `{"data":{"data":null,"metadata":{"version":1,"destroyed":false,"custom_metadata":{"x":` + quoted(secret) + `}}}}`
			})),
			secretstest.WithVersions(func(t *testing.T) (secrets.Backend, string, map[string]string) {
				t.Helper()
				f := newFake(t)
				versions := map[string]string{"1": `{"a":"one"}`, "2": `{"a":"two"}`}
				f.put("app", versions["1"])
				f.put("app", versions["2"])
				return f.backend(t), "app", versions
			}))
	}
	secretstest.Run(t, func(t *testing.T, documents map[string]string) secrets.Backend {
		t.Helper()
		f := newFake(t)
		f.version(version)
		for path, document := range objects(documents) {
			f.put(path, document)
		}
		return f.backend(t)
	}, opts...)
}

// objects returns documents as a server that stores JSON objects has them: the last of two path segments is a field.
func objects(documents map[string]string) map[string]string {
	all := make(map[string]string)
	fields := make(map[string]map[string]string)
	for path, document := range documents {
		name, field, isField := strings.Cut(path, "/")
		if !isField {
			all[name] = document
			continue
		}
		if fields[name] == nil {
			fields[name] = make(map[string]string)
		}
		fields[name][field] = document
	}
	for name, values := range fields {
		text, err := json.Marshal(values)
		if err != nil {
			panic(err)
		}
		all[name] = string(text)
	}
	return all
}

package vaulttest_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest/vaulttest"
)

func nothing(string) (string, bool) { return "", false }

func client(t *testing.T, server *vaulttest.Server, auth vault.Option, opts ...secrets.Option) *secrets.Client {
	t.Helper()
	backend, err := vault.New(vault.WithAddress(server.Address()), auth, vault.WithLookup(nothing))
	if err != nil {
		t.Fatal(err)
	}
	c, err := secrets.New(backend, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the error of Close is tested elsewhere
	return c
}

func TestReads(t *testing.T) {
	is := is.New(t)
	server := vaulttest.New(t)
	c := client(t, server, vault.WithToken(server.Token()))
	get := func(key string) string {
		t.Helper()
		s, err := c.Get(t.Context(), key)
		is.NoErr(err)
		return s.Reveal()
	}
	class := func(key string) error {
		t.Helper()
		_, err := c.Get(t.Context(), key)
		return secrets.Class(err)
	}
	is.Equal(class("database#password"), secrets.ErrNotFound)
	server.Put("secret/database", `{"password":"one"}`)
	server.Put("secret/database", `{"password":"two"}`)
	is.Equal(get("database#password"), "two")
	is.Equal(get("database?version=1#password"), "one")
	is.Equal(class("database?version=3#password"), secrets.ErrNotFound)
	server.Delete("secret/database")
	is.Equal(class("database#password"), secrets.ErrDeleted)
	is.Equal(get("database?version=1#password"), "one")
	is.Equal(server.Count("secret/database"), 6)
	is.Equal(server.Count("secret/other"), 0)
}

func TestMounts(t *testing.T) {
	is := is.New(t)
	server := vaulttest.New(t)
	server.Mount("team/kv", 1)
	server.Put("team/kv/app/database", `{"password":"p"}`)
	backend, err := vault.New(vault.WithAddress(server.Address()), vault.WithToken(server.Token()), vault.WithMount("team/kv"),
		vault.WithLookup(nothing))
	is.NoErr(err)
	for _, version := range []int{1, 2} { // an upgrade
		server.Mount("team/kv", version)
		s, err := backend.Fetch(t.Context(), secrets.Ref{Path: "app/database"})
		is.NoErr(err)
		is.Equal(s.Reveal(), `{"password":"p"}`)
	}
	server.Mount("team/kv", 1)
	server.Delete("team/kv/app/database")
	is.NoErr(backend.Close())
	is.Equal(server.Count("team/kv/app/database") > 1, true)
}

func TestFailures(t *testing.T) {
	server := vaulttest.New(t)
	server.Put("secret/database", `{"password":"p"}`)
	server.Put("secret/other", `{"password":"p"}`)
	c := client(t, server, vault.WithToken(server.Token()))
	for name, test := range map[string]struct {
		begin func()
		class error
		other error
	}{
		"denied":  {func() { server.Deny("secret/database") }, secrets.ErrPermissionDenied, nil},
		"sealed":  {server.Seal, secrets.ErrUnavailable, secrets.ErrUnavailable},
		"failed":  {func() { server.Fail(http.StatusBadGateway) }, secrets.ErrUnavailable, secrets.ErrUnavailable},
		"nothing": {func() {}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			test.begin()
			_, err := c.Get(t.Context(), "database#password")
			is.Equal(secrets.Class(err), test.class)
			_, err = c.Get(t.Context(), "other#password")
			is.Equal(secrets.Class(err), test.other)
			server.Recover()
			_, err = c.Get(t.Context(), "database#password")
			is.NoErr(err)
		})
	}
}

// A program with a fixed token fails when it expires. One that logs in gets a new token.
func TestTokensExpire(t *testing.T) {
	is := is.New(t)
	server := vaulttest.Unstarted()
	server.Put("secret/database", `{"password":"p"}`)
	synctest.Test(t, func(t *testing.T) {
		read := func(auth vault.Option) (before, after error) {
			backend, err := vault.New(vault.WithAddress(server.Address()), vault.WithHTTPClient(server.Client()), auth,
				vault.WithLookup(nothing))
			is.NoErr(err)
			_, before = backend.Fetch(t.Context(), secrets.Ref{Path: "database"})
			time.Sleep(time.Minute)
			server.ExpireToken()
			_, after = backend.Fetch(t.Context(), secrets.Ref{Path: "database"})
			is.NoErr(backend.Close())
			return before, after
		}
		before, after := read(vault.WithToken(server.Token()))
		is.NoErr(before)
		is.Equal(secrets.Class(after), secrets.ErrUnauthenticated)
		before, after = read(vault.WithAuth(vault.AppRole("role", vault.Value("secret id"))))
		is.NoErr(before)
		is.NoErr(after)
	})
}

func TestAnUnstartedServerIsAHandler(t *testing.T) {
	is := is.New(t)
	server := vaulttest.Unstarted()
	server.Put("secret/database", `{"password":"p"}`)
	secure := httptest.NewTLSServer(server)
	defer secure.Close()
	backend, err := vault.New(vault.WithAddress(secure.URL), vault.WithHTTPClient(secure.Client()), vault.WithToken(server.Token()),
		vault.WithLookup(nothing))
	is.NoErr(err)
	_, err = backend.Fetch(t.Context(), secrets.Ref{Path: "database"})
	is.NoErr(err)
	is.NoErr(backend.Close())
}

func TestTheCacheAnswers(t *testing.T) {
	is := is.New(t)
	server := vaulttest.New(t)
	server.Put("secret/database", `{"password":"p"}`)
	c := client(t, server, vault.WithToken(server.Token()), middleware.Standard())
	for range 3 {
		_, err := c.Get(t.Context(), "database#password")
		is.NoErr(err)
	}
	is.Equal(server.Count("secret/database"), 1)
}

func TestMisuse(t *testing.T) {
	for name, call := range map[string]func(s *vaulttest.Server){
		"outside mounts":       func(s *vaulttest.Server) { s.Put("database", `{}`) },
		"the mount itself":     func(s *vaulttest.Server) { s.Deny("secret") },
		"not an object":        func(s *vaulttest.Server) { s.Put("secret/a", `"text"`) },
		"null":                 func(s *vaulttest.Server) { s.Put("secret/a", `null`) },
		"not JSON":             func(s *vaulttest.Server) { s.Put("secret/a", `password`) },
		"missing secret":       func(s *vaulttest.Server) { s.Delete("secret/a") },
		"version 3":            func(s *vaulttest.Server) { s.Mount("kv", 3) },
		"slashes":              func(s *vaulttest.Server) { s.Mount("/kv/", 2) },
		"invalid status":       func(s *vaulttest.Server) { s.Fail(0) },
		"count outside mounts": func(s *vaulttest.Server) { s.Count("other/a") },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			defer func() { is.True(recover() != nil) }()
			call(vaulttest.Unstarted())
		})
	}
}

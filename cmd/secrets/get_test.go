package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/secretstest/vaulttest"
)

func TestGetPrintsTheBytesOfTheValue(t *testing.T) {
	is := is.New(t)
	for _, value := range []string{canary, "", "a\x00b\xff\xfe", "-----BEGIN\nline\n-----END\n\n", "no newline at the end", `{"a": 1}`} {
		s := newStore(t, map[string]string{"a": value + "\n"}) // the backend drops the newline of a text
		if !utf8.ValidString(value) {                          // it is no text
			s.put("a", value)
		}
		got := s.command().run(t, "get", "a")
		is.Equal(got, result{stdout: value})
	}
}

func TestGetJSON(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"doc": `{"b":"<&>","a":{"n":1e400}}`, "text": "a\"b\n<c>", "list": "[1]", "twice": `{"a":1,"a":2}`})
	for key, want := range map[string]string{
		"doc":   "{\n  \"b\": \"<&>\",\n  \"a\": {\n    \"n\": 1e400\n  }\n}\n",
		"doc#b": "\"<&>\"\n",
		"text":  `"a\"b\n<c>"` + "\n",
		"list":  `"[1]"` + "\n", // it is no document
		"twice": `"{\"a\":1,\"a\":2}"` + "\n",
	} {
		is.Equal(s.command().run(t, "get", key, "--json"), result{stdout: want})
	}
	s.put("binary", "\xff\xfe\x00")
	got := s.command().run(t, "get", "binary", "--json")
	is.Equal(got.code, exitOther)
	is.Equal(got.stdout, "")
}

func TestGetWritesAFile(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	path := filepath.Join(t.TempDir(), "value")
	is.NoErr(os.WriteFile(path, []byte("before"), 0o666))
	got := s.command().run(t, "get", "a", "-o", path)
	is.Equal(got, result{})
	info, err := os.Stat(path)
	is.NoErr(err)
	is.Equal(info.Mode().Perm()&0o077, os.FileMode(0)) // not that of the file before
	content, err := os.ReadFile(path)
	is.NoErr(err)
	is.Equal(string(content), canary)

	// If there is no secret, the file stays.
	got = s.command().run(t, "get", "none", "-o", path)
	is.Equal(got.code, exitNotFound)
	content, err = os.ReadFile(path)
	is.NoErr(err)
	is.Equal(string(content), canary)

	got = s.command().run(t, "get", "a", "-o", filepath.Join(path, "below a file"))
	is.Equal(got.code, exitOther)
	secretstest.AssertNoLeak(t, canary, got.stdout, got.stderr)
	entries, err := os.ReadDir(filepath.Dir(path))
	is.NoErr(err)
	is.Equal(len(entries), 1) // nothing is left over
}

// The exit code says the class, and one line what to do.
func TestExitCodes(t *testing.T) {
	is := is.New(t)
	server := vaulttest.New(t)
	server.Put("secret/database", `{"password":"`+canary+`"}`)
	env := vaultEnv(server)
	get := func(env []string, key string) result { return command{env: env}.run(t, "get", key) }
	is.Equal(get(env, "database#password"), result{stdout: canary})
	for _, tc := range []struct {
		name, key string
		prepare   func()
		env       []string
		code      int
		says      string
	}{
		{"missing", "none#a", func() {}, env, exitNotFound, "not found"},
		{"no such field", "database#user", func() {}, env, exitNotFound, "its one field is password"},
		{"bad key", "a\tb", func() {}, env, exitUsage, "invalid key"},
		{"empty key", "", func() {}, env, exitUsage, "invalid key"},
		{"no configuration", "a", func() {}, []string{"VAULT_ADDR=" + server.Address()}, exitUsage, "VAULT_TOKEN"},
		{"wrong token", "database#password", func() {}, []string{env[0], "VAULT_TOKEN=wrong"}, exitDenied, "not authenticated"},
		{"denied", "database#password", func() { server.Deny("secret/database") }, env, exitDenied, "must grant read on secret/data/database"},
		{"sealed", "database#password", func() { server.Recover(); server.Seal() }, env, exitUnavailable, "sealed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := is.New(t)
			tc.prepare()
			got := get(tc.env, tc.key)
			is.Equal(got.code, tc.code)
			is.Equal(got.stdout, "")
			is.True(strings.HasPrefix(got.stderr, "secrets: "))
			is.True(strings.Contains(got.stderr, tc.says))
			is.Equal(strings.Count(got.stderr, "\n"), 1)
			secretstest.AssertNoLeak(t, canary, got.stderr)
			secretstest.AssertNoLeak(t, server.Token(), got.stderr)
		})
	}
}

func TestUsage(t *testing.T) {
	is := is.New(t)
	s := newStore(t, nil)
	for _, args := range [][]string{
		{"get"}, {"get", "a", "b"}, {"get", "--nonsense"}, {"nonsense"}, {"check"}, {"check", "-f", "/nowhere"},
		{"get", "a", "--backend", "etcd"}, {"get", "a", "--timeout", "soon"}, {"version", "a"}, {"get", "a", "--timeout", "-1s"},
	} {
		got := s.command().run(t, args...)
		is.Equal(got.code, exitUsage)
		is.Equal(got.stdout, "")
		is.True(strings.HasPrefix(got.stderr, "secrets: "))
		is.Equal(strings.Count(got.stderr, "\n"), 1)
	}
	for _, args := range [][]string{
		{"--help"}, {"get", "--help"}, {"help", "exec"}, {"version"}, {"completion", "bash"}, {"completion", "zsh"},
	} {
		got := s.command().run(t, args...)
		is.Equal(got.code, exitFound)
		is.True(got.stdout != "")
		is.Equal(got.stderr, "")
	}
}

// A chain reads the next backend where the first has nothing.
func TestChain(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"only-here": canary})
	c := s.command("SECRET_MANAGER_PREFIX=SHOP_", "SHOP_A=from env")
	for _, flags := range [][]string{
		{"--backend", "env", "--fallback", "file"}, {"--backend", "env", "--backend", "file"}, {"--fallback=env"},
	} {
		is.Equal(c.run(t, append([]string{"get", "a"}, flags...)...), result{stdout: "from env"})
		is.Equal(c.run(t, append([]string{"get", "only-here"}, flags...)...), result{stdout: canary})
	}
	is.Equal(c.run(t, "get", "a", "--backend=file").code, exitNotFound)
	is.Equal(c.run(t, "get", "a", "--backend=env", "--backend=env").code, exitUsage) // their names are one
}

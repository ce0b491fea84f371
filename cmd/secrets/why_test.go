package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
	"github.com/seed-5482dd03/secrets/secretstest/vaulttest"
)

// nextCanary is a value of another backend.
const nextCanary = "canary-of-env-8Rt4LpQz"

// vaultEnv are the variables for a server of tests.
func vaultEnv(server *vaulttest.Server) []string {
	return []string{"VAULT_ADDR=" + server.Address(), "VAULT_TOKEN=" + server.Token()}
}

// section returns the lines of text from the one that begins with start to the next empty one, their white space made one.
func section(t testing.TB, text, start string) []string {
	t.Helper()
	_, after, ok := strings.Cut("\n"+text, "\n"+start)
	if !ok {
		t.Fatalf("no %q in:\n%s", start, text)
	}
	block, _, _ := strings.Cut(start+after, "\n\n")
	var lines []string
	for line := range strings.Lines(block) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}

func TestWhyFollowsTheChain(t *testing.T) {
	const foundByEnv = "answer found"
	for _, c := range []struct {
		name    string
		prepare func(s *vaulttest.Server)
		env     []string

		vault, next []string // of the sections, what is not the same in all
		answer      string
		code        int
	}{
		{
			name: "found", env: []string{"DATABASE_PASSWORD=" + nextCanary},
			vault:  []string{"answer found, version 1", "chain stops here: the secret is found"},
			next:   []string{foundByEnv, "chain the library does not ask it: the chain stops at vault"},
			answer: "answer: by vault: found, version 1",
		},
		{
			name: "denied", prepare: func(s *vaulttest.Server) { s.Deny("secret/database") }, env: []string{"DATABASE_PASSWORD=" + nextCanary},
			vault: []string{
				"answer permission denied: the policies of the token must grant read on secret/data/database",
				"chain stops here: a denial is an answer, and no other backend replaces it",
			},
			next:   []string{foundByEnv, "chain the library does not ask it: the chain stops at vault"},
			answer: "answer: vault: database#password: permission denied: the policies of the token must grant read on secret/data/database",
			code:   exitDenied,
		},
		{
			name: "sealed", prepare: (*vaulttest.Server).Seal, env: []string{"DATABASE_PASSWORD=" + nextCanary},
			vault:  []string{"answer unavailable: the server is sealed", "chain goes on to env: unavailable"},
			next:   []string{foundByEnv, "chain stops here: the secret is found"},
			answer: "answer: by env: found",
		},
		{
			name: "not found", prepare: func(s *vaulttest.Server) { s.Mount("secret", 1); s.Delete("secret/database") },
			vault:  []string{"answer not found: there is nothing at secret/database", "chain goes on to env: not found"},
			next:   []string{"answer not found: neither database nor DATABASE is set", "chain ends here: this is the last backend"},
			answer: "answer: vault: database#password: not found",
			code:   exitNotFound,
		},
		{
			name: "deleted", prepare: func(s *vaulttest.Server) { s.Delete("secret/database") }, env: []string{"DATABASE_PASSWORD=" + nextCanary},
			vault: []string{
				"answer deleted: version 1 was deleted", "chain stops here: the document is here, so that no part of it comes from another backend",
			},
			next:   []string{foundByEnv, "chain the library does not ask it: the chain stops at vault"},
			answer: "answer: vault: database#password: deleted: version 1 was deleted",
			code:   exitNotFound,
		},
		{
			name: "another token", env: []string{"VAULT_TOKEN=hvs.another"},
			vault:  []string{"answer not authenticated", "chain stops here: a denial is an answer, and no other backend replaces it"},
			next:   []string{"answer not found", "chain the library does not ask it: the chain stops at vault"},
			answer: "answer: vault: database#password: not authenticated",
			code:   exitDenied,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			server := vaulttest.New(t)
			server.Put("secret/database", `{"password":"`+canary+`"}`)
			if c.prepare != nil {
				c.prepare(server)
			}
			run := command{env: append(vaultEnv(server), c.env...)}
			got := run.run(t, "why", "--fallback", "env", "database#password")
			for start, want := range map[string][]string{"1. vault, chosen by the environment": c.vault, "2. env": c.next, "answer: ": {c.answer}} {
				lines := section(t, got.stdout, start)
				for _, line := range want {
					if !slices.ContainsFunc(lines, func(has string) bool { return strings.HasPrefix(has, line) }) {
						t.Errorf("no line %q in:\n%s", line, strings.Join(lines, "\n"))
					}
				}
			}
			is.Equal(got.code, c.code)
			is.Equal(got.stderr, "")
			is.Equal(run.run(t, "get", "--fallback", "env", "database#password").code, c.code) // the library says the same
			for _, secret := range []string{canary, nextCanary, server.Token()} {
				secretstest.AssertNoLeak(t, secret, got.stdout, got.stderr)
			}
		})
	}
}

func TestWhyOnVault(t *testing.T) {
	is := is.New(t)
	server := vaulttest.New(t)
	server.Mount("team/kv", 1)
	server.Put("team/kv/shop/database", `{"password":"`+canary+`"}`)
	server.Put("secret/shop/database", `{"password":"`+canary+`"}`)

	got := command{env: vaultEnv(server)}.run(t, "why", "shop/database/password")
	is.Equal(got.code, exitFound)
	is.Equal(section(t, got.stdout, "1. vault")[1:5], []string{
		"means the field password of the document shop/database",
		"mount secret",
		"path secret/data/shop/database (KV version 2)",
		`policy path "secret/data/shop/database" { capabilities = ["read"] }`,
	})
	is.True(strings.Contains(got.stdout, "\ndetection: vault: VAULT_ADDR is set"))

	first := command{env: append(vaultEnv(server), "VAULT_MOUNT=team/kv/")}
	got = first.run(t, "why", "--backend", "vault", "shop/database#password")
	is.Equal(got.code, exitFound)
	is.Equal(section(t, got.stdout, "1. vault")[2:5], []string{
		"mount team/kv", "path team/kv/shop/database (KV version 1)", `policy path "team/kv/shop/database" { capabilities = ["read"] }`,
	})
	is.True(!strings.Contains(got.stdout, "detection")) // the flag has chosen it

	got = first.run(t, "why", "--no-network", "shop/database#password")
	is.Equal(got.code, exitFound)
	is.Equal(section(t, got.stdout, "1. vault")[2:], []string{
		"mount team/kv",
		"path team/kv/data/shop/database (if the mount is KV version 2)",
		`policy path "team/kv/data/shop/database" { capabilities = ["read"] }`,
		"path team/kv/shop/database (if the mount is KV version 1)",
		`policy path "team/kv/shop/database" { capabilities = ["read"] }`,
	})

	got = command{env: vaultEnv(server)}.run(t, "why", "--no-network", "shop/+#password")
	is.True(strings.Contains(got.stdout, "none: a policy of Vault takes the segment +"))
	got = command{env: vaultEnv(server)}.run(t, "why", "--no-network", "database?version=first")
	is.True(strings.Contains(got.stdout, "nowhere: vault can have no such secret"))
}

func TestWhyOnAWS(t *testing.T) {
	is := is.New(t)
	server := awstest.NewServer(t)
	server.Put("prod/shop/database", `{"password":"`+canary+`"}`)
	run := command{env: append(server.Env(), "AWS_SECRET_PREFIX=prod/shop/")}
	got := run.run(t, "why", "database#password")
	is.Equal(got.code, exitFound)
	lines := section(t, got.stdout, "1. aws, chosen by the environment")
	is.Equal(lines[1:5], []string{
		"means the field password of the document database",
		"region us-east-1",
		"name prod/shop/database",
		"policy secretsmanager:GetSecretValue on arn:aws:secretsmanager:us-east-1:*:secret:prod/shop/database-??????",
	})
	is.True(strings.HasPrefix(lines[5], "answer found, version "))
	is.True(strings.Contains(lines[5], ", age "))

	arn := server.ARN("prod/shop/database")
	got = run.run(t, "why", arn+"#password")
	is.Equal(got.code, exitFound)
	is.Equal(section(t, got.stdout, "1. aws")[2:5], []string{
		"region us-east-1", "ARN " + arn, "policy secretsmanager:GetSecretValue on " + arn,
	})
	secretstest.AssertNoLeak(t, canary, got.stdout, got.stderr)

	server.Deny("GetSecretValue")
	got = run.run(t, "why", "database#password")
	is.Equal(got.code, exitDenied)
	is.Equal(run.run(t, "why", "a b").code, exitUsage)
}

func TestWhyOnFilesAndVariables(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	is.NoErr(os.Mkdir(filepath.Join(dir, "database"), 0o700))
	is.NoErr(os.WriteFile(filepath.Join(dir, "database", "password"), []byte(canary), 0o600))
	got := command{env: []string{"SECRET_MANAGER_PATH=" + dir, "SECRET_MANAGER_PREFIX=APP_"}}.
		run(t, "why", "--backend", "file", "--fallback", "env", "database#password")
	is.Equal(got.code, exitFound)
	lines := section(t, got.stdout, "1. file")
	is.Equal(lines[1:4], []string{
		"means the document database/password, which is the field by itself",
		"files " + filepath.Join(dir, "database", "password"),
		filepath.Join(dir, "database"),
	})
	is.Equal(section(t, got.stdout, "2. env")[1:6], []string{
		"means the field password of the document database",
		"variables APP_database/password", "APP_DATABASE_PASSWORD", "APP_database", "APP_DATABASE",
	})
	secretstest.AssertNoLeak(t, canary, got.stdout, got.stderr)

	got = command{env: []string{`DATABASE={"password":"` + canary + `"}`}}.run(t, "why", "database#user")
	is.Equal(got.code, exitNotFound)
	is.True(strings.Contains(got.stdout, "answer    field not found"))
	secretstest.AssertNoLeak(t, canary, got.stdout, got.stderr)
}

// With --no-network nobody is asked. Without it, they are.
func TestWhyWithoutNetworkAsksNobody(t *testing.T) {
	vault, aws, dir := vaulttest.New(t), awstest.NewServer(t), t.TempDir()
	vault.Put("secret/other", `{}`)
	run := command{env: slices.Concat(vaultEnv(vault), aws.Env(), []string{"SECRET_MANAGER_PATH=" + dir, "database=" + canary})}
	args := []string{"why", "--backend", "vault", "--fallback", "aws", "--fallback", "file", "--fallback", "env", "database"}

	is := is.New(t)
	got := run.run(t, append(args, "--no-network")...)
	is.Equal(got.code, exitFound)
	is.Equal(aws.Count("*"), 0)
	is.Equal(vault.Count("secret/database"), 0)
	is.True(!strings.Contains(got.stdout, "answer"))
	is.Equal(section(t, got.stdout, "3. file")[3], "chain asked if aws does not have the secret or is unavailable")
	secretstest.AssertNoLeak(t, canary, got.stdout, got.stderr)
	other := command{env: run.env[:len(run.env)-1]} // the plan does not depend on what is there
	is.Equal(other.run(t, append(args, "--no-network")...).stdout, got.stdout)

	got = run.run(t, args...)
	is.Equal(got.code, exitFound)
	is.True(aws.Count("*") > 0)
	is.True(vault.Count("secret/database") > 0)
	is.True(strings.Contains(got.stdout, "answer: by env: found"))
	is.True(other.run(t, args...).stdout != got.stdout)
}

func TestWhyGoesOnWhereABackendCannotBeMade(t *testing.T) {
	is := is.New(t)
	run := command{env: []string{"DATABASE_PASSWORD=" + canary}}
	for _, network := range []string{"--no-network=true", "--no-network=false"} {
		got := run.run(t, "why", "--backend", "vault", "--fallback", "env", "database#password", network)
		is.Equal(got.code, exitUsage)
		is.True(strings.Contains(section(t, got.stdout, "1. vault")[1], "VAULT_ADDR"))
		is.True(slices.Contains(section(t, got.stdout, "2. env"), "DATABASE_PASSWORD"))
		secretstest.AssertNoLeak(t, canary, got.stdout, got.stderr)
	}
	got := run.run(t, "why", "--backend", "vault", "--fallback", "env", "database#password")
	is.True(strings.Contains(got.stdout, "answer: no client is made, since vault cannot be"))
	is.Equal(run.run(t, "get", "--backend", "vault", "--fallback", "env", "database#password").code, exitUsage)
	got = run.run(t, "why", "--fallback", "env", "database#password")
	is.Equal(got.code, exitUsage)
	is.True(strings.Contains(got.stdout, `answer: two backends have the name "env"`))
}

func TestWhyRefusesKeys(t *testing.T) {
	for _, key := range []string{"", "/a", "a\nb", "a//b", "a?b", "\xff", "a\x1b[31mb", "../a"} {
		is := is.New(t)
		got := command{}.run(t, "why", key)
		is.Equal(got.code, exitUsage)
		is.Equal(got.stdout, "")
		is.Equal(strings.Count(got.stderr, "\n"), 1)
		is.True(!strings.ContainsRune(got.stderr, '\x1b'))
	}
	is.New(t).Equal(command{}.run(t, "why", "a", "b").code, exitUsage)
	is.New(t).Equal(command{}.run(t, "why", "--backend", "none", "a").code, exitUsage)
}

// A backend of others may not say where its documents are, and may fail in doing so.
func TestLocated(t *testing.T) {
	is := is.New(t)
	is.Equal(len(located(secrets.Info{}, secrets.Ref{Path: "a"})), 0)
	is.Equal(len(located(secrets.Info{Locate: func(secrets.Ref) []string { panic(canary) }}, secrets.Ref{Path: "a"})), 0)
	says := secrets.Info{Locate: func(ref secrets.Ref) []string { return []string{ref.Path} }}
	is.Equal(located(says, secrets.Ref{Path: "a"}), []string{"a"})
}

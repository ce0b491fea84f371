//go:build vault && unix

package main

import (
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/vaultserver"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestExecWatchesVault(t *testing.T) {
	is := is.New(t)
	server := vaultserver.Start(t)
	put := func(value string) {
		server.Must(t, "POST", "secret/data/database", map[string]any{"data": map[string]any{"user": "app", "password": value}})
	}
	put(canary)
	token := server.Token(t, `path "secret/data/database" { capabilities = ["read"] }
path "sys/internal/ui/mounts/*" { capabilities = ["read"] }`, nil)
	c := command{env: []string{"VAULT_ADDR=" + server.Addr, "VAULT_TOKEN=" + token}}
	r := c.start(t, execArgs(program("server"), "--env=VALUE=database#password", "--env=DB_USER=database#user",
		"--watch", "--interval=100ms")...)
	r.stdout.await(t, canary+";")
	put(second)
	r.stdout.await(t, second+";")

	server.Seal(t) // an outage
	quiet := r.stdout.String()
	down := command{env: []string{"VAULT_ADDR=" + server.Addr, "VAULT_TOKEN=" + token}}
	is.Equal(down.run(t, execArgs(program("env"), "--env=VALUE=database#password")...).code, 4)
	server.Unseal(t)
	is.Equal(r.stdout.String(), quiet) // it has done nothing
	put(third)
	r.stdout.await(t, third+";")
	got := r.end(t)
	is.Equal(got.code, 42)
	is.Equal(count(got.stdout, "start "), 3)
	for _, value := range []string{canary, second, third, token} {
		secretstest.AssertNoLeak(t, value, got.stderr)
	}
}

// A token that a login has brought is revoked before the program takes the place of the command.
func TestExecLeavesNoTokenOfALogin(t *testing.T) {
	is := is.New(t)
	server := vaultserver.Start(t)
	server.Must(t, "POST", "secret/data/database", map[string]any{"data": map[string]any{"password": canary}})
	server.Must(t, "POST", "sys/auth/approle", map[string]any{"type": "approle"})
	server.Must(t, "PUT", "sys/policies/acl/app", map[string]any{"policy": `path "secret/data/*" { capabilities = ["read"] }`})
	server.Must(t, "POST", "auth/approle/role/app", map[string]any{"token_policies": "app"})
	id, _ := server.Must(t, "GET", "auth/approle/role/app/role-id", nil)["data"].(map[string]any)["role_id"].(string)
	secret, _ := server.Must(t, "POST", "auth/approle/role/app/secret-id", nil)["data"].(map[string]any)["secret_id"].(string)
	recorder := server.Record(t)
	c := command{env: []string{"VAULT_ADDR=" + recorder.Addr, "VAULT_ROLE_ID=" + id, "VAULT_SECRET_ID=" + secret, "VAULT_AUTH_METHOD=approle"}}
	r := c.run(t, execArgs(program("env"), "--env=VALUE=database#password")...)
	is.Equal(r.stderr, "")
	is.Equal(r.code, 0)
	is.Equal(variables(r)["VALUE"], canary)
	is.Equal(recorder.Count("PUT", "/v1/auth/token/revoke-self")+recorder.Count("POST", "/v1/auth/token/revoke-self"), 1)
}

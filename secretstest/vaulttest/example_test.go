package vaulttest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/secretstest/vaulttest"
)

// A program reads a password before and after a rotation, and after the policy changed.
func ExampleUnstarted() {
	server := vaulttest.Unstarted() // vaulttest.New(t) needs no WithHTTPClient
	server.Put("secret/database", `{"user":"app","password":"correct horse"}`)

	backend, err := vault.New(
		vault.WithAddress(server.Address()), vault.WithHTTPClient(server.Client()), vault.WithToken(server.Token()))
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := secrets.New(backend)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	read := func() {
		password, err := client.Get(context.Background(), "database#password")
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(password.Reveal(), password.Meta().Version)
	}
	read()
	server.Put("secret/database", `{"user":"app","password":"battery staple"}`)
	read()
	server.Deny("secret/database")
	read()
	fmt.Println(server.Count("secret/database"), "reads")
	// Output:
	// correct horse 1
	// battery staple 2
	// secrets: vault: database#password: permission denied: the policies of the token must grant read on secret/data/database
	// 3 reads
}

// New starts a server on loopback. Its address and token are all that the program under test needs.
func ExampleNew() {
	_ = func(t *testing.T) { // in a test file: func TestLogin(t *testing.T)
		server := vaulttest.New(t)
		server.Put("secret/database", `{"password":"correct horse"}`)
		t.Setenv("VAULT_ADDR", server.Address())
		t.Setenv("VAULT_TOKEN", server.Token())

		backend, err := vault.New()
		if err != nil {
			t.Fatal(err)
		}
		defer backend.Close()
		if _, err := backend.Fetch(t.Context(), secrets.Ref{Path: "database"}); err != nil {
			t.Error(err)
		}
	}
	// Output:
}

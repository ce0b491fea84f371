package vaulttest_test

import (
	"context"
	"fmt"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/secretstest/vaulttest"
)

// A program reads a password while that is rotated, and then denied to it.
func Example() {
	server := vaulttest.Unstarted() // in a test: vaulttest.New(t), and no WithHTTPClient below
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

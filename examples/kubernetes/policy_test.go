//go:build vault

package main

import (
	"net/http"
	"os"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/vaultserver"
)

// A real Vault lets a token with policy.hcl read what the program reads, and nothing else.
func TestRealPolicy(t *testing.T) {
	is := is.New(t)
	policy, err := os.ReadFile("policy.hcl")
	is.NoErr(err)
	server := vaultserver.Start(t)
	token := server.Token(t, string(policy), nil)
	for path, want := range map[string]int{
		"secret/data/shop/database": http.StatusOK,
		"secret/data/shop/api":      http.StatusOK,
		"secret/data/shop/other":    http.StatusForbidden,
		"secret/data/shop":          http.StatusForbidden,
	} {
		server.Must(t, http.MethodPost, path, map[string]any{"data": map[string]any{"a": "b"}})
		status, _ := server.DoAs(t, token, http.MethodGet, path, nil)
		is.Equal(status, want)
		status, _ = server.DoAs(t, token, http.MethodPost, path, map[string]any{"data": map[string]any{"a": "b"}})
		is.Equal(status, http.StatusForbidden)
	}
}

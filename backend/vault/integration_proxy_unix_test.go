//go:build vault && unix

package vault_test

import (
	"slices"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/internal/vaultserver"
)

// A Vault Proxy that adds its own token is used without one, and the token in its sink file with WithTokenFile.
func TestRealProxy(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared.Get(t), versionTwo)
	s.put("app", `{"password":"p"}`)
	r := newRole(t, s, map[string]any{"token_ttl": "1h"})
	proxy := s.server.Proxy(t, r.mount, r.roleID, r.secretID)
	for name, opts := range map[string][]vault.Option{
		"without a token":           {vault.WithAddress(proxy.Addr), vault.WithoutToken()},
		"by the environment":        {environment(map[string]string{"VAULT_AGENT_ADDR": proxy.Addr})},
		"with a token of one's own": {vault.WithAddress(proxy.Addr), vault.WithToken(s.server.RootToken)},
		"with the file":             {vault.WithAddress(s.server.Addr), vault.WithTokenFile(proxy.Sink)},
		"with the file in env": {environment(map[string]string{
			"VAULT_ADDR": s.server.Addr, "VAULT_TOKEN_FILE": proxy.Sink,
		})},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			b, err := vault.New(slices.Concat([]vault.Option{vault.WithLookup(noEnvironment), vault.WithMount(s.mount)}, opts)...)
			is.NoErr(err)
			c := client(t, b)
			got, err := c.Get(t.Context(), "app#password")
			is.NoErr(err)
			is.Equal(got.Reveal(), "p")
			_, err = c.Get(t.Context(), "missing")
			is.Equal(secrets.Class(err), secrets.ErrNotFound)
		})
	}
	is := is.New(t)
	other := newStore(t, s.server, versionTwo) // which the role may not read
	b := open(t, proxy.Addr, vault.WithoutToken(), vault.WithMount(other.mount))
	_, err := client(t, b).Get(t.Context(), "app#password")
	is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)
}

// A Vault Proxy's answer for a server that is down is an outage, too.
func TestRealProxyInAnOutage(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	server := vaultserver.Start(t)
	s := newStore(t, server, versionTwo)
	s.put("app", `{"password":"p"}`)
	r := newRole(t, s, map[string]any{"token_ttl": "1h"})
	proxy := server.Proxy(t, r.mount, r.roleID, r.secretID)
	c := client(t, open(t, proxy.Addr, vault.WithoutToken(), vault.WithMount(s.mount)), secrets.WithTimeout(fetchTimeout))
	_, err := c.Get(t.Context(), "app#password")
	is.NoErr(err)
	for _, outage := range []struct{ begin, end func(t vaultserver.TB) }{
		{server.Seal, server.Unseal},
		{server.Pause, server.Resume},
		{func(vaultserver.TB) { server.Stop() }, nil},
	} {
		outage.begin(t)
		_, err = c.Get(t.Context(), "missing")
		is.Equal(secrets.Class(err), secrets.ErrUnavailable)
		if outage.end != nil {
			outage.end(t)
			_, err = c.Get(t.Context(), "app#password")
			is.NoErr(err)
		}
	}
}

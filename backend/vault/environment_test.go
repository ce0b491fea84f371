package vault_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// A variable that the official client rejects is reported by name, without its value and without a parser's text.
func TestBrokenEnvironment(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	is.New(t).NoErr(os.WriteFile(empty, nil, 0o600))
	for _, c := range []struct{ name, value, want string }{
		{"VAULT_MAX_RETRIES", canary + "\n", "VAULT_MAX_RETRIES is not a number from 0 to 4294967295"},
		{"VAULT_CLIENT_TIMEOUT", canary, "VAULT_CLIENT_TIMEOUT is not a duration, such as 60s"},
		{"VAULT_RATE_LIMIT", canary, "VAULT_RATE_LIMIT must be a rate, such as 10, or a rate and a burst, such as 10:100"},
		{"VAULT_SKIP_VERIFY", canary, "VAULT_SKIP_VERIFY is neither true nor false"},
		{"VAULT_SRV_LOOKUP", canary, "VAULT_SRV_LOOKUP is neither true nor false"},
		{"VAULT_DISABLE_REDIRECTS", canary, "VAULT_DISABLE_REDIRECTS is neither true nor false"},
		{"VAULT_PROXY_ADDR", "http://" + canary + "\x7f",
			"VAULT_PROXY_ADDR or VAULT_HTTP_PROXY is not an address, such as http://proxy.example:3128"},
		{"VAULT_HTTP_PROXY", "http://[" + canary, "VAULT_PROXY_ADDR or VAULT_HTTP_PROXY is not an address, such as http://proxy.example:3128"},
		{"VAULT_HEADERS", `{"X-Vault-Token":"` + canary + `"}`,
			"VAULT_HEADERS must be a JSON object of strings, without headers that begin with X-Vault-"},
		{"VAULT_HEADERS", canary, "VAULT_HEADERS must be a JSON object of strings, without headers that begin with X-Vault-"},
		{"VAULT_CACERT", "/nowhere/ca\n.pem",
			`TLS: "/nowhere/ca\n.pem" (VAULT_CACERT): there is no such file (in the environment of the process)`},
		{"VAULT_CACERT", empty, "TLS: " + empty + " (VAULT_CACERT): it holds no complete PEM certificate"},
		{"VAULT_CAPATH", "/nowhere", "TLS: /nowhere (VAULT_CAPATH): there is no such file (in the environment of the process)"},
		{"VAULT_CACERT_BYTES", canary, "TLS: VAULT_CACERT_BYTES holds no PEM certificate"},
		{"VAULT_CLIENT_KEY", "/x", "TLS: set both VAULT_CLIENT_CERT and VAULT_CLIENT_KEY, or unset both"},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			t.Setenv(c.name, c.value)
			_, err := vault.New(vault.WithAddress("https://vault.example"), vault.WithToken("t"))
			is.True(err != nil)
			for line := range strings.Lines(err.Error()) {
				is.True(strings.HasPrefix(line, "secrets: vault: "))
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q has no %q", err, c.want)
			}
			is.True(!strings.Contains(err.Error(), "strconv"))
			secretstest.AssertNoLeak(t, canary, err)
		})
	}
}

// ~/.vault-token is the last source of tokens. It is read at each request, and white space around the token is trimmed. Without any token,
// the error names each place that was searched.
func TestTokenOfVaultLogin(t *testing.T) {
	is := is.New(t)
	f, home := newFake(t), t.TempDir()
	f.put("app", `{"password":"p"}`)
	write(t, filepath.Join(home, ".vault-token"), " "+fakeToken+" \r\n")
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, "of-the-file")
	sent := func(vars map[string]string, opts ...vault.Option) string {
		t.Helper()
		vars["HOME"], vars["VAULT_ADDR"] = home, f.URL
		var tokens []string
		f.handle("secret/data/app", func(w http.ResponseWriter, r *http.Request) {
			tokens = append(tokens, r.Header.Get("X-Vault-Token"))
			f.vault.ServeHTTP(w, r)
		})
		b, err := vault.New(append(opts, environment(vars), vault.WithKVVersion(2))...)
		is.NoErr(err)
		_ = (&rotating{}).fetch(t, b)
		is.NoErr(b.Close())
		is.Equal(len(tokens), 1)
		return tokens[0]
	}
	is.Equal(sent(map[string]string{}), fakeToken)
	is.Equal(sent(map[string]string{"VAULT_TOKEN": "of-the-variable"}), "of-the-variable")
	is.Equal(sent(map[string]string{"VAULT_TOKEN_FILE": file}), "of-the-file")
	is.Equal(sent(map[string]string{}, vault.WithToken("of-the-option")), "of-the-option")
	is.Equal(sent(map[string]string{"VAULT_AGENT_ADDR": f.URL}), "") // the agent adds its own
	is.Equal(sent(map[string]string{}, vault.WithoutToken()), "")

	for path, want := range map[string]string{
		"/nowhere":                          "/nowhere/.vault-token: there is no such file",
		filepath.Join(home, ".vault-token"): ".vault-token: there is no such file", // HOME is a file
		"":                                  "(HOME is not set)",
	} {
		_, err := vault.New(vault.WithAddress(f.URL), environment(map[string]string{"HOME": path}))
		is.True(err != nil)
		for _, place := range []string{
			"WithToken,", "WithTokenFile", "WithAuth", "VAULT_TOKEN, ", "VAULT_TOKEN_FILE", "VAULT_AUTH_METHOD", "vault login", want,
		} {
			is.True(strings.Contains(err.Error(), place))
		}
	}
}

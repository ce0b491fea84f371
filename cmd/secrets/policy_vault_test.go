//go:build vault

package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/vaultserver"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// kvStore is a KV secrets engine of a real Vault.
type kvStore struct {
	server  *vaultserver.Server
	mount   string
	version int
}

// eachStore runs test with a mount of each version of KV.
func eachStore(t *testing.T, test func(t *testing.T, s kvStore)) {
	server := vaultserver.Start(t)
	for _, version := range []int{1, 2} {
		t.Run("KV "+strconv.Itoa(version), func(t *testing.T) {
			s := kvStore{server, "team/kv" + strconv.Itoa(version), version}
			server.Must(t, http.MethodPost, "sys/mounts/"+s.mount, map[string]any{
				"type": "kv", "options": map[string]any{"version": strconv.Itoa(version)},
			})
			eventually(t, "mount that serves", func() bool {
				status, _ := server.Do(t, http.MethodGet, s.path("none"), nil)
				return status == http.StatusNotFound
			})
			test(t, s)
		})
	}
}

// path returns the path of the API of the document name, in a URL.
func (s kvStore) path(name string) string {
	if s.version == 2 {
		name = "data/" + name
	}
	segments := strings.Split(name, "/")
	for i, segment := range segments {
		segments[i] = url.PathEscape(segment)
	}
	return s.mount + "/" + strings.Join(segments, "/")
}

// put stores a document, and reports whether the server takes such a name.
func (s kvStore) put(t *testing.T, name string) bool {
	t.Helper()
	var body any = map[string]any{"password": canary, "user": "app"}
	if s.version == 2 {
		body = map[string]any{"data": body}
	}
	status, _ := s.server.Do(t, http.MethodPost, s.path(name), body)
	return status/100 == 2
}

// as returns a command with a token that may do what rules say and nothing else.
func (s kvStore) as(t *testing.T, rules string) (run command, token string) {
	t.Helper()
	token = s.server.Token(t, rules, map[string]any{"no_default_policy": true})
	return command{env: []string{"VAULT_ADDR=" + s.server.Addr, "VAULT_MOUNT=" + s.mount, "VAULT_TOKEN=" + token}}, token
}

// policy returns what the command prints for keys.
func (s kvStore) policy(t *testing.T, keys ...string) string {
	t.Helper()
	args := append([]string{"policy", "--backend", "vault", "--kv-version", strconv.Itoa(s.version)}, keys...)
	got := command{env: []string{"VAULT_MOUNT=" + s.mount}}.run(t, args...)
	if got.code != exitFound {
		t.Fatalf("exit code %d: %s", got.code, got.stderr)
	}
	return got.stdout
}

// denied returns the keys that run may not read. All others must be there.
func denied(t *testing.T, run command, keys []string) (all []string) {
	t.Helper()
	got := run.run(t, append([]string{"check", "--"}, keys...)...)
	secretstest.AssertNoLeak(t, canary, got.stdout, got.stderr)
	rows := strings.Split(strings.TrimSpace(got.stdout), "\n")[1:]
	if len(rows) != len(keys) {
		t.Fatalf("%d rows for %d keys:\n%s", len(rows), len(keys), got.stdout)
	}
	for i, row := range rows {
		switch {
		case strings.Contains(row, "permission denied"):
			all = append(all, keys[i])
		case !strings.Contains(row, "found"), strings.Contains(row, "not found"):
			t.Errorf("%s is neither read nor denied: %s", keys[i], row)
		}
	}
	return all
}

func TestRealPolicyIsTheLeast(t *testing.T) {
	eachStore(t, func(t *testing.T, s kvStore) {
		is := is.New(t)
		keys := []string{"app/db/password", "app/db#user", "api#password", "team/app/tls#"}
		others := []string{"app#password", "app/db/sub#password", "app/db2#password", "ap#password", "team/app/tls/x#password", "other#password"}
		for _, name := range []string{"app/db", "api", "team/app/tls", "app", "app/db/sub", "app/db2", "ap", "team/app/tls/x", "other"} {
			is.True(s.put(t, name))
		}
		printed := s.policy(t, keys...)
		run, token := s.as(t, printed)
		is.Equal(denied(t, run, keys), nil)
		is.Equal(denied(t, run, others), others)

		// Nothing but to read is granted.
		for _, c := range []struct{ method, path string }{
			{"LIST", s.mount + "/"}, {"LIST", s.mount + "/metadata/"}, {"LIST", s.mount + "/app"}, {"LIST", s.mount + "/metadata/app"},
			{"GET", s.mount + "/metadata/app/db"}, {"GET", s.mount + "/config"}, {"GET", s.mount + "/subkeys/app/db"}, {"LIST", s.path("app/db")},
			{"POST", s.path("app/db")}, {"DELETE", s.path("app/db")}, {"POST", s.mount + "/delete/app/db"}, {"GET", "sys/mounts"},
			{"GET", "auth/token/lookup-self"},
		} {
			status, _ := s.server.DoAs(t, token, c.method, c.path, map[string]any{})
			is.Equal(status, http.StatusForbidden)
			status, _ = s.server.Do(t, "GET", s.path("app/db"), nil) // the control: it is there
			is.Equal(status, http.StatusOK)
		}

		// Each line is needed for exactly its keys.
		lines := strings.SplitAfter(printed, "\n")
		removed := 0
		for i, line := range lines {
			if !strings.HasPrefix(line, "path ") {
				continue
			}
			removed++
			less, _ := s.as(t, strings.Join(slices.Delete(slices.Clone(lines), i, i+1), ""))
			comment := strings.TrimSpace(strings.TrimPrefix(lines[i-1], "# "))
			is.Equal(denied(t, less, keys), strings.Split(comment, ", "))
		}
		is.Equal(removed, 3)

		// The control: a line for the other version of KV, or a wider one, is seen.
		wide, _ := s.as(t, strings.ReplaceAll(printed, `app/db"`, `app*"`))
		is.True(len(denied(t, wide, others)) < len(others))
		s.version = 3 - s.version
		wrong, _ := s.as(t, s.policy(t, keys...))
		is.Equal(denied(t, wrong, keys), keys)
	})
}

// Whatever the name of a document is, its line grants to read it and no other.
func TestRealPolicyOfOddNames(t *testing.T) {
	eachStore(t, func(t *testing.T, s kvStore) {
		is := is.New(t)
		var names, keys []string
		for _, name := range []string{
			"plain", `a"b`, `a\b`, `a\\b`, `a\"b`,
			`a\" { capabilities = ["sudo"] } path \"b`, `a" { capabilities = ["sudo"] } path "b`, "a'b", "a`b",
			"${x}", "$${x}", "x${", `x${"`, `\${x}`, `$\{x}`, "${${x} }", `\u0024{x}`, "{x}", "}", "{", "$",
			"a*b", "a*/b", "+a", "a+", "a/+b", "a/b+/c", "a b", "a#b", "#", "a?b", "?", "a%b", "%2F", "a,b", "a;b", "a=b", "a&b",
			"~", ".a", "a.", "a:b", " a", "a ", "a/ b",
			"비밀/번호", "ß", "SS", "😀", "\ufffd", "\ue123", "\u00a0", "e\u0301", "\u00e9", "[a]", "(a)", "<a>", "a|b",
		} {
			ref := secrets.Ref{Path: name, Field: "password"}
			is.NoErr(ref.Validate())
			if s.put(t, name) {
				names, keys = append(names, name), append(keys, ref.String())
			} else {
				t.Logf("Vault takes no %q", name)
			}
		}
		is.True(len(names) > 40)
		printed := s.policy(t, keys...)
		run, _ := s.as(t, printed)
		is.Equal(denied(t, run, keys), nil)

		rules := 0
		for line := range strings.Lines(printed) {
			if !strings.HasPrefix(line, "path ") {
				continue
			}
			rules++
			_, token := s.as(t, line)
			var may []string
			for _, name := range names {
				status, answer := s.server.DoAs(t, token, http.MethodGet, s.path(name), nil)
				if status == http.StatusOK {
					may = append(may, name)
				} else if status != http.StatusForbidden {
					text, err := json.Marshal(answer)
					is.NoErr(err)
					t.Errorf("%q: status %d: %s", name, status, text)
				}
			}
			if len(may) != 1 {
				t.Errorf("%s grants %q", strings.TrimSpace(line), may)
			}
		}
		is.Equal(rules, len(names))
	})
}

// What policy refuses is a pattern to Vault indeed.
func TestRealPatternsHaveNoEscape(t *testing.T) {
	eachStore(t, func(t *testing.T, s kvStore) {
		is := is.New(t)
		for _, name := range []string{"db*", "db2", "team/+/x", "team/a/x"} {
			is.True(s.put(t, name))
		}
		for written, reads := range map[string]string{
			"db*": "db2", `db\u002a`: "db2", "team/+/x": "team/a/x", `team/\u002b/x`: "team/a/x",
		} {
			prefix := s.mount + "/"
			if s.version == 2 {
				prefix += "data/"
			}
			_, token := s.as(t, `path "`+prefix+written+`" { capabilities = ["read"] }`)
			status, _ := s.server.DoAs(t, token, http.MethodGet, s.path(reads), nil)
			is.Equal(status, http.StatusOK)
		}
	})
}

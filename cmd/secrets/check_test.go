package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
	"github.com/seed-5482dd03/secrets/secretstest/vaulttest"
)

// table returns the cells of what check prints, without the header.
func table(t *testing.T, got result) (rows [][]string) {
	t.Helper()
	for line := range strings.Lines(got.stdout) {
		rows = append(rows, strings.Fields(line))
	}
	if len(rows) == 0 || strings.Join(rows[0], " ") != "KEY BACKEND VERSION AGE CLASS HINT" {
		t.Fatalf("no header: %q", got.stdout)
	}
	return rows[1:]
}

func TestCheckPrintsATableWithoutValues(t *testing.T) {
	is := is.New(t)
	server := vaulttest.New(t)
	server.Put("secret/database", `{"user":"app","password":"`+canary+`"}`)
	server.Put("secret/denied", `{"a":"`+canary+`"}`)
	server.Deny("secret/denied")
	got := command{env: vaultEnv(server)}.run(t, "check", "database#password", "none#a", "denied#a", "database#pasword", "database#password")
	secretstest.AssertNoLeak(t, canary, got.stdout, got.stderr)
	is.Equal(got.stderr, "")
	is.Equal(got.code, exitDenied) // the worst
	rows := table(t, got)
	is.Equal(len(rows), 4) // each key once, in order
	is.Equal(rows[0], []string{"database#password", "vault", "1", rows[0][3], "found"})
	is.True(strings.HasSuffix(rows[0][3], "s")) // a version of some seconds
	is.Equal(rows[1][:6], []string{"none#a", "vault", "-", "-", "not", "found"})
	is.Equal(strings.Join(rows[2][:6], " "), "denied#a vault - - permission denied")
	is.Equal(strings.Join(rows[2][6:], " "), "the policies of the token must grant read on secret/data/denied")
	is.True(strings.Contains(strings.Join(rows[3], " "), "its fields are password, user"))
}

// The keys of a file are those of arguments, and are read in one batch.
func TestCheckReadsKeysInOneBatch(t *testing.T) {
	is := is.New(t)
	server := awstest.NewServer(t)
	var keys strings.Builder
	keys.WriteString("# the keys of the shop\r\n\n")
	for i := range 1000 {
		server.Put(fmt.Sprintf("key-%d", i), canary)
		fmt.Fprintf(&keys, "key-%d\r\n", i)
	}
	file := filepath.Join(t.TempDir(), "keys")
	is.NoErr(os.WriteFile(file, []byte(keys.String()), 0o600))
	c := command{env: append(server.Env(), "SECRET_MANAGER_TYPE=aws"), stdin: keys.String()}
	for _, from := range []string{file, "-"} {
		server.ResetCalls()
		got := c.run(t, "check", "-f", from)
		is.Equal(got.stderr, "")
		is.Equal(got.code, exitFound)
		is.Equal(len(table(t, got)), 1000)
		is.True(server.Count("*") < 500) // 50 batches of 20; on a busy machine, some are cut by the clock
		secretstest.AssertNoLeak(t, canary, got.stdout)
	}
}

// Keys that are hostile to a terminal or to the table are quoted.
func TestCheckOfHostileKeys(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"ok": canary})
	for _, key := range []string{"\033[31mred", "a\tb", "a\nfound", "../../etc/passwd", "a\u202eb", strings.Repeat("x", 3000), "\xff"} {
		got := s.command().run(t, "check", "ok", key)
		is.Equal(got.code, exitUsage)
		rows := table(t, got)
		is.Equal(len(rows), 2)
		is.Equal(rows[0][4], "found")
		is.True(utf8.ValidString(got.stdout))
		is.True(!strings.ContainsAny(got.stdout, "\033\u202e"))
		secretstest.AssertNoLeak(t, canary, got.stdout, got.stderr)
	}
}

// The exit code is that of the worst key.
func TestCheckInAnOutage(t *testing.T) {
	is := is.New(t)
	server := vaulttest.New(t)
	server.Seal()
	got := command{env: vaultEnv(server)}.run(t, "check", "database#password")
	is.Equal(got.code, exitUnavailable)
	is.True(strings.Contains(got.stdout, "the server is sealed"))
}

func TestWorse(t *testing.T) {
	is := is.New(t)
	order := []int{exitFound, exitNotFound, exitDenied, exitUnavailable, exitUsage, exitOther}
	for i, a := range order {
		for j, b := range order {
			is.Equal(worse(a, b), order[max(i, j)])
		}
	}
}

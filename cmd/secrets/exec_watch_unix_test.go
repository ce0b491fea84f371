//go:build linux || darwin

package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/secretstest/vaulttest"
)

const (
	second = "second-7f3Kq9ZxWv2m"
	third  = "third-7f3Kq9ZxWv2m"
)

// fast makes a watch ask often.
var fast = []string{"--watch", "--interval=50ms"}

// end ends the program by SIGTERM of the command.
func (r *running) end(t *testing.T) result {
	t.Helper()
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return r.wait(t)
}

// pass returns when the watch would have acted on a change that came before.
func pass(t *testing.T, asked func() int) {
	t.Helper()
	before := asked()
	eventually(t, "polls", func() bool { return asked() > before+10 })
}

func TestExecRestartsWhenAFileIsReplaced(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"database/password": canary})
	r := s.command().start(t, execArgs(program("server"), "--env=VALUE=database#password", "--watch")...)
	r.stdout.await(t, canary+";")
	s.put("database/password", second)
	r.stdout.await(t, second+";")
	s.put("database/password", third)
	r.stdout.await(t, third+";")
	got := r.end(t)
	is.Equal(got.code, 42)
	is.Equal(count(got.stdout, "start "), 3)
	is.Equal(count(got.stdout, "signal 15 "), 3) // each was asked to end, the last one by us
	is.Equal(count(got.stderr, "secrets: exec: database#password has changed: restarting "), 2)
	is.Equal(strings.Count(got.stderr, "\n"), 2)
	for _, value := range []string{canary, second, third} {
		secretstest.AssertNoLeak(t, value, got.stderr)
	}
}

// What is changed together arrives together: one restart, and never half of it.
func TestExecRestartsOnceForTheFieldsOfADocument(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": `{"user":"one","password":"p-one"}`})
	shell := []string{"--", "sh", "-c", `echo "start $U $P;"; exec sleep 1000`}
	r := s.command().start(t, execArgs(shell, "--env=U=a#user", "--env=P=a#password", "--watch")...)
	r.stdout.await(t, "start one p-one;")
	s.put("a", `{"user":"two","password":"p-two"}`)
	r.stdout.await(t, "start two p-two;")
	got := r.end(t)
	is.Equal(got.stdout, "start one p-one;\nstart two p-two;\n")
	is.Equal(got.code, 128+15)
	is.True(strings.Contains(got.stderr, "a#user and 1 more have changed: restarting sh\n"))
}

func TestExecKillsAProgramThatDoesNotEnd(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	r := s.command().start(t, execArgs(program("deaf"), "--env=VALUE=a", "--watch", "--grace=50ms")...)
	r.stdout.await(t, "deaf "+canary)
	s.put("a", second)
	r.stdout.await(t, "deaf "+second)
	is.NoErr(r.Process.Signal(syscall.SIGINT)) // which it does not ignore
	is.Equal(r.wait(t).code, 128+2)
}

func TestExecEndsWithAProgramThatEndsByItself(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	is.Equal(s.command().run(t, execArgs(program("exit", "7"), "--env=VALUE=a", "--watch")...).code, 7)
}

// A program that was told to end is not started again.
func TestExecDoesNotRestartWhatMustEnd(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	shell := []string{"--", "sh", "-c", `trap 'echo ending; sleep 1.5; exit 5' TERM; echo "start $VALUE"; while :; do sleep 0.05; done`}
	r := s.command().start(t, execArgs(shell, "--env=VALUE=a", "--watch")...)
	r.stdout.await(t, "start")
	is.NoErr(r.Process.Signal(syscall.SIGTERM))
	r.stdout.await(t, "ending")
	s.put("a", second)
	got := r.wait(t)
	is.Equal(got.code, 5)
	is.Equal(count(got.stdout, "start"), 1)
	is.Equal(got.stderr, "")

	r = s.command().start(t, execArgs(shell, "--env=VALUE=a", "--watch")...)
	r.stdout.await(t, "start")
	s.put("a", third)
	r.stdout.await(t, "ending") // it restarts
	is.NoErr(r.Process.Signal(syscall.SIGTERM))
	got = r.wait(t)
	is.Equal(got.code, 5)
	is.Equal(count(got.stdout, "start"), 1)
}

// watched is a server of Vault with two documents, and a program that watches them.
func watched(t *testing.T) (*vaulttest.Server, *running) {
	t.Helper()
	server := vaulttest.New(t)
	server.Put("secret/a", `{"v":"`+canary+`"}`)
	server.Put("secret/b", `{"v":"b-7f3Kq9ZxWv2m"}`)
	c := command{env: []string{"VAULT_ADDR=" + server.Address(), "VAULT_TOKEN=" + server.Token()}}
	r := c.start(t, execArgs(program("server"), append(fast, "--env=VALUE=a#v", "--env=B=b#v")...)...)
	r.stdout.await(t, canary+";")
	return server, r
}

func TestExecNeverRestartsInAnOutage(t *testing.T) {
	for name, outage := range map[string]func(*vaulttest.Server){
		"sealed":                (*vaulttest.Server).Seal,
		"a proxy":               func(s *vaulttest.Server) { s.Fail(http.StatusBadGateway) },
		"half of it":            func(s *vaulttest.Server) { s.Deny("secret/b") },
		"the half that changes": func(s *vaulttest.Server) { s.Deny("secret/a") },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			server, r := watched(t)
			outage(server)
			server.Put("secret/a", `{"v":"`+second+`"}`)
			asked := func() int { return server.Count("secret/a") }
			if strings.HasPrefix(name, "half") {
				pass(t, asked)
			} else {
				before := asked()
				eventually(t, "polls", func() bool { return asked() > before+2 })
			}
			is.Equal(count(r.stdout.String(), "start"), 1)
			is.Equal(r.stderr.String(), "")
			server.Recover()
			r.stdout.await(t, second+";") // the control
			got := r.end(t)
			is.Equal(got.code, 42)
			is.Equal(count(got.stdout, "start"), 2)
		})
	}
}

// In an outage of the first backend, the second answers. That is no change.
func TestExecDoesNotFallBackToRestart(t *testing.T) {
	is := is.New(t)
	vault := vaulttest.Unstarted()
	vault.Put("secret/a", `{"v":"`+canary+`"}`)
	var armed, down atomic.Bool
	var refused atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			refused.Add(1)
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		vault.ServeHTTP(w, r)
		if armed.Load() { // the outage begins after the poll that brings the change
			down.Store(true)
		}
	}))
	defer server.Close()
	c := command{env: []string{"VAULT_ADDR=" + server.URL, "VAULT_TOKEN=" + vault.Token(), `A={"v":"fallback-7f3Kq9ZxWv2m"}`}}
	r := c.start(t, execArgs(program("server"), append(fast, "--env=VALUE=a#v", "--backend=vault", "--fallback=env")...)...)
	r.stdout.await(t, canary+";")
	vault.Put("secret/a", `{"v":"`+second+`"}`)
	armed.Store(true)
	changed := time.Now()
	eventually(t, "requests in the outage", func() bool { return refused.Load() > 4 && time.Since(changed) > 10*settling })
	is.Equal(count(r.stdout.String(), "start"), 1)
	armed.Store(false)
	down.Store(false)
	r.stdout.await(t, second+";") // the control
	got := r.end(t)
	is.Equal(got.code, 42)
	is.Equal(count(got.stdout, "start"), 2)
}

// A program that started with the fallback starts again when the first backend is back.
func TestExecRestartsWhenTheFirstBackendIsBack(t *testing.T) {
	is := is.New(t)
	server := vaulttest.New(t)
	server.Put("secret/a", `{"v":"`+canary+`"}`)
	server.Seal()
	c := command{env: []string{"VAULT_ADDR=" + server.Address(), "VAULT_TOKEN=" + server.Token(), `A={"v":"` + second + `"}`}}
	r := c.start(t, execArgs(program("server"), append(fast, "--env=VALUE=a#v", "--backend=vault", "--fallback=env")...)...)
	r.stdout.await(t, second+";")
	server.Recover()
	r.stdout.await(t, canary+";")
	is.Equal(r.end(t).code, 42)
}

// Another version with the same value is no reason to restart.
func TestExecDoesNotRestartForTheSameValue(t *testing.T) {
	is := is.New(t)
	server, r := watched(t)
	server.Put("secret/a", `{"v":"`+canary+`","other":"x"}`)
	pass(t, func() int { return server.Count("secret/a") })
	is.Equal(count(r.stdout.String(), "start"), 1)
	server.Put("secret/a", `{"v":"`+second+`"}`)
	r.stdout.await(t, second+";") // the control
	is.Equal(r.end(t).code, 42)
}

// A value that no variable can hold leaves the program as it is.
func TestExecKeepsTheProgramIfAValueCannotBeUsed(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	r := s.command().start(t, execArgs(program("server"), "--env=VALUE=a", "--watch", "--mask")...)
	r.stdout.await(t, mark+";")
	s.put("a", second+"\x00")
	r.stderr.await(t, "NUL")
	is.Equal(count(r.stdout.String(), "start"), 1)
	s.put("a", third)
	r.stderr.await(t, "restarting")
	eventually(t, "start", func() bool { return count(r.stdout.String(), "start") == 2 })
	got := r.end(t)
	is.Equal(got.code, 42)
	for _, value := range []string{canary, second, third} {
		secretstest.AssertNoLeak(t, value, got.all())
	}
}

func TestExecRestartsInTurn(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	shell := []string{"--", "sh", "-c", `trap 'sleep 1; exit 0' TERM; echo "start $VALUE;"; while :; do sleep 0.05; done`}
	r := s.command().start(t, execArgs(shell, "--env=VALUE=a", "--watch", "--interval=50ms")...)
	r.stdout.await(t, "start")
	s.put("a", second)
	r.stderr.await(t, "restarting")
	s.put("a", third) // while the program ends
	r.stdout.await(t, third+";")
	got := r.end(t)
	is.Equal(got.code, 0)
	is.True(count(got.stdout, "start") <= 3)
}

// A value that no variable can hold does not cost a program that runs.
func TestExecKeepsTheProgramIfAValueIsTooLarge(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // other systems limit all variables together
	}
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	shell := []string{"--", "sh", "-c", `echo "start ${#VALUE}"; while :; do sleep 0.05; done`}
	r := s.command().start(t, execArgs(shell, "--env=VALUE=a", "--watch", "--interval=50ms")...)
	r.stdout.await(t, "start")
	s.put("a", strings.Repeat("x", 140_000))
	r.stderr.await(t, "too large")
	s.put("a", "fits")
	r.stdout.await(t, "start 4")
	is.Equal(count(r.stdout.String(), "start"), 2)
	is.NoErr(r.Process.Signal(syscall.SIGTERM))
	r.wait(t)
}

// A program that survives SIGINT or SIGQUIT is still watched.
func TestExecWatchesAfterAnInterruptThatTheProgramSurvives(t *testing.T) {
	is := is.New(t)
	for _, sent := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		s := newStore(t, map[string]string{"a": "first"})
		shell := []string{"--", "sh", "-c", `trap 'echo survived' INT QUIT; echo "start $VALUE"; while :; do sleep 0.05; done`}
		r := s.command().start(t, execArgs(shell, "--env=VALUE=a", "--watch", "--interval=50ms")...)
		r.stdout.await(t, "start first")
		is.NoErr(r.Process.Signal(sent))
		r.stdout.await(t, "survived")
		s.put("a", "second")
		r.stdout.await(t, "start second")
		is.NoErr(r.Process.Signal(syscall.SIGTERM))
		r.wait(t)
	}
}

// With --mask, what a program leaves running may write on. SIGTERM ends the command all the same.
func TestExecMaskEndsWithATalkativeLeftover(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	shell := []string{"--", "sh", "-c", `(while echo tick; do sleep 0.1; done) & exit 3`}
	r := s.command().start(t, execArgs(shell, "--env=VALUE=a", "--mask")...)
	r.stdout.await(t, "tick\ntick\ntick")
	is.NoErr(r.Process.Signal(syscall.SIGTERM))
	is.Equal(r.wait(t).code, 3)
}

// Output that is lost is an error, and not silence.
func TestExecMaskTellsOfLostOutput(t *testing.T) {
	is := is.New(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		return // only some systems have it
	}
	defer full.Close()
	s := newStore(t, map[string]string{"a": canary})
	cmd := s.command().cmd(t, execArgs([]string{"--", "sh", "-c", "echo hi"}, "--env=VALUE=a", "--mask")...)
	var stderr output
	cmd.Stdout, cmd.Stderr = full, &stderr
	is.True(cmd.Run() != nil)
	is.Equal(cmd.ProcessState.ExitCode(), exitOther)
	stderr.await(t, "no space left")
}

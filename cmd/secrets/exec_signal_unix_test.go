//go:build linux || darwin

package main

import (
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/vaultserver"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// asChild and inItsPlace are flags that make the program a child of the command, and not.
const (
	asChild    = "--mask"
	inItsPlace = "--mask=false"
)

func TestExecPassesEachSignalOn(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	for _, how := range []string{inItsPlace, asChild} {
		r := s.command().start(t, execArgs(program("server"), "--env=VALUE=a", how)...)
		r.stdout.await(t, "start")
		for _, number := range []syscall.Signal{
			syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGWINCH, syscall.SIGABRT,
		} {
			is.NoErr(r.Process.Signal(number))
			r.stdout.await(t, "signal "+strconv.Itoa(int(number))+" ")
		}
		is.NoErr(r.Process.Signal(syscall.SIGTERM))
		got := r.wait(t)
		is.Equal(got.code, 42) // that of the program
		is.Equal(count(got.stdout, "signal "), 9)
		is.Equal(strings.Contains(got.stdout, "start "+strconv.Itoa(r.Process.Pid)), how == inItsPlace)
	}
}

func TestExecOfAProgramThatASignalEnds(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	for _, number := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGTERM} {
		shell := []string{"--", "sh", "-c", "kill -" + strconv.Itoa(int(number)) + " $$"}
		r := s.command().start(t, execArgs(shell, inItsPlace)...)
		r.wait(t)
		status, _ := r.ProcessState.Sys().(syscall.WaitStatus)
		is.Equal(status.Signal(), number) // exactly
		is.Equal(s.command().run(t, execArgs(shell, asChild)...).code, 128+int(number))
	}
}

// A signal that the caller ignores, as nohup and the shell do, is ignored in the program.
func TestExecLeavesIgnoredSignalsIgnored(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	for _, how := range []string{inItsPlace, asChild} {
		for _, test := range []struct{ trap, want string }{{"HUP INT", "true true\n"}, {"USR1", "false false\n"}} {
			cmd := s.command().cmd(t, execArgs(program("ignored"), how)...)
			cmd.Args = append([]string{"sh", "-c", "trap '' " + test.trap + `; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
			cmd.Path = "/bin/sh"
			got, err := cmd.Output()
			is.NoErr(err)
			is.Equal(string(got), test.want)
		}
	}
}

// A signal that comes before the program has started ends the command.
func TestExecInterruptedBeforeTheStart(t *testing.T) {
	is := is.New(t)
	hole := vaultserver.NewBlackHole(t)
	c := command{env: []string{"VAULT_ADDR=" + hole.Addr, "VAULT_TOKEN=" + canary}}
	r := c.start(t, execArgs(program("server"), "--env=VALUE=a#b", "--timeout=1h")...)
	eventually(t, "connection", func() bool { return hole.Connections() > 0 })
	is.NoErr(r.Process.Signal(syscall.SIGTERM))
	got := r.wait(t)
	is.Equal(got.code, 1)
	is.Equal(got.stdout, "")
	is.Equal(got.stderr, "secrets: exec: interrupted; nothing was started\n")
}

// onTerminal starts the command on a terminal of its own.
func onTerminal(t *testing.T, cmd *exec.Cmd) (terminal *os.File, shown *output) {
	t.Helper()
	terminal, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	shown = new(output)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(shown, terminal)
	}()
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		_ = terminal.Close()
		<-done
	})
	return terminal, shown
}

func TestExecOnATerminal(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	for flag, want := range map[string]string{"--watch=false": "true true true", "--watch": "true true true", "--mask": "true false false"} {
		cmd := s.command().cmd(t, execArgs(program("terminal"), "--env=VALUE=a", flag)...)
		_, shown := onTerminal(t, cmd)
		shown.await(t, want)
		is.NoErr(cmd.Wait())
		secretstest.AssertNoLeak(t, canary, shown.String())
	}
}

// What is typed reaches the program once: a second SIGINT ends many programs at once.
func TestExecOnATerminalPassesAnInterruptOnOnce(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	for _, flag := range []string{"--watch=false", "--watch", "--mask"} {
		cmd := s.command().cmd(t, execArgs(program("server"), flag)...)
		terminal, shown := onTerminal(t, cmd)
		shown.await(t, "start")
		for typed, number := range map[string]string{"\x03": "signal 2 ", "\x1c": "signal 3 "} {
			_, err := terminal.WriteString(typed)
			is.NoErr(err)
			shown.await(t, number)
		}
		is.NoErr(pty.Setsize(terminal, &pty.Winsize{Rows: 10, Cols: 20}))
		shown.await(t, "signal 28 ") // SIGWINCH
		is.NoErr(cmd.Process.Signal(syscall.SIGTERM))
		_ = cmd.Wait()
		is.Equal(cmd.ProcessState.ExitCode(), 42)
		is.Equal(strings.Count(shown.String(), "signal 2 "), 1)
		is.Equal(strings.Count(shown.String(), "signal 3 "), 1)
	}
}

//go:build unix

package main

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestGetOnATerminalNeedsReveal(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})

	cmd := s.command().cmd(t, "get", "a")
	_, shown := onTerminal(t, cmd)
	_ = cmd.Wait()
	is.Equal(cmd.ProcessState.ExitCode(), exitUsage)
	shown.await(t, "--reveal")
	secretstest.AssertNoLeak(t, canary, shown.String())

	cmd = s.command().cmd(t, "get", "a", "--reveal")
	_, shown = onTerminal(t, cmd)
	is.NoErr(cmd.Wait())
	shown.await(t, canary+"\r\n") // the control, with a newline for the prompt
}

func TestColoursOnlyOnATerminal(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	is.True(!strings.Contains(s.command().run(t, "check", "a").stdout, "\033["))
	for _, tc := range []struct {
		env      []string
		coloured bool
	}{{[]string{"TERM=xterm"}, true}, {[]string{"TERM=xterm", "NO_COLOR=1"}, false}, {[]string{"TERM=dumb"}, false}} {
		cmd := s.command(tc.env...).cmd(t, "check", "a")
		_, shown := onTerminal(t, cmd)
		is.NoErr(cmd.Wait())
		shown.await(t, "found")
		is.Equal(strings.Contains(shown.String(), "\033["), tc.coloured)
	}
}

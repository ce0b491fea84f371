package main

import (
	"bufio"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest"
)

const mark = "[REDACTED]"

func TestExecMasksWhereverWritesCut(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	want := strings.Repeat(mark+"\n", len(canary)+1)
	r := s.command().run(t, execArgs(program("split", "A"), "--env=A=a", "--mask")...)
	is.Equal(r.stdout, want)
	is.Equal(r.stderr, want)
	is.Equal(r.code, 0)
	secretstest.AssertNoLeak(t, canary, r.all())

	want = strings.Repeat(canary+"\n", len(canary)+1)
	r = s.command().run(t, execArgs(program("split", "A"), "--env=A=a")...) // the control
	is.Equal(r.stdout, want)
	is.Equal(r.stderr, want)
}

func TestExecMasksAndPassesTheRestOn(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"tls": pem, "short": "ab1", "word": "password"})
	r := s.command("OTHER="+canary).run(t, execArgs(program("env"), "--env=TLS=tls", "--env=SHORT=short", "--env=WORD=word", "--mask")...)
	is.Equal(r.code, 0)
	is.True(!strings.Contains(r.stdout, "MIIB\n日本語"))
	got := variables(r)
	is.Equal(got["OTHER"], canary)    // no secret of the command
	is.Equal(got["SHORT"], "ab1")     // too short to be masked
	is.Equal(got["WORD"], "password") // only letters
}

// A program whose reader has gone ends as it does alone: by SIGPIPE, or an error of its write.
func TestExecMaskWhenTheReaderGoes(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	for _, more := range []string{"--mask=false", "--mask"} {
		cmd := s.command().cmd(t, execArgs(program("flood", "A"), "--env=A=a", more)...)
		stdout, err := cmd.StdoutPipe()
		is.NoErr(err)
		is.NoErr(cmd.Start())
		line, err := bufio.NewReader(stdout).ReadString('\n')
		is.NoErr(err)
		is.Equal(line, map[bool]string{true: mark, false: canary}[more == "--mask"]+"\n")
		is.NoErr(stdout.Close())
		_, ok := errors.AsType[*exec.ExitError](cmd.Wait())
		is.True(ok) // it has ended
		// Alone, the kernel ends it: the exit code of Go is then -1, and 128+13 of the command.
		is.True(cmd.ProcessState.ExitCode() == map[bool]int{true: 141, false: -1}[more == "--mask"] || cmd.ProcessState.ExitCode() == 1)
	}
}

// A reader that is slow gets everything, also after the program has ended.
func TestExecMaskWithASlowReader(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": strings.Repeat(canary+"\n", 2000)})
	cmd := s.command().cmd(t, execArgs(program("env"), "--env=A=a", "--mask", "--pristine", "--env=Z=a")...)
	stdout, err := cmd.StdoutPipe()
	is.NoErr(err)
	is.NoErr(cmd.Start())
	all, err := io.ReadAll(iotestSlow{stdout})
	is.NoErr(err)
	is.NoErr(cmd.Wait())
	secretstest.AssertNoLeak(t, canary, all)
	is.True(strings.Contains(string(all), "Z="+mark))
	is.True(strings.HasSuffix(string(all), "\x00"))
}

// iotestSlow reads little at a time.
type iotestSlow struct{ io.Reader }

func (s iotestSlow) Read(p []byte) (int, error) { return s.Reader.Read(p[:min(len(p), 64)]) }

// What the program has left running is masked, too, and passed on before the command ends.
func TestExecMaskOfWhatTheProgramLeaves(t *testing.T) {
	is := is.New(t)
	s := newStore(t, map[string]string{"a": canary})
	r := s.command().run(t, execArgs(program("leave", "A"), "--env=A=a", "--mask")...)
	is.Equal(r.code, 0)
	is.Equal(r.stdout, "first\nlater "+mark+"\n")
}

package child_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets/internal/child"
)

var _ child.TB = testing.TB(nil)

func TestMain(m *testing.M) {
	if text := os.Getenv("CHILD_TEST_SAYS"); text != "" {
		_, _ = os.Stdout.WriteString(text)
		os.Exit(len(text))
	}
	goleak.VerifyTestMain(m)
}

func TestStart(t *testing.T) {
	is := is.New(t)
	log := filepath.Join(t.TempDir(), "log")
	for _, text := range []string{"one", "three"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "CHILD_TEST_SAYS="+text)
		p, err := child.Start(cmd, log)
		is.NoErr(err)
		<-p.Done
		is.True(p.Err != nil) // its exit code
		is.Equal(cmd.ProcessState.ExitCode(), len(text))
		said, err := os.ReadFile(log)
		is.NoErr(err)
		is.Equal(string(said), text)
	}
}

func TestStartFails(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	_, err := child.Start(exec.CommandContext(t.Context(), filepath.Join(dir, "none")), filepath.Join(dir, "log"))
	is.True(os.IsNotExist(err))
	_, err = child.Start(exec.CommandContext(t.Context(), os.Args[0]), filepath.Join(dir, "none", "log"))
	is.True(os.IsNotExist(err))
}

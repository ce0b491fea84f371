//go:build vault

package postgresserver_test

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/postgresserver"
)

// A server ends when the test process is killed.
func TestServerDiesWithTheTests(t *testing.T) {
	const child = "POSTGRESSERVER_TEST_CHILD"
	if os.Getenv(child) != "" {
		server := postgresserver.Start(t)
		_, _ = os.Stdout.WriteString("addr " + server.Addr + "\n")
		select {} // until it is killed
	}
	is := is.New(t)
	dir, err := os.MkdirTemp("", "postgres-test-") //nolint:usetesting // the other user cannot enter what t makes
	is.NoErr(err)
	defer os.RemoveAll(dir)
	is.NoErr(os.Chmod(dir, 0o711))
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestServerDiesWithTheTests$")
	cmd.Env = append(os.Environ(), child+"=1", "TMPDIR="+dir)
	output, err := cmd.StdoutPipe()
	is.NoErr(err)
	is.NoErr(cmd.Start())
	var addr string
	for lines := bufio.NewScanner(output); addr == "" && lines.Scan(); {
		if after, found := strings.CutPrefix(lines.Text(), "addr "); found {
			addr = after
		}
	}
	dial := func() error {
		connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err == nil {
			_ = connection.Close()
		}
		return err
	}
	is.NoErr(dial()) // it serves
	is.NoErr(cmd.Process.Signal(syscall.SIGKILL))
	is.True(cmd.Wait() != nil)

	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); dial() == nil; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("the server serves on after the tests were killed")
		}
	}
}

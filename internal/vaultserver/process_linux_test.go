//go:build vault

package vaultserver_test

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/vaultserver"
)

// A server ends when the test process is killed.
func TestServerDiesWithTheTests(t *testing.T) {
	if os.Getenv("VAULTSERVER_TEST_CHILD") != "" {
		server, err := vaultserver.New()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString("addr " + server.Addr + "\n")
		select {} // until it is killed
	}
	t.Parallel()
	is := is.New(t)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestServerDiesWithTheTests$")
	child.Env = append(os.Environ(), "VAULTSERVER_TEST_CHILD=1", "TMPDIR="+t.TempDir())
	output, err := child.StdoutPipe()
	is.NoErr(err)
	is.NoErr(child.Start())
	var addr string
	for lines := bufio.NewScanner(output); addr == "" && lines.Scan(); {
		if after, found := strings.CutPrefix(lines.Text(), "addr "); found {
			addr = after
		}
	}
	_, _, err = get(t.Context(), addr+"/v1/sys/health", "")
	is.NoErr(err) // serves
	is.NoErr(child.Process.Signal(syscall.SIGKILL))
	is.True(child.Wait() != nil)

	// The kernel kills it a moment later.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-tick.C {
		if _, _, err = get(t.Context(), addr+"/v1/sys/health", ""); err != nil {
			return
		}
	}
	t.Fatal("the server serves on after " + strconv.Itoa(child.Process.Pid) + " was killed")
}

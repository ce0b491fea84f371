package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// longest is how long a test waits for what must happen, on a machine that is busy.
const longest = 60 * time.Second

// cmd returns the command, not started. It ends with the test at the latest.
func (c command) cmd(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary(t), args...)
	cmd.Dir = c.dir
	cmd.Env = append([]string{"HOME=" + t.TempDir(), "AWS_EC2_METADATA_DISABLED=true", "PATH=" + os.Getenv("PATH")}, c.env...)
	return cmd
}

// running is a command that has been started.
type running struct {
	*exec.Cmd
	stdout, stderr output
}

func (c command) start(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{Cmd: c.cmd(t, args...)}
	r.Stdin, r.Stdout, r.Stderr, r.WaitDelay = strings.NewReader(c.stdin), &r.stdout, &r.stderr, longest
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.ProcessState == nil {
			_ = r.Process.Kill()
			_ = r.Wait()
		}
	})
	return r
}

// wait returns when the command has ended.
func (r *running) wait(t *testing.T) result {
	t.Helper()
	if err := r.Wait(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	return result{r.stdout.String(), r.stderr.String(), r.ProcessState.ExitCode()}
}

// output is a buffer that may be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// await returns when the output contains the text, and fails the test if that takes too long.
func (o *output) await(t *testing.T, text string) {
	t.Helper()
	eventually(t, "output with "+text, func() bool { return strings.Contains(o.String(), text) })
}

// eventually polls until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(longest); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("no %s within %v", what, longest)
		}
	}
}

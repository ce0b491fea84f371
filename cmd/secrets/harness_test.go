package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// built is the path of the command, which TestMain builds.
var built string

func TestMain(m *testing.M) {
	if code, ok := asProgram(os.Args); ok {
		os.Exit(code)
	}
	dir, err := os.MkdirTemp("", "secrets-command-")
	if err == nil {
		built = filepath.Join(dir, "secrets")
		if runtime.GOOS == "windows" {
			built += ".exe"
		}
		args := []string{"build", "-o", built}
		if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
			args = append(args, "-race")
		}
		build := exec.CommandContext(context.Background(), "go", append(args, ".")...)
		build.Stderr = os.Stderr
		err = build.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot build the command:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

func binary(t testing.TB) string {
	t.Helper()
	return built
}

// command is a run of the command with an environment of its own.
type command struct {
	env   []string
	stdin string
	dir   string
}

type result struct {
	stdout, stderr string
	code           int
}

func (c command) run(t testing.TB, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(t), args...)
	cmd.Dir = c.dir
	cmd.Env = append([]string{"HOME=" + t.TempDir(), "AWS_EC2_METADATA_DISABLED=true", "PATH=" + os.Getenv("PATH")}, c.env...)
	if runtime.GOOS == "windows" {
		cmd.Env = append(cmd.Env, "SYSTEMROOT="+os.Getenv("SYSTEMROOT"))
	}
	cmd.Stdin = strings.NewReader(c.stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

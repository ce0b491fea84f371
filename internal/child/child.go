// Package child runs the servers of tests as children of the test process:
//
//	cmd := exec.Command(binary, "server")
//	p, err := child.Start(cmd, log)
//	…
//	<-p.Done
package child

import (
	"os"
	"os/exec"
	"runtime"
)

// TB is the subset of *testing.T, *testing.B and *testing.F that a test server uses. Non-test code thus needs no import of package testing.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(f func())
}

// Process is a started child; one goroutine waits for it.
type Process struct {
	OS   *os.Process
	Done chan struct{} // closed at its end
	Err  error         // of Wait; valid once Done is closed
}

// Start starts cmd and truncates the file log, to which the child writes directly: the log is complete even if the test process dies. With
// SysProcAttr.Pdeathsig, the kernel kills the child when the test process ends for any reason.
func Start(cmd *exec.Cmd, log string) (*Process, error) {
	const private = 0o600
	output, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, private) //nolint:gosec // the test server names its log
	if err != nil {
		return nil, err
	}
	defer output.Close() //nolint:errcheck // the child has its own handle
	cmd.Stdout, cmd.Stderr = output, output

	p := &Process{Done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Pdeathsig takes effect when the starting thread ends, so that thread waits for the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.Done)
		err := cmd.Start()
		p.OS = cmd.Process
		started <- err
		if err == nil {
			p.Err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		<-p.Done
		return nil, err
	}
	return p, nil
}

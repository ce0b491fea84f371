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

// TB is what a server for tests needs of a *testing.T, a *testing.B or a *testing.F. It keeps package testing out of what is no test.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(f func())
}

// Process is a child that has been started, and is waited for by one goroutine.
type Process struct {
	OS   *os.Process
	Done chan struct{} // closed at its end
	Err  error         // how it ended, once Done is closed
}

// Start starts cmd, whose output goes to the file log, a new one or in the place of what is there. The output is not copied by the test
// process, so that the log is whole up to the last moment of either. With SysProcAttr.Pdeathsig, the kernel ends the child when the
// test process ends, in whatever way.
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
		// The kernel ends the child when the thread that started it ends, so that thread waits for it.
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

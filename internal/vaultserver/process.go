package vaultserver

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// A process is a child that has been started, and is waited for by one goroutine.
type process struct {
	os   *os.Process
	done chan struct{} // closed at its end
	err  error         // how it ended, once done is closed
}

// startProcess starts a program whose output goes to the file log. The output is not copied by the test process, so the log is
// whole up to the last moment of either.
func startProcess(binary string, args, env []string, log string) (*process, error) {
	output, err := os.OpenFile(log, newFile, private)
	if err != nil {
		return nil, fmt.Errorf("vaultserver: %w", err)
	}
	defer output.Close() // the child has its own handle

	cmd := exec.Command(binary, args...) //nolint:noctx // the binary of the server; it ends by kill
	cmd.Env, cmd.Stdout, cmd.Stderr = env, output, output
	cmd.SysProcAttr = diesWithParent()

	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel kills the child when the thread that started it ends, so that thread waits for it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		p.os = cmd.Process
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		<-p.done
		return nil, fmt.Errorf("vaultserver: %w", err)
	}
	return p, nil
}

// kill ends the process, frozen or not, and returns when it is gone. A server in memory has nothing to save.
func (p *process) kill() {
	_ = p.os.Kill()
	<-p.done
}

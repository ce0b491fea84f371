package vaultserver

import (
	"fmt"
	"os/exec"

	"github.com/seed-5482dd03/secrets/internal/child"
)

// A process is a child of the tests.
type process struct {
	*child.Process
}

// startProcess starts a program whose output goes to the file log.
func startProcess(binary string, args, env []string, log string) (*process, error) {
	cmd := exec.Command(binary, args...) //nolint:noctx // kill ends it
	cmd.Env, cmd.SysProcAttr = env, diesWithParent()
	p, err := child.Start(cmd, log)
	if err != nil {
		return nil, fmt.Errorf("vaultserver: %w", err)
	}
	return &process{p}, nil
}

// kill ends the process, frozen or not, and waits for its end. A server in memory has nothing to save.
func (p *process) kill() {
	_ = p.OS.Kill()
	<-p.Done
}

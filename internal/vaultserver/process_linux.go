package vaultserver

import "syscall"

// diesWithParent makes the kernel kill a child when the test process ends for any reason, such as a panic or the timeout of go test.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

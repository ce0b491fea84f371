package vaultserver

import "syscall"

// diesWithParent makes the kernel kill a child when the test process ends, in whatever way: a server outlives no test that
// panics, is killed, or runs into the timeout of go test.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

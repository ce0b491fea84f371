//go:build !linux

package vaultserver

import "syscall"

// diesWithParent does nothing where the kernel has no such thing: a server may outlive a test process that was killed.
func diesWithParent() *syscall.SysProcAttr { return nil }

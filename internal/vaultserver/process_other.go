//go:build !linux

package vaultserver

import "syscall"

// diesWithParent does nothing on this system: a server may outlive a killed test process.
func diesWithParent() *syscall.SysProcAttr { return nil }

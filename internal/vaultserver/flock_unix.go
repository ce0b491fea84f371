//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package vaultserver

import (
	"os"
	"syscall"
)

// flock waits until no other process has the lock. It ends with the file's last handle, so also with the process.
func flock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }

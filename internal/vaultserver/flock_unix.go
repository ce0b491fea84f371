//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package vaultserver

import (
	"os"
	"syscall"
)

// flock waits for the lock on f. The lock ends with the last handle of f, and thus with the process.
func flock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }

//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package vaultserver

import "os"

// flock does nothing: package syscall has no file locks on this system. Concurrent processes may all build the binary, and the last one's
// stays.
func flock(*os.File) error { return nil }

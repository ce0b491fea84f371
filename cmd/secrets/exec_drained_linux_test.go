package main

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// drained returns when the reader of a pipe has taken all that was written to it.
func drained(pipe *os.File) {
	for {
		if n, err := unix.IoctlGetInt(int(pipe.Fd()), unix.TIOCINQ); err != nil || n == 0 {
			return
		}
		runtime.Gosched()
	}
}

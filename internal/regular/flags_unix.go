//go:build unix

package regular

import (
	"os"
	"syscall"
)

// flags let the opening of a FIFO or a device return at once, and never make a terminal the program's own.
const flags = os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_NOCTTY

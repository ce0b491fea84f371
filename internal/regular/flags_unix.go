//go:build unix

package regular

import (
	"os"
	"syscall"
)

// flags make opening a FIFO or a device return at once, and never take a terminal as the controlling one.
const flags = os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_NOCTTY

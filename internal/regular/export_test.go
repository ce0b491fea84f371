//go:build linux

package regular

import "golang.org/x/sys/unix"

// OldStat is Stat on a system without statx.
func OldStat(name string) (Info, error) { return oldStat(unix.AT_FDCWD, name, 0) }

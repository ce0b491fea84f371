package main

import "golang.org/x/sys/unix"

// isInMemory reports whether the directory is of a file system that is in memory only.
func isInMemory(dir string) (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return false, err
	}
	return fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC, nil
}

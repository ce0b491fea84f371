//go:build !linux

package main

import "os"

// newUnnamed is newNamed: only Linux has files without a name.
func newUnnamed(dir string) (*os.File, func() (string, error), error) { return newNamed(dir) }

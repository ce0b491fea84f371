//go:build !linux

package main

// isInMemory is not asked: no other system has a file system in memory that every program can use.
func isInMemory(string) (bool, error) { return false, nil }

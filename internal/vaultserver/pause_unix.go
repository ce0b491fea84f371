//go:build unix

package vaultserver

import "syscall"

func (p *process) pause() error { return p.OS.Signal(syscall.SIGSTOP) }

func (p *process) resume() error { return p.OS.Signal(syscall.SIGCONT) }

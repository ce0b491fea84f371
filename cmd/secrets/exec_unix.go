//go:build unix

package main

import (
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// canReplace says that a program can take the place of the command.
const canReplace = true

func replace(path string, args, env []string) error {
	return syscall.Exec(path, args, env) //nolint:gosec // to run a program is what exec is for
}

// caught returns the signals that must not end the command while a program runs, but for those that the caller ignores: so does the
// program then.
func caught() (all []os.Signal) {
	const last = 64
	never := []syscall.Signal{
		syscall.SIGKILL, syscall.SIGSTOP, // nobody can
		syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, // the command stops with the program
		syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPROF, // of the runtime
		syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGSYS, // faults of the command
		32, 33, // of the C library
	}
	for number := syscall.Signal(1); number <= last; number++ {
		if !slices.Contains(never, number) && !signal.Ignored(number) {
			all = append(all, number)
		}
	}
	return all
}

// passedOn reports whether the program gets the signal from the command.
func passedOn(s os.Signal) bool {
	switch s {
	case syscall.SIGPIPE: // the reader of the command has gone
		return false
	case syscall.SIGINT, syscall.SIGQUIT: // a terminal sends it to both
		return !inForeground()
	default:
		return true
	}
}

// inForeground reports whether the command and its program get what is typed on a terminal.
func inForeground() bool {
	terminal, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer terminal.Close() //nolint:errcheck // nothing was written
	group, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// signalNamed returns the signal of that name, or nil.
func signalNamed(name string) os.Signal {
	if number := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")); number != 0 {
		return number
	}
	return nil
}

// terminate asks a program to end.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// statusOf returns the exit code of a program that has ended, as a shell has it.
func statusOf(state *os.ProcessState) int {
	const signaled = 128
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return signaled + int(status.Signal())
	}
	return state.ExitCode()
}

//go:build !unix

package main

import (
	"errors"
	"os"
	"syscall"
)

// canReplace says that a program can take the place of the command.
const canReplace = false

func replace(string, []string, []string) error { return errors.ErrUnsupported }

// caught returns the signals that must not end the command while a program runs.
func caught() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

// passedOn reports whether the program gets the signal from the command: the console sends it to both.
func passedOn(os.Signal) bool { return false }

// signalNamed returns the signal of that name. No process can be sent one.
func signalNamed(string) os.Signal { return nil }

// terminate ends a program: there is no way to ask it.
func terminate(p *os.Process) error { return p.Kill() }

// statusOf returns the exit code of a program that has ended.
func statusOf(state *os.ProcessState) int { return state.ExitCode() }

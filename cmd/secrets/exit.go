package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/seed-5482dd03/secrets"
)

// The exit codes. Higher is worse, but for exitOther, which is the worst.
const (
	exitFound       = 0
	exitOther       = 1
	exitNotFound    = 2
	exitDenied      = 3
	exitUnavailable = 4
	exitUsage       = 5
)

// exitError is an error with an exit code of its own. Its err may be nil: then nothing is printed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usage returns an error of how the command was called.
func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf("secrets: "+format, args...)}
}

// exitCode returns the exit code for err.
func exitCode(err error) int {
	if own, ok := errors.AsType[*exitError](err); ok {
		return own.code
	}
	if many, ok := errors.AsType[secrets.Errors](err); ok {
		code := exitFound
		for _, one := range many {
			code = worse(code, exitCode(one))
		}
		return code
	}
	switch class := secrets.Class(err); {
	case err == nil:
		return exitFound
	case errors.Is(class, secrets.ErrNotFound):
		return exitNotFound
	case errors.Is(class, secrets.ErrPermissionDenied), errors.Is(class, secrets.ErrUnauthenticated):
		return exitDenied
	case errors.Is(class, secrets.ErrUnavailable):
		return exitUnavailable
	case errors.Is(class, secrets.ErrInvalidKey):
		return exitUsage
	default:
		return exitOther
	}
}

// worse returns the worse of two exit codes.
func worse(a, b int) int {
	if a == exitOther || b == exitOther {
		return exitOther
	}
	return max(a, b)
}

// lines returns what is printed of err: a line for each error in it.
func lines(err error) (all []string) {
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			all = append(all, line)
		}
	}
	return all
}

package main

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A configuration that cannot work ends the service at once, and the error says what to change.
func TestFaults(t *testing.T) {
	is := is.New(t)
	logger := slog.New(slog.DiscardHandler)
	t.Setenv("SECRET_MANAGER_PATH", t.TempDir()+"/nowhere")
	err := run(t.Context(), logger, "host=127.0.0.1", "127.0.0.1:0")
	is.True(strings.Contains(err.Error(), "SECRET_MANAGER_PATH"))

	t.Setenv("SECRET_MANAGER_PATH", t.TempDir())
	err = run(t.Context(), logger, "host=127.0.0.1", "127.0.0.1:0")
	is.True(strings.Contains(err.Error(), "database"))
}

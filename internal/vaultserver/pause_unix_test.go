//go:build vault && unix

package vaultserver_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/vaultserver"
)

func TestPause(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	server := vaultserver.Start(t)
	server.Must(t, "POST", "secret/data/app", secret("hunter2"))

	server.Pause(t)
	const longEnough = 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	_, _, err := get(ctx, server.Addr+"/v1/secret/data/app", server.RootToken)
	is.True(errors.Is(err, context.DeadlineExceeded)) // accepts and does not answer

	server.Resume(t)
	is.Equal(password(server.Must(t, "GET", "secret/data/app", nil)), "hunter2")

	server.Pause(t) // a test can end while its server is frozen
}

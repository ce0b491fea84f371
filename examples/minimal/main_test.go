package main

import (
	"errors"
	"os"
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	is := is.New(t)
	t.Setenv("SHOP_DATABASE_PASSWORD", "correct horse")
	is.NoErr(run(t.Context()))

	is.NoErr(os.Unsetenv("SHOP_DATABASE_PASSWORD")) // t.Setenv puts back what was there
	is.True(errors.Is(run(t.Context()), secrets.ErrNotFound))
}

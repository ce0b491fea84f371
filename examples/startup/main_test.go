package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "canary-7f3Kq9ZxWv2m"

func TestRun(t *testing.T) {
	is := is.New(t)
	server := awstest.NewServer(t)
	server.Setenv(t)
	server.Put("prod/shop/database", `{"user":"shop","password":"`+password+`"}`)
	server.Put("prod/shop/mail", `{"token":"battery staple"}`)
	ctx, cancel := context.WithCancel(t.Context())
	var out strings.Builder
	is.NoErr(run(ctx, &out, func(ctx context.Context, w io.Writer, config *secrets.Live[Config]) error {
		is.Equal(config.Load().DB.Password.Reveal(), password)
		cancel() // the end of the service
		return serve(ctx, w, config)
	}))
	is.Equal(out.String(), "serving as shop with password [REDACTED], 100 requests a second\n")
}

// One error names all that is missing.
func TestMissingSecrets(t *testing.T) {
	is := is.New(t)
	server := awstest.NewServer(t)
	server.Setenv(t)
	server.Put("prod/shop/database", `{"user":"shop","pasword":"`+password+`"}`)
	err := run(t.Context(), io.Discard, serve)
	is.True(errors.Is(err, secrets.ErrNotFound))
	lines := strings.Split(err.Error(), "\n")
	is.Equal(len(lines), 3)
	is.Equal(lines[0], "cannot start:")
	is.True(strings.Contains(lines[1], "Config.DB.Password (database#password)"))
	is.True(strings.Contains(lines[2], "Config.MailToken (mail#token)"))
	secretstest.AssertNoLeak(t, password, err)
}

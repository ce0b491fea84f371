package secrets_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func ExampleWithLogger() {
	remote := secretstest.NewBackend(map[string]string{"database": "s3cr3t-value"}, secretstest.WithName("remote"))
	spare := secretstest.NewBackend(map[string]string{"database": "s3cr3t-value"}, secretstest.WithName("spare"))
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTimes}))

	client, err := secrets.New(remote, secrets.WithFallback(fallback.To(spare)), secrets.WithLogger(logger))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	remote.Fail(secrets.ErrUnavailable)
	for range 100 {
		if _, err := client.Get(context.Background(), "database"); err != nil {
			fmt.Println(err)
		}
	}
	remote.Recover()
	if _, err := client.Get(context.Background(), "database"); err != nil {
		fmt.Println(err)
	}
	// Output:
	// level=WARN msg="secrets: backend unavailable" backend=remote class=unavailable detail="the test told the fake backend to fail"
	// level=WARN msg="secrets: fallback answering" backend=remote fallback=spare
	// level=INFO msg="secrets: backend available again" backend=remote
}

// withoutTimes removes what differs from run to run.
func withoutTimes(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey || a.Key == "after" {
		return slog.Attr{}
	}
	return a
}

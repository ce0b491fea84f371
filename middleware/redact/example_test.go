package redact_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// An error of a backend quotes the password. The Client masks it.
func ExampleNew() {
	backend := secretstest.NewBackend(map[string]string{"database": `{"user":"app","password":"s3cr3t/pa55"}`})
	client, err := secrets.New(backend, secrets.WithRedaction(redact.New()))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx := context.Background()
	if _, err := client.Get(ctx, "database#password"); err != nil {
		log.Fatal(err)
	}
	backend.Fail(&secrets.Error{
		Err:    secrets.ErrUnavailable,
		Detail: "no route to postgres://app:s3cr3t%2Fpa55@db/orders",
	})
	_, err = client.Get(ctx, "database#password")
	fmt.Println(err)
	// Output: secrets: fake: database#password: unavailable: no route to postgres://app:[REDACTED]@db/orders
}

// The program logs a password by mistake, and an error that quotes it in a DSN.
func ExampleRedactor_Handler() {
	backend := secretstest.NewBackend(map[string]string{"database": `{"user":"app","password":"s3cr3t/pa55"}`})

	redaction := redact.New()
	logger := slog.New(redaction.Handler(slog.NewTextHandler(os.Stdout, withoutTime)))
	client, err := secrets.New(backend, secrets.WithRedaction(redaction), secrets.WithLogger(logger))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	password, err := client.Get(context.Background(), "database#password")
	if err != nil {
		log.Fatal(err)
	}
	logger.Info("connected", "user", "app", "password", password.Reveal())
	logger.Error("lost the database", "error", fmt.Errorf("dial postgres://app:%s@db: refused", "s3cr3t%2Fpa55"))
	// Output:
	// level=INFO msg=connected user=app password=[REDACTED]
	// level=ERROR msg="lost the database" error="dial postgres://app:[REDACTED]@db: refused"
}

var withoutTime = &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}}

// The Writer masks any stream, even if two calls of Write split a value.
func ExampleRedactor_Writer() {
	backend := secretstest.NewBackend(map[string]string{"api/token": "hvs.CAESIJ-7f3Kq9ZxWv2m"})

	redaction := redact.New()
	output := redaction.Writer(os.Stdout)
	defer output.Close() // writes what is held back
	client, err := secrets.New(backend, secrets.WithRedaction(redaction))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	token, err := client.Get(context.Background(), "api/token")
	if err != nil {
		log.Fatal(err)
	}
	_, _ = io.WriteString(output, "Authorization: Bearer hvs.CAESIJ-")
	_, _ = fmt.Fprintf(output, "7f3Kq9ZxWv2m\nbase64: %s\n", base64.StdEncoding.EncodeToString(token.Bytes()))
	// Output:
	// Authorization: Bearer [REDACTED]
	// base64: [REDACTED]=
}

// Stats also report values that are not masked: a password of only digits would be found in ordinary numbers.
func ExampleRedactor_Stats() {
	backend := secretstest.NewBackend(map[string]string{"api/token": "hvs.CAESIJ-7f3Kq9ZxWv2m", "pin": "123456789"})

	redaction := redact.New()
	client, err := secrets.New(backend, secrets.WithRedaction(redaction))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	if _, err := client.GetMany(context.Background(), "api/token", "pin"); err != nil {
		log.Fatal(err)
	}
	slog.New(redaction.Handler(slog.NewTextHandler(os.Stdout, withoutTime))).Info("got hvs.CAESIJ-7f3Kq9ZxWv2m and 123456789")
	stats := redaction.Stats()
	fmt.Println(stats.Values, "values,", stats.Skipped, "skipped,", stats.Masked, "masked,", stats.Forgotten, "forgotten")
	// Output:
	// level=INFO msg="got [REDACTED] and 123456789"
	// 2 values, 1 skipped, 1 masked, 0 forgotten
}

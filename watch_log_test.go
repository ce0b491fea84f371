package secrets_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// A failure of one secret is logged once, and its end. A failure of the backend is logged as its state, with or without handles.
func TestFailuresOfHandlesAreLoggedOnce(t *testing.T) {
	var lines bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "after" {
			return slog.Attr{}
		}
		return a
	}}))
	watch(t, func(w *watching) {
		for range 10 {
			_, err := w.client.Watch(w.Context(), "db")
			w.NoErr(err)
		}
		step := func(change func(), want ...string) {
			w.Helper()
			change()
			elapse(10 * time.Minute)
			got := strings.TrimSpace(lines.String())
			lines.Reset()
			w.Equal(got, strings.Join(want, "\n"))
		}
		step(func() {})
		step(func() { w.backend.FailPath("db", secrets.ErrPermissionDenied) },
			`level=WARN msg="secrets: watched secret not renewed" backend=fake class="permission denied" `+
				`detail="the test told the fake backend to fail" key=db`)
		step(func() {})
		step(func() { w.backend.FailPath("db", secrets.NewError(secrets.ErrPermissionDenied, "another policy")) },
			`level=WARN msg="secrets: watched secret not renewed" backend=fake class="permission denied" detail="another policy" key=db`)
		step(func() { w.backend.Recover() }, `level=INFO msg="secrets: watched secret renewed again" backend=fake key=db`)
		step(func() { w.backend.Fail(secrets.NewError(secrets.ErrUnavailable, "no route")) },
			`level=WARN msg="secrets: backend unavailable" backend=fake class=unavailable detail="no route" key=db`)
		step(func() { w.backend.Recover() }, `level=INFO msg="secrets: backend available again" backend=fake key=db`)
		step(func() { w.backend.Delete("db") },
			`level=WARN msg="secrets: watched secret not renewed" backend=fake class=deleted detail="Delete was called for the document `+
				`\"db\"" key=db`)
		w.NoErr(w.client.Close())
	}, func() secrets.Option { return secrets.WithLogger(logger) }, secrets.WithLoggedKeys)
}

// A failure is one line for all handles of the document.
func TestFailuresOfTwoKeysAreOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var log bytes.Buffer
		b := secretstest.NewBackend(map[string]string{"db": `{"user":"a","password":"b"}`})
		c := open(t, b, secrets.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		for _, key := range []string{"db#user", "db#password"} {
			_, err := c.Watch(t.Context(), key)
			is.NoErr(err)
		}
		b.Set("db", `{"username":"a","pass":"b"}`)
		elapse(time.Hour)
		is.Equal(strings.Count(log.String(), "not renewed"), 1)
	})
}

func TestTheEndOfAFailureIsLoggedForItsBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var lines bytes.Buffer
		first := secretstest.NewBackend(nil, secretstest.WithName("first"))
		second := secretstest.NewBackend(map[string]string{"db": "x"}, secretstest.WithName("second"))
		client, err := secrets.New(first, secrets.WithFallback(fallback.To(second)),
			secrets.WithLogger(slog.New(slog.NewTextHandler(&lines, nil))))
		is.NoErr(err)
		h, err := client.Watch(t.Context(), "db")
		is.NoErr(err)
		second.Fail(secrets.ErrPermissionDenied)
		elapse(time.Minute)
		is.Equal(secrets.Class(h.Err()), secrets.ErrPermissionDenied)
		second.Recover()
		elapse(time.Minute)
		is.NoErr(h.Err())
		is.NoErr(client.Close())
		is.Equal(strings.Count(lines.String(), "backend=second"), 2)
		is.Equal(strings.Count(lines.String(), "backend=first"), 0)
	})
}

// No redaction covers user middleware, so only the class is logged.
func TestNoDetailOfMiddlewareIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		const value = "canary-7f3Kq9ZxWv2m"
		var log bytes.Buffer
		var deny atomic.Bool
		b := secretstest.NewBackend(map[string]string{"db": value})
		check := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
			s, err := next.Fetch(ctx, ref)
			if err == nil && deny.Load() {
				return secrets.Secret{}, secrets.NewError(secrets.ErrMalformed, "the policy refuses "+s.Reveal())
			}
			return s, err
		})
		c := open(t, b, secrets.WithMiddleware(check), secrets.WithRedaction(redact.New()),
			secrets.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		_, err := c.Watch(t.Context(), "db")
		is.NoErr(err)
		deny.Store(true)
		elapse(time.Minute)
		is.True(strings.Contains(log.String(), "not renewed"))
		is.True(!strings.Contains(log.String(), value))
	})
}

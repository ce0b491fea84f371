package secrets_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// alternates checks which values Alternates returns for key.
func (d *doing) alternates(key string, want ...string) {
	d.Helper()
	others, err := d.client.Alternates(d.Context(), key)
	d.NoErr(err)
	var values []string
	for _, s := range others {
		values = append(values, s.Reveal())
	}
	d.Equal(values, want)
}

func TestAlternates(t *testing.T) {
	inDo(t, stages, func(d *doing) {
		d.alternates("db")
		d.backend.SetVersion("db", "AWSPREVIOUS", "old")
		d.alternates("db", "old")
		d.backend.SetVersion("db", "AWSPENDING", "one") // the value of the current version
		d.Equal(d.calls(func() { d.alternates("db", "one", "old") }), 3)
		d.Equal(d.calls(func() { d.alternates("db?version=AWSPREVIOUS") }), 0)
		d.Equal(d.calls(func() { d.alternates("db?version=1") }), 0)
	}, middleware.Standard())
	inDo(t, nil, func(d *doing) {
		d.alternates("db") // the backend names none
		client := open(d.T, secretstest.NewBackend(nil))
		others, err := client.Alternates(d.Context(), "missing")
		d.NoErr(err)
		d.Equal(len(others), 0)
	})
}

func TestAlternatesOfAField(t *testing.T) {
	inDo(t, stages, func(d *doing) {
		d.backend.Set("db", `{"password":"two"}`)
		d.backend.SetVersion("db", "AWSPENDING", `{"user":"u"}`)
		d.backend.SetVersion("db", "AWSPREVIOUS", `{"password":"old"}`)
		d.alternates("db#password", "old")
	})
}

// Missing and denied versions are left out; any other failure is the error.
func TestAlternatesThatFail(t *testing.T) {
	for class, leftOut := range map[error]bool{
		secrets.ErrNotFound: true, secrets.ErrDeleted: true, secrets.ErrPermissionDenied: true,
		secrets.ErrUnavailable: false, secrets.ErrUnauthenticated: false, secrets.ErrMalformed: false, secrets.ErrUnknown: false,
	} {
		t.Run(class.Error(), func(t *testing.T) {
			inDo(t, stages, func(d *doing) {
				d.backend.SetVersion("db", "AWSPENDING", "next")
				d.backend.SetVersion("db", "AWSPREVIOUS", "old")
				d.backend.OnCall(func(_ context.Context, refs []secrets.Ref) error {
					if refs[0].Version == "AWSPENDING" {
						return class
					}
					return nil
				})
				if leftOut {
					d.alternates("db", "old")
					return
				}
				others, err := d.client.Alternates(d.Context(), "db")
				d.Equal(len(others), 0)
				d.True(errors.Is(err, class))
				d.backend.OnCall(nil)
				time.Sleep(time.Minute) // longer than a circuit breaker is open
				d.alternates("db", "next", "old")
			}, middleware.Standard())
		})
	}
}

func TestAlternatesWithoutASecret(t *testing.T) {
	inDo(t, stages, func(d *doing) {
		for key, class := range map[string]error{"missing": secrets.ErrNotFound, "/": secrets.ErrInvalidKey} {
			_, err := d.client.Alternates(d.Context(), key)
			d.True(errors.Is(err, class))
		}
		d.backend.Fail(secrets.ErrUnavailable)
		_, err := d.client.Alternates(d.Context(), "db")
		d.True(errors.Is(err, secrets.ErrUnavailable))
		ended, cancel := context.WithCancel(d.Context())
		cancel()
		_, err = d.client.Alternates(ended, "db")
		d.True(errors.Is(err, context.Canceled))
		d.NoErr(d.client.Close())
		_, err = d.client.Alternates(d.Context(), "db")
		d.True(errors.Is(err, secrets.ErrClosed))
	})
}

// The versions are those of the first backend: a fallback has none of them, and its errors do not count.
func TestAlternatesWithAFallback(t *testing.T) {
	for name, fallback := range map[string]func() secrets.Backend{
		"with that version": func() secrets.Backend {
			spare := secretstest.NewBackend(nil, secretstest.WithName("spare"))
			spare.SetVersion("db", "AWSPENDING", "spare")
			return spare
		},
		"without versions": func() secrets.Backend { return env.New() },
	} {
		t.Run(name, func(t *testing.T) {
			inDo(t, nil, func(d *doing) {
				primary := secretstest.NewBackend(map[string]string{"db": "one"})
				primary.SetVersion("db", "AWSPREVIOUS", "old")
				d.client = open(d.T, &staged{primary, stages}, to(fallback()))
				d.alternates("db", "old")
				primary.OnCall(func(_ context.Context, refs []secrets.Ref) error {
					if refs[0].Version == "AWSPREVIOUS" {
						return secrets.ErrUnavailable
					}
					return nil
				})
				_, err := d.client.Alternates(d.Context(), "db")
				d.True(errors.Is(err, secrets.ErrUnavailable))
			})
		})
	}
}

// The calls of Alternates do not change what Do tries.
func TestAlternatesLeaveDoUnchanged(t *testing.T) {
	inDo(t, stages, func(d *doing) {
		d.backend.SetVersion("db", "AWSPREVIOUS", "old")
		d.consumer.accept("old")
		d.tries("", "1", "AWSPREVIOUS")
		d.alternates("db", "old")
		d.tries("", "AWSPREVIOUS") // still tried first
	})
	inDo(t, stages, func(d *doing) {
		d.alternates("db")
		d.backend.Set("db", "two")
		d.consumer.accept("two")
		d.tries("", "2") // no back-off
	})
}

package secrets_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// journal is a log whose lines a test can read.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

// take returns the lines since the last call, without their times.
func (j *journal) take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.buf.Reset()
	return strings.TrimSpace(j.buf.String())
}

// settled waits for the events of the bubble, and then returns the lines as take does.
func (j *journal) settled() string {
	synctest.Wait()
	return j.take()
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "fetched_at" {
				return slog.Attr{}
			}
			return a
		},
	}))
}

func TestLoggerLogsChangesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var log journal
		remote := secretstest.NewBackend(map[string]string{"db": "value-in-remote"}, secretstest.WithName("remote"))
		spare := secretstest.NewBackend(map[string]string{"db": "value-in-spare", "other": "o"}, secretstest.WithName("spare"))
		client := open(t, remote, secrets.WithFallback(fallback.To(spare)), secrets.WithLogger(log.logger()),
			middleware.Standard(cache.WithTTL(time.Minute), cache.WithMaxStale(10*time.Minute), cache.WithJitter(0), cache.WithRefreshAhead(0)))
		get := func(key string) {
			t.Helper()
			for range 5 {
				_, err := client.Get(t.Context(), key)
				is.NoErr(err)
			}
		}
		get("db")
		get("other")                // only the spare has it, which is no event
		is.Equal(log.settled(), "") // nor is anything else

		remote.Fail(secrets.ErrUnavailable)
		time.Sleep(time.Minute)
		get("db")
		is.Equal(log.settled(), `level=WARN msg="secrets: backend unavailable" backend=remote class=unavailable`+
			` detail="the test told the fake backend to fail"`+"\n"+`level=WARN msg="secrets: serving stale values" backend=remote`)
		for range 20 {
			time.Sleep(20 * time.Second)
			get("db")
		}
		is.Equal(log.settled(), "")
		get("other") // no longer in the cache
		is.Equal(log.settled(), `level=WARN msg="secrets: fallback answering" backend=remote fallback=spare`)
		time.Sleep(5 * time.Minute)
		get("db")
		_, err := client.GetMany(t.Context(), "db", "other")
		is.NoErr(err)
		is.Equal(log.settled(), "")

		remote.Recover()
		time.Sleep(13 * time.Second)
		get("db")
		get("other")
		line := log.settled()
		is.True(strings.HasPrefix(line, `level=INFO msg="secrets: backend available again" backend=remote after=11m53s`))
		is.Equal(strings.Count(line, "\n"), 0)
	})
}

func TestLoggerLogsRefusedCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var log journal
		class := secrets.ErrUnauthenticated
		client := open(t, failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
			return secrets.Secret{}, class
		}), secrets.WithLogger(log.logger()))
		get := func() {
			for range 3 {
				_, _ = client.Get(t.Context(), "a")
			}
		}
		get()
		is.Equal(log.settled(), `level=ERROR msg="secrets: backend refuses the credentials" backend=fake class="not authenticated"`)
		class = secrets.ErrUnavailable // an outage says nothing about credentials
		get()
		is.Equal(log.settled(), `level=WARN msg="secrets: backend unavailable" backend=fake class=unavailable`)
		class = secrets.ErrNotFound
		get()
		is.True(strings.Contains(log.settled(), "secrets: backend accepts the credentials again"))
		class = secrets.ErrUnauthenticated
		get()
		is.Equal(log.settled(), "") // within 10 s of the last time
		time.Sleep(10 * time.Second)
		get()
		is.Equal(log.settled(), `level=ERROR msg="secrets: backend refuses the credentials" backend=fake class="not authenticated"`)
	})
}

func TestLoggerIsNotFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var log journal
		calls := 0
		client := open(t, failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
			if calls++; calls%2 == 0 {
				return secrets.Secret{}, &secrets.Error{Err: secrets.ErrUnavailable}
			}
			return secrets.NewSecret("value", secrets.Meta{}), nil
		}), secrets.WithLogger(log.logger()))
		for range 1000 {
			_, _ = client.Get(t.Context(), "a")
			time.Sleep(100 * time.Millisecond)
		}
		lines := strings.Count(log.settled(), "\n") + 1
		is.True(lines > 4)
		is.True(lines <= 22) // two in ten seconds
	})
}

// A line has the detail of the caller's error, without values, and nothing else of that error.
func TestLoggerShowsKeysOnRequestAndNeverAValue(t *testing.T) {
	const canary = "canary-value-of-a-secret"
	for name, c := range map[string]struct {
		opts      []secrets.Option
		key, show bool
	}{
		"redaction": {opts: []secrets.Option{secrets.WithRedaction(redact.New())}},
		"keys":      {opts: []secrets.Option{secrets.WithRedaction(redact.New()), secrets.WithLoggedKeys()}, key: true},
		"control":   {show: true},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			var log journal
			class := error(nil)
			client := open(t, failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
				if class == nil {
					return secrets.NewSecret(`{"password":"`+canary+`"}`, secrets.Meta{}), nil
				}
				return secrets.Secret{}, errors.Join(&secrets.Error{Err: class, Detail: "got " + canary}, errors.New("foreign "+canary))
			}), append(c.opts, secrets.WithLogger(log.logger()))...)
			get := func() error {
				_, err := client.Get(t.Context(), "team/database#password")
				return err
			}
			is.NoErr(get())
			for _, class = range []error{secrets.ErrUnavailable, secrets.ErrUnauthenticated} {
				is.True(errors.Is(get(), class))
			}
			is.NoErr(client.Close())
			text := log.take()
			is.True(strings.Contains(text, "backend unavailable"))
			is.True(strings.Contains(text, "refuses the credentials"))
			is.Equal(strings.Contains(text, "key=team/database"), c.key)
			is.Equal(strings.Contains(text, canary), c.show)
			is.Equal(strings.Contains(text, `detail="got [REDACTED]"`), !c.show)
			is.True(!strings.Contains(text, "foreign"))
		})
	}
}

func TestLoggerCutsALongDetail(t *testing.T) {
	is := is.New(t)
	for detail, want := range map[string]string{
		"":                                  "",
		strings.Repeat("x", 200):            strings.Repeat("x", 200),
		strings.Repeat("x", 201):            strings.Repeat("x", 200) + "…",
		strings.Repeat("x", 199) + "é":      strings.Repeat("x", 199) + "…", // a rune of two bytes
		strings.Repeat("é", 100) + "é":      strings.Repeat("é", 100) + "…",
		"\xff" + strings.Repeat("x", 1<<10): strings.Repeat("x", 199) + "…",
	} {
		var log journal
		client := open(t, failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
			return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, detail)
		}), secrets.WithLogger(log.logger()))
		_, _ = client.Get(t.Context(), "a")
		is.NoErr(client.Close())
		_, got, found := strings.Cut(log.take(), " detail=")
		is.Equal(found, want != "")
		is.Equal(got, want)
	}
}

// The end of a caller's own context, of the Client, or of a goroutine in a backend is no outage.
func TestLoggerIgnoresWhatIsNoOutage(t *testing.T) {
	is := is.New(t)
	var log journal
	client, err := secrets.New(failing(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
		if ref.Path == "panic" {
			panic("no")
		}
		<-ctx.Done()
		return secrets.Secret{}, &secrets.Error{Err: secrets.ErrUnavailable}
	}), secrets.WithLogger(log.logger()))
	is.NoErr(err)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	_, err = client.Get(ctx, "a")
	is.True(errors.Is(err, context.Canceled))
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err = client.Get(ctx, "a")
	is.True(errors.Is(err, context.DeadlineExceeded))
	_, err = client.Get(t.Context(), "panic")
	is.True(errors.Is(err, secrets.ErrUnknown))
	time.AfterFunc(time.Millisecond, func() { _ = client.Close() })
	_, err = client.Get(t.Context(), "a")
	is.True(errors.Is(err, secrets.ErrClosed))
	is.NoErr(client.Close()) // waits for the events
	is.Equal(log.take(), "")
}

// The end of a caller's context is no answer either.
func TestLoggerIgnoresWhatIsNoAnswer(t *testing.T) {
	for _, class := range []error{secrets.ErrUnavailable, secrets.ErrUnauthenticated} {
		for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
			t.Run(fmt.Sprintf("%v, %v", class, ended), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					var log journal
					client := open(t, failing(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
						switch ref.Path {
						case "fails":
							return secrets.Secret{}, class
						case "hangs":
							<-ctx.Done()
							return secrets.Secret{}, ctx.Err()
						default:
							return secrets.NewSecret("value", secrets.Meta{}), nil
						}
					}), secrets.WithLogger(log.logger()))
					_, _ = client.Get(t.Context(), "fails")
					is.True(log.settled() != "")
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					if ended == context.Canceled {
						time.AfterFunc(time.Millisecond, cancel)
					}
					_, err := client.Get(ctx, "hangs")
					is.True(errors.Is(err, ended))
					is.Equal(log.settled(), "")
					_, err = client.Get(t.Context(), "answers") // the control
					is.NoErr(err)
					is.True(strings.Contains(log.settled(), " again"))
				})
			})
		}
	}
}

// A second outage soon after the first one is logged too, if it lasts.
func TestLoggerLogsStaleValuesOfEachOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var log journal
		remote := secretstest.NewBackend(map[string]string{"db": "value-in-remote"})
		client := open(t, remote, secrets.WithLogger(log.logger()),
			middleware.Standard(cache.WithTTL(time.Second), cache.WithJitter(0), cache.WithRefreshAhead(0)))
		stale := func(d time.Duration) bool {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				_, err := client.Get(t.Context(), "db")
				is.NoErr(err)
			}
			return strings.Contains(log.settled(), "serving stale values")
		}
		is.True(!stale(3 * time.Second))
		remote.Fail(secrets.ErrUnavailable)
		is.True(stale(3 * time.Second))
		remote.Recover()
		is.True(!stale(3 * time.Second))
		remote.Fail(secrets.ErrUnavailable)
		is.True(stale(time.Minute))
	})
}

// A stale value is logged in an outage. One that is served because the fetch still runs says nothing about the backend.
func TestLoggerLogsStaleValuesOnlyInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var log journal
		remote := secretstest.NewBackend(map[string]string{"db": "value-in-remote"})
		client := open(t, remote, secrets.WithLogger(log.logger()),
			middleware.Standard(cache.WithTTL(time.Minute), cache.WithJitter(0), cache.WithRefreshAhead(0)))
		get := func() {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			s, err := client.Get(ctx, "db")
			is.NoErr(err)
			is.True(s.Meta().Stale)
		}
		_, err := client.Get(t.Context(), "db")
		is.NoErr(err)
		time.Sleep(2 * time.Minute)
		release := remote.Block()
		get()
		get()
		is.Equal(log.settled(), "") // the fetch still runs
		time.Sleep(5 * time.Second)
		get()
		is.Equal(log.settled(), `level=WARN msg="secrets: backend unavailable" backend=fake class=unavailable detail="no answer within 5s"`+"\n"+
			`level=WARN msg="secrets: serving stale values" backend=fake`)
		release()
	})
}

// After an answer for any document, an earlier failure of another document is no outage.
func TestLoggerLogsStaleValuesSinceTheLastAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		between error // what the backend answers for another document
		want    bool
		damped  bool // the failure comes soon after an outage
	}{
		"a value":              {nil, false, false},
		"a value, damped":      {nil, false, true},
		"control: damped":      {secrets.ErrUnavailable, true, true},
		"a not-found":          {secrets.ErrNotFound, false, false},
		"a denial":             {secrets.ErrPermissionDenied, false, false},
		"refused credentials":  {secrets.ErrUnauthenticated, false, false},
		"control: unavailable": {secrets.ErrUnavailable, true, false},
		"control: unknown":     {secrets.ErrUnknown, true, false},
		"control: closed":      {secrets.ErrClosed, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var log journal
				remote := secretstest.NewBackend(map[string]string{"db": "1", "other": "2"})
				client := open(t, remote, secrets.WithLogger(log.logger()),
					middleware.Standard(cache.WithTTL(time.Minute), cache.WithJitter(0), cache.WithRefreshAhead(0)))
				_, err := client.Get(t.Context(), "db")
				is.NoErr(err)
				time.Sleep(2 * time.Minute)
				if c.damped {
					remote.FailPath("down", secrets.ErrUnavailable)
					_, _ = client.Get(t.Context(), "down")
					_, _ = client.Get(t.Context(), "missing")
					is.True(strings.Contains(log.settled(), "available again"))
				}
				remote.FailPath("db", secrets.ErrUnavailable)
				_, err = client.Refresh(t.Context(), "db") // which never gets the stale value
				is.True(errors.Is(err, secrets.ErrUnavailable))
				if c.between != nil {
					remote.FailPath("other", c.between)
				}
				_, err = client.Get(t.Context(), "other")
				is.Equal(err == nil, c.between == nil)
				is.True(!strings.Contains(log.settled(), "stale"))
				s, err := client.Get(t.Context(), "db") // in the back-off of the document
				is.NoErr(err)
				is.True(s.Meta().Stale)
				is.Equal(strings.Contains(log.settled(), "serving stale values"), c.want)
			})
		})
	}
}

// staleCache is a cache of the program that serves stale values.
type staleCache struct {
	secrets.Cache

	outage func() bool
}

func (c *staleCache) Outage() bool { return c.outage() }

type staleLayer struct {
	*layer

	outage func() bool
}

func (l *staleLayer) NewCache(info secrets.Info, below secrets.Fetcher, share func(secrets.Fetcher) secrets.Fetcher) secrets.Cache {
	return &staleCache{l.layer.NewCache(info, below, share), l.outage}
}

// While the circuit breaker is open, the Client does not call the backend.
func TestLoggerLogsStaleValuesWhileTheBreakerIsOpen(t *testing.T) {
	for name, c := range map[string]struct {
		outage func() bool
		want   string
	}{
		"open":   {func() bool { return true }, `level=WARN msg="secrets: serving stale values" backend=fake`},
		"closed": {func() bool { return false }, ""},
		"panic":  {func() bool { panic("a cache that fails") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			var log journal
			stale := instead(func(context.Context, secrets.Ref) (secrets.Secret, error) {
				return secrets.NewSecret("value", secrets.Meta{Backend: "fake", Stale: true}), nil
			})
			client := open(t, newFake(), secrets.WithLogger(log.logger()), secrets.WithCache(&staleLayer{slot(stale.Wrap), c.outage}))
			s, err := client.Get(t.Context(), "a")
			is.NoErr(err)
			is.Equal(s.Reveal(), "value")
			is.NoErr(client.Close())
			is.Equal(log.take(), c.want)
		})
	}
}

type panicky struct{ slog.Handler }

func (panicky) Handle(context.Context, slog.Record) error { panic("a log that fails") }

func TestLoggerThatPanicsCostsNoSecret(t *testing.T) {
	is := is.New(t)
	first, second := newFake(), named("second", "a", "1")
	first.fetch = func(context.Context, secrets.Ref) (secrets.Secret, error) {
		return secrets.Secret{}, &secrets.Error{Err: secrets.ErrUnavailable}
	}
	client := open(t, first, secrets.WithFallback(fallback.To(second)),
		secrets.WithLogger(slog.New(panicky{slog.DiscardHandler})))
	s, err := client.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(s.Reveal(), "1")
	found, err := client.GetMany(t.Context(), "a")
	is.NoErr(err)
	is.Equal(len(found), 1)
	is.NoErr(client.Close())
}

func TestLoggerFaults(t *testing.T) {
	is := is.New(t)
	_, err := secrets.New(newFake(), secrets.WithLogger(nil))
	is.True(strings.Contains(err.Error(), "WithLogger: a nil Logger"))
	_, err = secrets.New(newFake(), secrets.WithLoggedKeys())
	is.True(strings.Contains(err.Error(), "WithLoggedKeys: needs WithLogger"))
}

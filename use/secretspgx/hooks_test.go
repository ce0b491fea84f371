package secretspgx_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretspgx"
)

// hooks sets all hooks of cfg to functions that record their names.
func hooks(cfg *pgxpool.Config, called *[]string) {
	note := func(name string) { *called = append(*called, name) }
	cfg.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		note("BeforeConnect")
		c.User, c.Password = "hook", "of the hook"
		c.RuntimeParams["application_name"] = "of the hook"
		return nil
	}
	inner := cfg.ConnConfig.OnPgError
	cfg.ConnConfig.OnPgError = func(conn *pgconn.PgConn, err *pgconn.PgError) bool {
		note("OnPgError " + err.Code)
		return inner(conn, err)
	}
	cfg.ConnConfig.AfterConnect = func(context.Context, *pgconn.PgConn) error {
		note("AfterConnect of pgconn")
		return nil
	}
	cfg.AfterConnect = func(context.Context, *pgx.Conn) error {
		note("AfterConnect")
		return nil
	}
	cfg.PrepareConn = func(context.Context, *pgx.Conn) (bool, error) {
		note("PrepareConn")
		return true, nil
	}
	//nolint:staticcheck // deprecated, but programs use it
	cfg.BeforeAcquire = func(context.Context, *pgx.Conn) bool {
		note("BeforeAcquire")
		return true
	}
	cfg.AfterRelease = func(*pgx.Conn) bool {
		note("AfterRelease")
		return true
	}
	cfg.BeforeClose = func(*pgx.Conn) { note("BeforeClose") }
}

func TestExistingHooksStillRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newServer(only("one"))
		cfg := s.config(t, "pool_max_conns=1")
		var called []string
		hooks(cfg, &called)
		client := newClient(t, secretstest.NewBackend(map[string]string{"db": "one"}))
		is.NoErr(secretspgx.Configure(cfg, client, "db"))
		pool := open(t, cfg)
		is.NoErr(acquire(t, pool))
		synctest.Wait() // AfterRelease runs on its own goroutine
		is.NoErr(acquire(t, pool))
		synctest.Wait()
		s.set(only("two"))
		is.Equal(stateOf(login(t, pool)), "28P01")
		is.Equal(called, []string{
			"BeforeConnect", "AfterConnect of pgconn", "AfterConnect", "PrepareConn", "AfterRelease",
			"PrepareConn", "AfterRelease",
			"BeforeClose", "BeforeConnect", "OnPgError 28P01",
		})
		is.Equal(s.logins(), []string{"hook:one", "hook:one!28P01"}) // the password is that of the secret, not of a hook
	})
}

func TestBeforeAcquireRunsWithoutPrepareConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newServer(only("one"))
		cfg := s.config(t, "")
		var called []string
		hooks(cfg, &called)
		cfg.PrepareConn = nil
		is.NoErr(secretspgx.Configure(cfg, newClient(t, secretstest.NewBackend(map[string]string{"db": "one"})), "db"))
		is.NoErr(acquire(t, open(t, cfg)))
		synctest.Wait()
		is.True(slices.Contains(called, "BeforeAcquire"))
	})
}

// The result of a hook is respected.
func TestHooksThatFail(t *testing.T) {
	failure := errors.New("its own")
	for name, tc := range map[string]struct {
		set    func(cfg *pgxpool.Config)
		logins int
	}{
		"BeforeConnect": {func(cfg *pgxpool.Config) {
			cfg.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { return failure }
		}, 0},
		"AfterConnect of pgconn": {func(cfg *pgxpool.Config) {
			cfg.ConnConfig.AfterConnect = func(context.Context, *pgconn.PgConn) error { return failure }
		}, 1},
		"PrepareConn": {func(cfg *pgxpool.Config) {
			cfg.PrepareConn = func(context.Context, *pgx.Conn) (bool, error) { return false, failure }
		}, 1},
		"PrepareConn that keeps the connection": {func(cfg *pgxpool.Config) {
			cfg.PrepareConn = func(context.Context, *pgx.Conn) (bool, error) { return true, failure }
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s := newServer(only("one"))
				cfg := s.config(t, "")
				tc.set(cfg)
				is.NoErr(secretspgx.Configure(cfg, newClient(t, secretstest.NewBackend(map[string]string{"db": "one"})), "db"))
				is.True(errors.Is(acquire(t, open(t, cfg)), failure))
				is.Equal(len(s.logins()), tc.logins)
			})
		})
	}
}

// pgx closes a connection after a FATAL error, unless the program removes OnPgError.
func TestAFatalErrorStillClosesTheConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		set    func(cfg *pgxpool.Config)
		severe bool
	}{
		"as pgx has it":     {func(*pgxpool.Config) {}, false},
		"without OnPgError": {func(cfg *pgxpool.Config) { cfg.ConnConfig.OnPgError = nil }, true},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			cfg := newServer(nil).config(t, "")
			tc.set(cfg)
			is.NoErr(secretspgx.Configure(cfg, newClient(t, secretstest.NewBackend(map[string]string{"db": "one"})), "db"))
			copied := cfg.ConnConfig.Copy()
			is.NoErr(cfg.BeforeConnect(t.Context(), copied))
			is.Equal(copied.OnPgError(&pgconn.PgConn{}, &pgconn.PgError{Severity: "FATAL", Code: "57P01"}), tc.severe)
			is.True(copied.OnPgError(&pgconn.PgConn{}, &pgconn.PgError{Severity: "ERROR", Code: "42601"}))
		})
	}
}

// Two secrets for one Config are a mistake: the last one logs in.
func TestConfigureTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := secretstest.NewBackend(map[string]string{"db": "one", "other": "two"})
		client := newClient(t, backend, middleware.Standard())
		s := newServer(only("two"))
		cfg := s.configured(t, client, "pool_max_conns=1", secretspgx.RetireOnChange())
		is.NoErr(secretspgx.Configure(cfg, client, "other", secretspgx.RetireOnChange()))
		pool := open(t, cfg)
		is.NoErr(acquire(t, pool))
		is.NoErr(acquire(t, pool))
		is.Equal(s.logins(), []string{"nobody:two"})
		for _, path := range []string{"db", "other"} { // the connection retires for either
			backend.Set(path, "another")
			_, err := client.Refresh(t.Context(), path)
			is.NoErr(err)
			s.set(func(string) string { return "" })
			is.NoErr(acquire(t, pool))
			is.Equal(len(s.logins()), 1)
		}
	})
}

func TestCopiesOfAConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := secretstest.NewBackend(map[string]string{"db": "one"})
		client := newClient(t, backend, middleware.Standard())
		s := newServer(only("one"))
		cfg := s.configured(t, client, "pool_max_conns=1", secretspgx.RetireOnChange())
		pools := []*pgxpool.Pool{open(t, cfg), open(t, cfg), open(t, cfg.Copy())}
		pools = append(pools, open(t, pools[0].Config()))
		for _, password := range []string{"one", "two", "three"} {
			backend.Set("db", password)
			s.set(only(password))
			_, err := client.Refresh(t.Context(), "db")
			is.NoErr(err)
			for range 3 {
				for _, pool := range pools {
					is.NoErr(acquire(t, pool))
				}
			}
			is.Equal(len(s.logins()), len(pools))
		}
		time.Sleep(time.Minute)
		is.True(backend.Calls() <= 4) // one watch for all of them
	})
}

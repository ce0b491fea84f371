package secretspgx_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/use/secretspgx"
)

// stateOf returns the SQLSTATE of a server error.
func stateOf(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// login makes pool open another connection.
func login(t *testing.T, pool *pgxpool.Pool) error {
	t.Helper()
	pool.Reset()
	synctest.Wait() // until the old ones are closed
	return acquire(t, pool)
}

// rotating returns a server, the versions of its password, and a pool.
func rotating(t *testing.T, opts ...secretspgx.Option) (*server, *versions, *pgxpool.Pool) {
	t.Helper()
	s, v := newServer(only("one")), &versions{current: "one"}
	return s, v, open(t, s.configured(t, newClient(t, v.backend(), middleware.Standard()), "", opts...))
}

// An AWS rotation changes the server at setSecret, and the current secret at finishSecret.
func TestARotationThatChangesTheServerFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, v, pool := rotating(t)
		is.NoErr(login(t, pool))
		is.Equal(s.logins(), []string{"nobody:one"})

		v.set("one", map[string]string{"PENDING": "two", "PREVIOUS": "zero"})
		s.set(only("two"))
		is.Equal(stateOf(login(t, pool)), "28P01") // the error of pgx
		is.Equal(s.logins(), []string{"nobody:one!28P01"})
		for range 180 { // three minutes, longer than Do remembers an accepted version
			is.NoErr(login(t, pool))
			is.Equal(s.logins(), []string{"nobody:two"})
			time.Sleep(time.Second)
		}
		v.set("two", map[string]string{"PREVIOUS": "one"})
		for range 15 * 60 {
			is.NoErr(login(t, pool))
			is.Equal(s.logins(), []string{"nobody:two"})
			time.Sleep(time.Second)
		}
	})
}

func TestARotationThatChangesTheSecretFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, v, pool := rotating(t)
		is.NoErr(login(t, pool))
		v.set("two", map[string]string{"PREVIOUS": "one"})
		time.Sleep(6 * time.Minute) // until the client has fetched it
		s.logins()
		is.Equal(stateOf(login(t, pool)), "28P01")
		is.NoErr(login(t, pool))
		is.NoErr(login(t, pool))
		is.Equal(s.logins(), []string{"nobody:two!28P01", "nobody:one", "nobody:one"})

		s.set(only("two"))
		is.Equal(stateOf(login(t, pool)), "28P01")
		is.NoErr(login(t, pool))
		is.Equal(s.logins(), []string{"nobody:one!28P01", "nobody:two"})
	})
}

func TestTheRefreshedSecretIsTheSecondCandidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, v, pool := rotating(t)
		is.NoErr(login(t, pool))
		v.set("two", nil)
		s.set(only("two"))
		is.Equal(stateOf(login(t, pool)), "28P01")
		is.NoErr(login(t, pool))
		is.Equal(s.logins(), []string{"nobody:one", "nobody:one!28P01", "nobody:two"})
	})
}

// A server that refuses all logins sees one login per Acquire. No candidate is skipped forever.
func TestAllCandidatesAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, v, pool := rotating(t)
		v.set("one", map[string]string{"PENDING": "two", "PREVIOUS": "zero"})
		s.set(only("another"))
		var tried []string
		for range 6 {
			is.Equal(stateOf(login(t, pool)), "28P01")
			tried = append(tried, s.logins()...)
		}
		is.Equal(tried, []string{
			"nobody:one!28P01", "nobody:two!28P01", "nobody:zero!28P01",
			"nobody:one!28P01", "nobody:two!28P01", "nobody:zero!28P01",
		})
		fetched := v.fetchCount()
		for range 100 {
			is.Equal(stateOf(login(t, pool)), "28P01")
		}
		is.Equal(v.fetchCount(), fetched) // in the back-off of Do
		is.Equal(len(s.logins()), 100)

		s.set(only("one"))
		for login(t, pool) != nil { // two other candidates may be tried first
			is.True(len(s.tried) < 3)
		}
	})
}

// A single refusal can be a mistake of the server.
func TestARefusedSecretIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, v, pool := rotating(t)
		v.set("one", map[string]string{"PREVIOUS": "zero"})
		s.set(func(password string) string {
			if password == "one" {
				return "28000"
			}
			return ""
		})
		is.Equal(stateOf(login(t, pool)), "28000")
		s.set(func(string) string { return "" })
		is.NoErr(login(t, pool))
		time.Sleep(5 * time.Minute)
		is.NoErr(login(t, pool))
		is.Equal(s.logins(), []string{"nobody:one!28000", "nobody:zero", "nobody:one"})
	})
}

// Other failures do not move to the next candidate.
func TestOtherFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, v, pool := rotating(t, secretspgx.WithRejected(func(err error) bool { return stateOf(err) == "08P01" }))
		v.set("one", map[string]string{"PREVIOUS": "zero"})
		for _, state := range []string{"53300", "3D000", "57P03"} {
			s.set(func(string) string { return state })
			is.Equal(stateOf(login(t, pool)), state)
			is.Equal(stateOf(login(t, pool)), state)
			is.Equal(s.logins(), []string{"nobody:one!" + state, "nobody:one!" + state})
		}
		s.set(only("one"))
		s.query = func(string, string) string { return "28P01" } // a query, such as SET SESSION AUTHORIZATION
		for range 2 {
			is.NoErr(login(t, pool))
			_, err := pool.Exec(t.Context(), "SELECT 1")
			is.Equal(stateOf(err), "28P01")
		}
		is.Equal(s.logins(), []string{"nobody:one", "nobody:one"})

		s.set(func(string) string { return "08P01" }) // the control
		is.Equal(stateOf(login(t, pool)), "08P01")
		is.Equal(stateOf(login(t, pool)), "08P01")
		is.Equal(s.logins(), []string{"nobody:one!08P01", "nobody:zero!08P01"})
	})
}

// After a denial, the client must not use the secret, although it is in memory.
func TestADenialInARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, v, pool := rotating(t)
		is.NoErr(login(t, pool))
		s.set(only("two"))
		is.Equal(stateOf(login(t, pool)), "28P01")
		s.logins()
		v.fail(secrets.ErrPermissionDenied)
		is.True(errors.Is(login(t, pool), secrets.ErrPermissionDenied))
		is.Equal(len(s.logins()), 0)
	})
	synctest.Test(t, func(t *testing.T) { // the control
		is := is.New(t)
		s, v, pool := rotating(t)
		is.NoErr(login(t, pool))
		s.set(only("two"))
		is.Equal(stateOf(login(t, pool)), "28P01")
		v.fail(secrets.ErrUnavailable)
		s.set(only("one"))
		is.NoErr(login(t, pool)) // only the current one is known
	})
}

// Each connection opened with the old password fails: BeforeConnect has no other yet. No caller makes two logins.
func TestConcurrentAcquires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, v := newServer(only("two")), &versions{current: "one", others: map[string]string{"PENDING": "two"}}
		pool := open(t, s.configured(t, newClient(t, v.backend(), middleware.Standard()), "pool_max_conns=16"))
		var callers sync.WaitGroup
		var failed int
		for range 16 {
			callers.Go(func() {
				conn, err := pool.Acquire(t.Context())
				if err == nil {
					defer conn.Release()
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				if err != nil {
					failed++
				}
			})
		}
		callers.Wait()
		refused := len(slices.DeleteFunc(s.logins(), func(login string) bool { return login != "nobody:one!28P01" }))
		is.Equal(refused, failed)
		for range 100 {
			is.NoErr(login(t, pool))
		}
	})
}

// A secret in the wrong form is skipped like a refused one.
func TestASecretOfAnotherForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, v, pool := rotating(t)
		v.set(`{"username":"app"}`, map[string]string{"PREVIOUS": "one"})
		is.True(errors.Is(login(t, pool), secrets.ErrFieldNotFound))
		is.NoErr(login(t, pool))
		is.Equal(s.logins(), []string{"nobody:one"})
	})
}

// With several hosts, or with sslmode=prefer, a login is several attempts.
func TestSeveralAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, v := newServer(only("one")), &versions{current: "one", others: map[string]string{"PREVIOUS": "zero"}}
		client := newClient(t, v.backend(), middleware.Standard())
		pool := open(t, s.configured(t, client, "host=127.0.0.1,127.0.0.2 sslmode=prefer"))
		is.NoErr(login(t, pool))
		is.Equal(s.logins(), []string{"nobody:one"})
		is.Equal(s.offered, 1)

		refusals := 1 // by the first host
		s.set(func(string) string {
			if refusals--; refusals >= 0 {
				return "28000"
			}
			return ""
		})
		is.NoErr(login(t, pool))
		refusals = 0
		is.NoErr(login(t, pool))
		is.Equal(s.logins(), []string{"nobody:one!28000", "nobody:one", "nobody:one"}) // the second host has accepted it
	})
}

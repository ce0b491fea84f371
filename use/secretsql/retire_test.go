package secretsql_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretsql"
)

// bubble runs f in a synctest bubble, with a pool whose secret has that lease; 0 means none.
func bubble(t *testing.T, lease time.Duration, f func(t *testing.T, p *pool), opts ...secretsql.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &pool{}
		p.client, p.backend = open(t, middleware.Standard())
		if lease > 0 {
			p.backend.SetLease(key, lease)
			p.backend.OnCall(func(context.Context, []secrets.Ref) error { // each lease has another credential
				p.backend.Set(key, rand.Text())
				return nil
			})
		}
		p.DB = sql.OpenDB(secretsql.Connector(p.client, key, p.database.connector, opts...))
		defer p.DB.Close()
		f(t, p)
	})
}

// A connection retires before the lease of its credential ends, wherever it is, and no query fails.
func TestConnectionRetires(t *testing.T) {
	bubble(t, time.Hour, func(t *testing.T, p *pool) {
		is := is.New(t)
		is.Equal(query(t, p), int64(1))
		time.Sleep(time.Hour - 30*time.Second - time.Millisecond)
		is.Equal(query(t, p), int64(1)) // idle, not retired yet
		time.Sleep(time.Millisecond)
		is.Equal(query(t, p), int64(2)) // idle, retired
		_, open, closers := p.counts()
		is.Equal(open, 1)
		is.Equal(closers, 1)
		time.Sleep(40 * time.Minute)
		is.Equal(query(t, p), int64(2)) // its lease began before the first one ended

		tx, err := p.BeginTx(t.Context(), nil)
		is.NoErr(err)
		time.Sleep(time.Until(p.end(t)) - time.Second) // the lease of the second connection has ended
		is.NoErr(tx.Rollback())
		_, open, _ = p.counts()
		is.Equal(open, 0) // it was in use, and did not return to the pool
		is.Equal(query(t, p), int64(3))
	})
}

// A connection that will retire within moments does not return to the pool: a query on its last try could get it.
func TestConnectionThatRetiresSoon(t *testing.T) {
	bubble(t, time.Hour, func(t *testing.T, p *pool) {
		is := is.New(t)
		query(t, p)
		time.Sleep(time.Hour - 30*time.Second - 101*time.Millisecond)
		is.Equal(query(t, p), int64(1))
		is.Equal(p.Stats().Idle, 1)
		time.Sleep(time.Millisecond)
		is.Equal(query(t, p), int64(1)) // not retired yet
		is.Equal(p.Stats().Idle, 0)
	})
}

func TestGrace(t *testing.T) {
	bubble(t, time.Hour, func(t *testing.T, p *pool) {
		is := is.New(t)
		query(t, p)
		time.Sleep(55*time.Minute - time.Second)
		is.Equal(query(t, p), int64(1))
		time.Sleep(time.Second)
		is.Equal(query(t, p), int64(2))
	}, secretsql.Grace(5*time.Minute))
}

// Without a lease, a connection stays when the secret changes, unless RetireOnChange is set.
func TestRetireOnChange(t *testing.T) {
	for _, retires := range []bool{false, true} {
		var opts []secretsql.Option
		if retires {
			opts = append(opts, secretsql.RetireOnChange())
		}
		bubble(t, 0, func(t *testing.T, p *pool) {
			is := is.New(t)
			query(t, p)
			p.rotate(t, "battery staple")
			is.Equal(query(t, p) == 2, retires)

			c, err := p.Conn(t.Context())
			is.NoErr(err)
			p.rotate(t, "trombone")
			query(t, c) // a connection in use does not retire
			is.NoErr(c.Close())
			opened, open, _ := p.counts()
			is.Equal(open == 0, retires)
			is.Equal(opened == 2, retires)
		}, opts...)
	}
}

// All connections of a pool retire together: they have one lease. database/sql tries a query three times, and only the last try always
// opens a connection.
func TestPoolOfRetiredConnections(t *testing.T) {
	for _, limit := range []int{0, 1, 2, 8} {
		bubble(t, time.Hour, func(t *testing.T, p *pool) {
			is := is.New(t)
			const workers = 8
			p.SetMaxOpenConns(limit)
			p.SetMaxIdleConns(workers)
			all := func() {
				var wg sync.WaitGroup
				for range workers {
					wg.Go(func() {
						c, err := p.Conn(t.Context())
						if err != nil {
							t.Error(err)
							return
						}
						query(t, c)
						time.Sleep(time.Second) // the others then need their own connections
						is.NoErr(c.Close())
					})
				}
				wg.Wait()
			}
			for range 5 {
				all()
				before, open, _ := p.counts()
				is.True(open >= 1)
				is.True(limit == 0 || open <= limit)
				time.Sleep(time.Until(p.end(t)) - 20*time.Second)
				all()
				after, _, _ := p.counts()
				is.True(after > before)
			}
		})
	}
}

// A connection can wait in the pool unused if its query has left. database/sql does not check it when another query gets it.
func TestConnectionThatWasNeverUsed(t *testing.T) {
	bubble(t, time.Hour, func(t *testing.T, p *pool) {
		is := is.New(t)
		p.leaveOneUnused(t)
		time.Sleep(59*time.Minute + 45*time.Second) // it must retire; its lease has not ended
		is.Equal(query(t, p), int64(2))
		is.Equal(p.Stats().Idle, 0)
		is.Equal(query(t, p), int64(3))
	})
	for name, use := range map[string]func(t *testing.T, db *sql.DB) error{
		"Exec": func(t *testing.T, db *sql.DB) error { _, err := db.ExecContext(t.Context(), "query"); return err },
		"Query": func(t *testing.T, db *sql.DB) error {
			r, err := db.QueryContext(t.Context(), "query")
			if err != nil {
				return err
			}
			defer r.Close()
			return r.Err()
		},
		"Begin": func(t *testing.T, db *sql.DB) error {
			tx, err := db.BeginTx(t.Context(), nil)
			if err == nil {
				err = tx.Commit()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, time.Hour, func(t *testing.T, p *pool) {
				is := is.New(t)
				p.leaveOneUnused(t)
				time.Sleep(time.Hour)
				is.NoErr(use(t, p.DB))
				opened, _, _ := p.counts()
				is.Equal(opened, 3)
			})
		})
	}
}

// A refused credential causes no error if there is another one.
func TestRefusedLogin(t *testing.T) {
	bubble(t, 0, func(t *testing.T, p *pool) {
		is := is.New(t)
		p.password = "battery staple"
		p.backend.Set(key, "battery staple") // nothing is cached yet
		is.Equal(query(t, p), int64(1))
		p.SetMaxIdleConns(-1)
		query(t, p)
		p.database.password = "trombone"
		p.backend.Set(key, "trombone")
		query(t, p)
		is.Equal(p.refused, 1)

		p.password = "what nobody knows"
		_, err := p.ExecContext(t.Context(), "query")
		_, ok := errors.AsType[refusal](err)
		is.True(ok)
		_, open, closers := p.counts()
		is.Equal(open, 0)
		is.Equal(closers, p.opened+p.refused) // each connector is closed
	})
}

func TestWithRejectedAndBridge(t *testing.T) {
	errRefused := errors.New("1045")
	bubble(t, 0, func(t *testing.T, p *pool) {
		is := is.New(t)
		valid := "correct horse"
		db := sql.OpenDB(secretsql.Connector(p.client, key, func(ctx context.Context, s secrets.Secret) (driver.Connector, error) {
			if s.Reveal() != valid {
				return nil, errRefused
			}
			return p.connector(ctx, s)
		}, secretsql.WithRejected(func(err error) bool { return errors.Is(err, errRefused) }), secretsql.Bridge(time.Minute)))
		defer db.Close()
		db.SetMaxIdleConns(-1)
		query(t, db)
		valid = "battery staple"
		time.AfterFunc(20*time.Second, func() { p.backend.Set(key, "battery staple") })
		began := time.Now()
		query(t, db)
		is.True(time.Since(began) >= 20*time.Second)
		is.True(time.Since(began) <= 30*time.Second)
	})
}

// pool is a pool of connections to a fake database.
type pool struct {
	*sql.DB
	database

	client  *secrets.Client
	backend *secretstest.Backend
}

// end returns when the current lease ends.
func (p *pool) end(t *testing.T) time.Time {
	t.Helper()
	s, err := p.client.Get(t.Context(), key)
	is.New(t).NoErr(err)
	return s.Meta().ExpiresAt
}

// rotate sets another value and waits until the handle has it.
func (p *pool) rotate(t *testing.T, value string) {
	t.Helper()
	p.backend.Set(key, value)
	_, err := p.client.Refresh(t.Context(), key)
	is.New(t).NoErr(err)
}

// leaveOneUnused closes the first connection and leaves the second, unused one in the pool.
func (p *pool) leaveOneUnused(t *testing.T) {
	t.Helper()
	is := is.New(t)
	p.SetMaxOpenConns(1)
	c, err := p.Conn(t.Context())
	is.NoErr(err)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		_, err := p.ExecContext(ctx, "query")
		is.Equal(err, context.Canceled)
	})
	synctest.Wait()
	p.block = make(chan struct{})
	is.Equal(c.Raw(func(any) error { return driver.ErrBadConn }), driver.ErrBadConn) // database/sql opens another one
	synctest.Wait()
	cancel()
	wg.Wait()
	close(p.block)
	synctest.Wait()
	opened, open, _ := p.counts()
	is.Equal(opened, 2)
	is.Equal(open, 1)
	is.Equal(p.Stats().Idle, 1)
}

//go:build (vault && unix) || mariadb

package drivertest_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/use/secretsql"
)

const workers = 16

// during returns how long a test queries: ROTATION_TEST, or 15 s.
func during(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("ROTATION_TEST")
	if text == "" {
		return 15 * time.Second
	}
	d, err := time.ParseDuration(text)
	is.New(t).NoErr(err)
	return d
}

// login is the content of a secret in these tests.
type login struct{ Username, Password string }

func loginOf(s secrets.Secret) (l login, err error) {
	err = s.JSON(&l)
	return l, err
}

// tally counts the outcomes of queries. It is safe for concurrent use.
type tally struct {
	mu     sync.Mutex
	ok     int
	failed map[string]int // by error
}

func (c *tally) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.ok++
		return
	}
	if c.failed == nil {
		c.failed = make(map[string]int)
	}
	text := err.Error()
	if state, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		text = "SQLSTATE " + state.SQLState()
	}
	c.failed[text]++
}

// failures returns the number of failed queries.
func (c *tally) failures() (n int) {
	for _, k := range c.failed {
		n += k
	}
	return n
}

func (c *tally) String() string {
	return fmt.Sprintf("%d ok, %d failed %v", c.ok, c.failures(), c.failed)
}

// work runs queries in several workers, as fast as possible, until ctx ends.
func work(ctx context.Context, db *sql.DB, query string) *tally {
	var c tally
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				var one int
				c.note(db.QueryRowContext(context.WithoutCancel(ctx), query).Scan(&one))
			}
		})
	}
	wg.Wait()
	return &c
}

// spy is a driver's connection that records which of its interfaces database/sql calls. It has the interfaces of the drivers in these
// tests.
type spy struct {
	full

	called map[string]int
}

// full has the interfaces that both drivers have.
type full interface {
	driver.Conn
	driver.Pinger
	driver.ExecerContext
	driver.QueryerContext
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.SessionResetter
	driver.NamedValueChecker
}

func (s *spy) Ping(ctx context.Context) error { s.called["Pinger"]++; return s.full.Ping(ctx) }

func (s *spy) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s.called["ExecerContext"]++
	return s.full.ExecContext(ctx, query, args)
}

func (s *spy) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s.called["QueryerContext"]++
	return s.full.QueryContext(ctx, query, args)
}

func (s *spy) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s.called["ConnPrepareContext"]++
	return s.full.PrepareContext(ctx, query)
}

func (s *spy) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	s.called["ConnBeginTx"]++
	return s.full.BeginTx(ctx, opts)
}

func (s *spy) ResetSession(ctx context.Context) error {
	s.called["SessionResetter"]++
	return s.full.ResetSession(ctx)
}

func (s *spy) CheckNamedValue(v *driver.NamedValue) error {
	s.called["NamedValueChecker"]++
	return s.full.CheckNamedValue(v)
}

// validatingSpy is a spy for a driver that also validates.
type validatingSpy struct{ *spy }

func (s validatingSpy) IsValid() bool {
	s.called["Validator"]++
	return s.full.(driver.Validator).IsValid()
}

// spied is a connector whose connections are spies.
type spied struct {
	driver.Connector

	called map[string]int
}

func (s spied) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := s.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	conn := &spy{c.(full), s.called}
	if _, ok := c.(driver.Validator); ok {
		return validatingSpy{conn}, nil
	}
	return conn, nil
}

// testInterfaces checks that secretsql reaches each interface of a driver, and that results are the same as without it.
func testInterfaces(t *testing.T, client *secrets.Client, placeholder string, isOwn func(driverConn any) bool, want []string,
	connect func(context.Context, secrets.Secret) (driver.Connector, error),
) {
	t.Helper()
	is := is.New(t)
	called := make(map[string]int)
	var bare driver.Connector
	wrapped := secretsql.Connector(client, "database", func(ctx context.Context, s secrets.Secret) (driver.Connector, error) {
		c, err := connect(ctx, s)
		bare = c
		return spied{c, called}, err
	})
	ours := sql.OpenDB(wrapped)
	defer ours.Close()
	answers := use(t, ours, placeholder)
	theirs := sql.OpenDB(bare)
	defer theirs.Close()
	is.Equal(answers, use(t, theirs, placeholder))
	t.Logf("reached: %v", called)
	var reached []string
	for name := range called {
		reached = append(reached, name)
	}
	slices.Sort(reached)
	is.Equal(reached, want)
	is.Equal(ours.Driver(), theirs.Driver())

	c, err := ours.Conn(t.Context())
	is.NoErr(err)
	defer c.Close()
	is.NoErr(secretsql.Raw(c, func(driverConn any) error {
		s, ok := driverConn.(*spy)
		if v, is := driverConn.(validatingSpy); is {
			s, ok = v.spy, true
		}
		is.True(ok)
		is.True(isOwn(s.full))
		return nil
	}))
}

// use calls each interface of a driver and returns what the program sees.
func use(t *testing.T, db *sql.DB, placeholder string) (answers []string) {
	t.Helper()
	ctx := t.Context()
	note := func(what string, err error) { answers = append(answers, fmt.Sprintf("%s %v", what, err)) }
	query := strings.ReplaceAll("SELECT ?", "?", placeholder)
	scan := func(r *sql.Row) {
		var text string
		note(text, r.Scan(&text))
	}
	note("Ping", db.PingContext(ctx))
	_, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS kept (n INT)")
	note("Exec", err)
	_, err = db.ExecContext(ctx, strings.ReplaceAll("INSERT INTO kept VALUES (?)", "?", placeholder), uint64(7))
	note("Exec with a value", err)
	scan(db.QueryRowContext(ctx, "SELECT n FROM kept"))
	scan(db.QueryRowContext(ctx, query, "seven"))
	scan(db.QueryRowContext(ctx, query, sql.NullString{}))
	scan(db.QueryRowContext(ctx, query, sql.Named("n", 1)))
	scan(db.QueryRowContext(ctx, query))
	scan(db.QueryRowContext(ctx, "what is that"))
	s, err := db.PrepareContext(ctx, query)
	note("Prepare", err)
	defer s.Close()
	scan(s.QueryRowContext(ctx, "eight"))
	for _, opts := range []*sql.TxOptions{nil, {ReadOnly: true}, {Isolation: sql.LevelSerializable}, {Isolation: sql.LevelLinearizable}} {
		tx, err := db.BeginTx(ctx, opts)
		note("Begin", err)
		if err == nil {
			_, err = tx.ExecContext(ctx, "DELETE FROM kept")
			note("Exec", err)
			note("Rollback", tx.Rollback())
		}
	}
	_, err = db.ExecContext(ctx, "DROP TABLE kept")
	note("Drop", err)
	return answers
}

package secretsql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// database is a fake database that accepts one password, or all. It records connections and when each becomes useless.
type database struct {
	mu       sync.Mutex
	password string // "" accepts all
	opened   int
	refused  int
	open     int
	closers  int // closed connectors
	used     []int

	block chan struct{} // a login waits for it, unless nil
}

// refusal is an error like those of PostgreSQL drivers.
type refusal struct{}

func (refusal) Error() string    { return "password authentication failed" }
func (refusal) SQLState() string { return "28P01" }

// dropped is the error of a query whose role was dropped.
type dropped struct{}

func (dropped) Error() string    { return "permission denied" }
func (dropped) SQLState() string { return "42501" }

// connector is the open function of tests.
func (d *database) connector(_ context.Context, s secrets.Secret) (driver.Connector, error) {
	return &login{d, s}, nil
}

type login struct {
	*database

	s secrets.Secret
}

func (*login) Driver() driver.Driver { return fakeDriver{} }

func (l *login) Connect(context.Context) (driver.Conn, error) {
	l.mu.Lock()
	block := l.block
	l.mu.Unlock()
	if block != nil {
		<-block
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.password != "" && l.s.Reveal() != l.password {
		l.refused++
		return nil, fmt.Errorf("connect: %w", refusal{})
	}
	l.opened++
	l.open++
	return &session{login: l, id: l.opened}, nil
}

func (l *login) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closers++
	return nil
}

// session is a connection whose queries fail after its lease.
type session struct {
	*login

	id int
}

func (s *session) Prepare(string) (driver.Stmt, error) { return nil, driver.ErrSkip }

func (s *session) Begin() (driver.Tx, error) { return transaction{journal: new(journal)}, nil }

func (s *session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	return nil
}

func (s *session) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if end := s.s.Meta().ExpiresAt; !end.IsZero() && !time.Now().Before(end) {
		return nil, dropped{}
	}
	s.used = append(s.used, s.id)
	return driver.RowsAffected(s.id), nil
}

func (s *session) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return &rows{}, nil
}

// counts returns the numbers of opened connections, open connections and closed connectors.
func (d *database) counts() (opened, open, closers int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.opened, d.open, d.closers
}

// query executes a query and returns the number of its connection.
func query(t *testing.T, db execer) int64 {
	t.Helper()
	r, err := db.ExecContext(t.Context(), "query")
	if err != nil {
		t.Fatal(err)
	}
	n, err := r.RowsAffected()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// execer is a pool, or a part of one.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

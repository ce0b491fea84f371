package secretsql_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// journal records the calls of a driver. It is safe for concurrent use.
type journal struct {
	mu    sync.Mutex
	lines []string
	call  string // name of the calls that run do
	do    func()
}

// onCall makes each call of that name run do.
func (j *journal) onCall(call string, do func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.call, j.do = call, do
}

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
	if j.do != nil && strings.HasPrefix(format, j.call) {
		j.do()
	}
}

// take returns and clears the lines.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return lines
}

// Values that only some drivers accept.
type (
	special struct{ N int } // accepted by a checker or a converter
	removed struct{}        // removed by a checker
	unknown struct{}        // accepted by none
)

// minimal is a connection with only the required methods. The query decides its behaviour.
type minimal struct {
	*journal

	stmt func(s *minimalStmt) driver.Stmt // wraps each statement, unless nil
}

var errQuery = errors.New("the driver does not understand the query")

func (m minimal) fail(query string) error {
	switch {
	case strings.HasPrefix(query, "fail"):
		return errQuery
	case strings.HasPrefix(query, "bad"):
		return driver.ErrBadConn
	case strings.HasPrefix(query, "skip"):
		return driver.ErrSkip
	}
	return nil
}

func (m minimal) Prepare(query string) (driver.Stmt, error) {
	m.note("Prepare %s", query)
	if err := m.fail(query); err != nil && !errors.Is(err, driver.ErrSkip) {
		return nil, err
	}
	s := &minimalStmt{m.journal, query}
	if m.stmt != nil {
		return m.stmt(s), nil
	}
	return s, nil
}

func (m minimal) Close() error {
	m.note("Close")
	return nil
}

func (m minimal) Begin() (driver.Tx, error) {
	m.note("Begin")
	return transaction(m), nil
}

type transaction struct {
	*journal

	stmt func(s *minimalStmt) driver.Stmt
}

func (tx transaction) Commit() error {
	tx.note("Commit")
	return nil
}

func (tx transaction) Rollback() error {
	tx.note("Rollback")
	return nil
}

type minimalStmt struct {
	*journal

	query string
}

func (s *minimalStmt) NumInput() int { return strings.Count(s.query, "?") }

func (s *minimalStmt) Close() error {
	s.note("Stmt.Close")
	return nil
}

func (s *minimalStmt) Exec(args []driver.Value) (driver.Result, error) {
	s.note("Stmt.Exec %#v", args)
	return driver.RowsAffected(len(args)), nil
}

func (s *minimalStmt) Query(args []driver.Value) (driver.Rows, error) {
	s.note("Stmt.Query %#v", args)
	return &rows{args: args}, nil
}

// rows is one row with the arguments.
type rows struct {
	args []driver.Value
	over bool
}

func (*rows) Columns() []string { return []string{"args"} }
func (*rows) Close() error      { return nil }

func (r *rows) Next(to []driver.Value) error {
	if r.over {
		return io.EOF
	}
	r.over = true
	to[0] = fmt.Sprintf("%#v", r.args)
	return nil
}

// Optional interfaces of a connection or a statement.
type (
	legacyExec  struct{ minimal }
	legacyQuery struct{ minimal }
	ctxExec     struct{ minimal }
	ctxQuery    struct{ minimal }
	ctxPrepare  struct{ minimal }
	ctxBegin    struct{ minimal }
	pings       struct{ minimal }
	resets      struct{ minimal }
	validates   struct{ minimal }
	checks      struct{ j *journal }
	converts    struct{ j *journal }
	stmtExec    struct{ j *journal }
	stmtQuery   struct{ j *journal }
)

func (c legacyExec) Exec(query string, args []driver.Value) (driver.Result, error) {
	c.note("Exec %s %#v", query, args)
	return driver.RowsAffected(len(args)), c.fail(query)
}

func (c legacyQuery) Query(query string, args []driver.Value) (driver.Rows, error) {
	c.note("Query %s %#v", query, args)
	return &rows{args: args}, c.fail(query)
}

func (c ctxExec) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.note("ExecContext %s %#v", query, args)
	return driver.RowsAffected(len(args)), c.fail(query)
}

func (c ctxQuery) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.note("QueryContext %s %#v", query, args)
	return &rows{args: plain(args)}, c.fail(query)
}

func (c ctxPrepare) PrepareContext(_ context.Context, query string) (driver.Stmt, error) {
	c.note("PrepareContext")
	return c.Prepare(query)
}

func (c ctxBegin) BeginTx(_ context.Context, opts driver.TxOptions) (driver.Tx, error) {
	c.note("BeginTx %v", opts)
	return c.Begin()
}

func (c pings) Ping(ctx context.Context) error {
	c.note("Ping")
	return ctx.Err()
}

func (c resets) ResetSession(context.Context) error {
	c.note("ResetSession")
	return nil
}

func (c validates) IsValid() bool {
	c.note("IsValid")
	return true
}

func (c checks) CheckNamedValue(v *driver.NamedValue) error {
	c.j.note("CheckNamedValue %#v", *v)
	switch x := v.Value.(type) {
	case special:
		v.Value = int64(x.N)
		return nil
	case removed:
		return driver.ErrRemoveArgument
	case unknown:
		return errors.New("an unknown type")
	}
	return driver.ErrSkip
}

func (c converts) ColumnConverter(i int) driver.ValueConverter {
	c.j.note("ColumnConverter %d", i)
	return c
}

func (c converts) ConvertValue(v any) (driver.Value, error) {
	switch x := v.(type) {
	case special:
		return int64(x.N), nil
	case unknown:
		return nil, errors.New("a column of another type")
	}
	return driver.DefaultParameterConverter.ConvertValue(v)
}

func (s stmtExec) ExecContext(_ context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.j.note("Stmt.ExecContext %#v", args)
	return driver.RowsAffected(len(args)), nil
}

func (s stmtQuery) QueryContext(_ context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.j.note("Stmt.QueryContext %#v", args)
	return &rows{args: plain(args)}, nil
}

func plain(args []driver.NamedValue) (values []driver.Value) {
	for _, a := range args {
		values = append(values, a.Value)
	}
	return values
}

// kinds returns connections of many drivers, by description.
func kinds(j *journal) map[string]func() driver.Conn {
	m := minimal{journal: j}
	with := func(stmt func(s *minimalStmt) driver.Stmt) minimal { return minimal{j, stmt} }
	conn := func(c driver.Conn) func() driver.Conn { return func() driver.Conn { return c } }
	converting := with(func(s *minimalStmt) driver.Stmt {
		return struct {
			*minimalStmt
			converts
		}{s, converts{j}}
	})
	checking := with(func(s *minimalStmt) driver.Stmt {
		return struct {
			*minimalStmt
			checks
		}{s, checks{j}}
	})
	both := with(func(s *minimalStmt) driver.Stmt {
		return struct {
			*minimalStmt
			checks
			converts
		}{s, checks{j}, converts{j}}
	})
	modern := with(func(s *minimalStmt) driver.Stmt {
		return struct {
			*minimalStmt
			stmtExec
			stmtQuery
		}{s, stmtExec{j}, stmtQuery{j}}
	})
	return map[string]func() driver.Conn{
		"minimal":                        conn(m),
		"statements convert":             conn(converting),
		"statements check":               conn(checking),
		"statements check and convert":   conn(both),
		"statements have contexts":       conn(modern),
		"checks, without fast paths":     conn(checker{with(nil), checks{j}}), // as SQL Server's
		"checks, and statements convert": conn(checker{converting, checks{j}}),
		"Execer": conn(struct {
			minimal
			execs
		}{m, legacyExec{m}}),
		"Execer, and statements convert": conn(struct {
			minimal
			execs
		}{converting, legacyExec{converting}}),
		"Queryer": conn(struct {
			minimal
			queries
		}{m, legacyQuery{m}}),
		"Execer and Queryer": conn(struct {
			minimal
			execs
			queries
		}{m, legacyExec{m}, legacyQuery{m}}),
		"ExecerContext, and checks": conn(struct {
			minimal
			driver.ExecerContext
			driver.NamedValueChecker
		}{m, ctxExec{m}, checks{j}}),
		"QueryerContext, and checks": conn(struct {
			minimal
			driver.QueryerContext
			driver.NamedValueChecker
		}{m, ctxQuery{m}, checks{j}}),
		"resets": conn(struct {
			minimal
			driver.SessionResetter
		}{m, resets{m}}),
		"validates": conn(struct {
			minimal
			driver.Validator
		}{m, validates{m}}),
		"resets and validates": conn(struct {
			minimal
			driver.SessionResetter
			driver.Validator
		}{m, resets{m}, validates{m}}),
		"full":                            conn(full(m)),
		"full, and checks":                conn(fullChecker{full(m), checks{j}}),
		"full, and statements convert":    conn(full(converting)),
		"full, and statements are modern": conn(full(modern)),
	}
}

// execs and queries are the legacy interfaces, under names that do not collide.
type (
	execs interface {
		Exec(query string, args []driver.Value) (driver.Result, error)
	}
	queries interface {
		Query(query string, args []driver.Value) (driver.Rows, error)
	}
	checker struct {
		minimal
		checks
	}
	fullConn struct {
		minimal
		driver.Pinger
		driver.ExecerContext
		driver.QueryerContext
		driver.ConnPrepareContext
		driver.ConnBeginTx
		driver.SessionResetter
		driver.Validator
	}
	fullChecker struct {
		fullConn
		checks
	}
)

func full(m minimal) fullConn {
	return fullConn{m, pings{m}, ctxExec{m}, ctxQuery{m}, ctxPrepare{m}, ctxBegin{m}, resets{m}, validates{m}}
}

// connector is a driver.Connector of the given connections.
type connector struct{ conn func() driver.Conn }

func (c connector) Connect(context.Context) (driver.Conn, error) { return c.conn(), nil }
func (connector) Driver() driver.Driver                          { return fakeDriver{} }

type fakeDriver struct{}

func (fakeDriver) Open(string) (driver.Conn, error) { return nil, errors.New("not used") }

// sorted returns the names of kinds in order.
func sorted[T any](m map[string]T) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

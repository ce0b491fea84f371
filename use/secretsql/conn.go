package secretsql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/seed-5482dd03/secrets/use/internal/pool"
)

// handover is the least time that a connection has left when database/sql puts it back. database/sql can give it to a query that has met
// two retired connections already, and whose third try is its last one: https://go.dev/src/database/sql/sql.go, maxBadConnRetries.
const handover = 100 * time.Millisecond

// conn is a connection of a driver that knows when it must retire. It has each interface that database/sql asks a connection for. For one
// that the driver lacks, it does what database/sql does without it; its errors have the same texts. As other connections, it is used by one
// goroutine at a time.
type conn struct {
	driver.Conn // of the driver

	lifetime *pool.Lifetime
	closer   io.Closer // what the connection came from, or nil
	asked    bool      // whether database/sql has asked if the connection is of use, or has used it

	// What the driver has, or nil. See [conn.hasFastPaths].
	execer    driver.Execer //nolint:staticcheck // some drivers have no other
	execerCtx driver.ExecerContext
	queryer   driver.Queryer //nolint:staticcheck // some drivers have no other
	queryCtx  driver.QueryerContext
	checker   driver.NamedValueChecker
}

func newConn(c driver.Conn, closer io.Closer) *conn {
	w := &conn{Conn: c, closer: closer}
	w.execer, _ = c.(driver.Execer) //nolint:staticcheck,errcheck // some drivers have no other; nil if not
	w.execerCtx, _ = c.(driver.ExecerContext)
	w.queryer, _ = c.(driver.Queryer) //nolint:staticcheck,errcheck // some drivers have no other; nil if not
	w.queryCtx, _ = c.(driver.QueryerContext)
	w.checker, _ = c.(driver.NamedValueChecker)
	return w
}

// Raw returns the connection of the driver.
func (c *conn) Raw() driver.Conn { return c.Conn }

// Close ends the connection, and then what it came from.
func (c *conn) Close() error {
	err := c.Conn.Close()
	if c.closer == nil {
		return err
	}
	if failure := c.closer.Close(); err == nil {
		err = failure
	}
	return err
}

// IsValid reports whether the connection may go back to the pool.
func (c *conn) IsValid() bool {
	c.asked = true
	if c.lifetime.IsOverIn(handover) {
		return false
	}
	v, ok := c.Conn.(driver.Validator)
	return !ok || v.IsValid()
}

// ResetSession returns driver.ErrBadConn for a connection that must retire. database/sql calls it before each use but the first.
func (c *conn) ResetSession(ctx context.Context) error {
	if c.lifetime.IsOver() {
		return driver.ErrBadConn
	}
	if r, ok := c.Conn.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

// use returns driver.ErrBadConn for a connection that came too late for the query that it was opened for, and then waited for another
// one until its lease was over. database/sql calls neither IsValid nor ResetSession for it.
func (c *conn) use() error {
	first := !c.asked
	c.asked = true
	if first && c.lifetime.HasEnded() {
		return driver.ErrBadConn
	}
	return nil
}

// Ping asks the driver, if it can tell.
func (c *conn) Ping(ctx context.Context) error {
	if p, ok := c.Conn.(driver.Pinger); ok {
		return p.Ping(ctx)
	}
	return nil
}

// Prepare makes a statement.
func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.statement(c.Conn.Prepare(query))
}

// PrepareContext makes a statement.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.use(); err != nil {
		return nil, err
	}
	if p, ok := c.Conn.(driver.ConnPrepareContext); ok {
		return c.statement(p.PrepareContext(ctx, query))
	}
	s, err := c.Conn.Prepare(query)
	if err == nil && ctx.Err() != nil {
		_ = s.Close() //nolint:errcheck // the context says more
		return nil, ctx.Err()
	}
	return c.statement(s, err)
}

// BeginTx begins a transaction.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := c.use(); err != nil {
		return nil, err
	}
	t, err := c.begin(ctx, opts)
	_, resets := c.Conn.(driver.SessionResetter)
	_, validates := c.Conn.(driver.Validator)
	if err != nil || resets && validates {
		return t, err
	}
	return &tx{t, ctx}, nil
}

func (c *conn) begin(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if b, ok := c.Conn.(driver.ConnBeginTx); ok {
		return b.BeginTx(ctx, opts)
	}
	if opts.Isolation != driver.IsolationLevel(sql.LevelDefault) {
		return nil, errors.New("sql: driver does not support non-default isolation level")
	}
	if opts.ReadOnly {
		return nil, errors.New("sql: driver does not support read-only transactions")
	}
	t, err := c.Begin()
	if err == nil && ctx.Err() != nil {
		_ = t.Rollback() //nolint:errcheck // the context says more
		return nil, ctx.Err()
	}
	return t, err
}

// tx is a transaction of a driver that cannot both reset and validate a session. database/sql gives such a connection up if the context of
// its transaction ends. It cannot see that the driver lacks this, since conn does not.
type tx struct {
	driver.Tx

	ctx context.Context //nolint:containedctx // database/sql gives it to Begin alone
}

func (t *tx) Rollback() error {
	err := t.Tx.Rollback()
	if t.ctx.Err() != nil {
		return errors.Join(err, driver.ErrBadConn) // err may say more to a program that calls Rollback itself
	}
	return err
}

// hasFastPaths reports whether the driver can both execute and query without a statement. For such a driver, database/sql treats a conn
// as it would treat the driver. For another one, it first converts the arguments for a call that conn then refuses, and converts them
// again for a statement. The first conversion must have no effect and no error, and the second one must not ask conn: see [conn.statement].
func (c *conn) hasFastPaths() bool { return c.executes() && c.queries() }

func (c *conn) executes() bool { return c.execerCtx != nil || c.execer != nil }

func (c *conn) queries() bool { return c.queryCtx != nil || c.queryer != nil }

// CheckNamedValue asks the driver. If the driver lacks a fast path, it leaves the value as it is.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if c.hasFastPaths() {
		return c.check(v)
	}
	if driver.IsValue(v.Value) {
		return driver.ErrSkip // it stays as it is
	}
	return nil
}

// check asks the driver.
func (c *conn) check(v *driver.NamedValue) error {
	if c.checker == nil {
		return driver.ErrSkip
	}
	return c.checker.CheckNamedValue(v)
}

// convert does what database/sql does with arguments that CheckNamedValue has left as they are.
func (c *conn) convert(args []driver.NamedValue) ([]driver.NamedValue, error) {
	if c.hasFastPaths() {
		return args, nil
	}
	converted := make([]driver.NamedValue, 0, len(args))
	for _, v := range args {
		v.Ordinal = len(converted) + 1
		err := c.check(&v)
		if err == driver.ErrSkip { //nolint:errorlint // as in database/sql
			v.Value, err = driver.DefaultParameterConverter.ConvertValue(v.Value)
		}
		switch {
		case err == nil:
			converted = append(converted, v)
		case err == driver.ErrRemoveArgument: //nolint:errorlint // as in database/sql
		case v.Name == "":
			return nil, fmt.Errorf("sql: converting argument $%d type: %w", v.Ordinal, err)
		default:
			return nil, fmt.Errorf("sql: converting argument with name %q type: %w", v.Name, err)
		}
	}
	return converted, nil
}

// ExecContext executes without a statement, if the driver can.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if !c.executes() {
		return nil, driver.ErrSkip
	}
	if err := c.use(); err != nil {
		return nil, err
	}
	args, err := c.convert(args)
	if err != nil {
		return nil, err
	}
	if c.execerCtx != nil {
		return c.execerCtx.ExecContext(ctx, query, args)
	}
	values, err := positional(ctx, args)
	if err != nil {
		return nil, err
	}
	return c.execer.Exec(query, values)
}

// Exec is ExecContext for those who know no other.
func (c *conn) Exec(query string, args []driver.Value) (driver.Result, error) {
	switch {
	case c.execer != nil:
		return c.execer.Exec(query, args)
	case c.execerCtx != nil:
		return c.execerCtx.ExecContext(context.Background(), query, named(args))
	}
	return nil, driver.ErrSkip
}

// QueryContext queries without a statement, if the driver can.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if !c.queries() {
		return nil, driver.ErrSkip
	}
	if err := c.use(); err != nil {
		return nil, err
	}
	args, err := c.convert(args)
	if err != nil {
		return nil, err
	}
	if c.queryCtx != nil {
		return c.queryCtx.QueryContext(ctx, query, args)
	}
	values, err := positional(ctx, args)
	if err != nil {
		return nil, err
	}
	return c.queryer.Query(query, values)
}

// Query is QueryContext for those who know no other.
func (c *conn) Query(query string, args []driver.Value) (driver.Rows, error) {
	switch {
	case c.queryer != nil:
		return c.queryer.Query(query, args)
	case c.queryCtx != nil:
		return c.queryCtx.QueryContext(context.Background(), query, named(args))
	}
	return nil, driver.ErrSkip
}

// positional returns the values of arguments for a driver that knows no names and no contexts.
func positional(ctx context.Context, args []driver.NamedValue) ([]driver.Value, error) {
	values := make([]driver.Value, len(args))
	for i, a := range args {
		if a.Name != "" {
			return nil, errors.New("sql: driver does not support the use of Named Parameters")
		}
		values[i] = a.Value
	}
	return values, ctx.Err()
}

func named(values []driver.Value) []driver.NamedValue {
	args := make([]driver.NamedValue, len(values))
	for i, v := range values {
		args[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return args
}

var (
	_ driver.Pinger             = (*conn)(nil)
	_ driver.ExecerContext      = (*conn)(nil)
	_ driver.Execer             = (*conn)(nil) //nolint:staticcheck // some drivers have no other
	_ driver.QueryerContext     = (*conn)(nil)
	_ driver.Queryer            = (*conn)(nil) //nolint:staticcheck // some drivers have no other
	_ driver.ConnPrepareContext = (*conn)(nil)
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.SessionResetter    = (*conn)(nil)
	_ driver.Validator          = (*conn)(nil)
	_ driver.NamedValueChecker  = (*conn)(nil)
	_ wrapper                   = (*conn)(nil)
)

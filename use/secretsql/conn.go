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

// handover is the minimum time that a connection must have left when database/sql puts it back. A query that has already met two retired
// connections may get it on its last try: https://go.dev/src/database/sql/sql.go, maxBadConnRetries.
const handover = 100 * time.Millisecond

// conn is a driver's connection with a lifetime. It implements every interface that database/sql looks for. If the driver lacks one, conn
// does what database/sql does without it, with the same error texts. Like any driver.Conn, it is used by one goroutine at a time.
type conn struct {
	driver.Conn // the driver's connection

	lifetime *pool.Lifetime
	closer   io.Closer // the driver.Connector, if it must be closed
	checked  bool      // database/sql has called IsValid or used the connection

	// The driver's interfaces, or nil. See [conn.hasFastPaths].
	execer    driver.Execer //nolint:staticcheck // some drivers implement no other
	execerCtx driver.ExecerContext
	queryer   driver.Queryer //nolint:staticcheck // some drivers implement no other
	queryCtx  driver.QueryerContext
	checker   driver.NamedValueChecker
}

func newConn(c driver.Conn, closer io.Closer) *conn {
	w := &conn{Conn: c, closer: closer}
	w.execer, _ = c.(driver.Execer) //nolint:staticcheck,errcheck // some drivers implement no other; nil if not
	w.execerCtx, _ = c.(driver.ExecerContext)
	w.queryer, _ = c.(driver.Queryer) //nolint:staticcheck,errcheck // some drivers implement no other; nil if not
	w.queryCtx, _ = c.(driver.QueryerContext)
	w.checker, _ = c.(driver.NamedValueChecker)
	return w
}

// Raw returns the driver's connection.
func (c *conn) Raw() driver.Conn { return c.Conn }

// Close closes the connection, and then its connector.
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

// IsValid reports whether the connection may return to the pool.
func (c *conn) IsValid() bool {
	c.checked = true
	if c.lifetime.IsOverIn(handover) {
		return false
	}
	v, ok := c.Conn.(driver.Validator)
	return !ok || v.IsValid()
}

// ResetSession returns driver.ErrBadConn if the connection must retire. database/sql calls it before each use except the first.
func (c *conn) ResetSession(ctx context.Context) error {
	if c.lifetime.IsOver() {
		return driver.ErrBadConn
	}
	if r, ok := c.Conn.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

// use returns driver.ErrBadConn if the lease ended before the first use. A new connection whose query has left waits in the pool, and
// database/sql does not call IsValid or ResetSession before its first use.
func (c *conn) use() error {
	first := !c.checked
	c.checked = true
	if first && c.lifetime.HasEnded() {
		return driver.ErrBadConn
	}
	return nil
}

// Ping calls the driver's Ping, if it has one.
func (c *conn) Ping(ctx context.Context) error {
	if p, ok := c.Conn.(driver.Pinger); ok {
		return p.Ping(ctx)
	}
	return nil
}

// Prepare prepares a statement.
func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.statement(c.Conn.Prepare(query))
}

// PrepareContext prepares a statement.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.use(); err != nil {
		return nil, err
	}
	if p, ok := c.Conn.(driver.ConnPrepareContext); ok {
		return c.statement(p.PrepareContext(ctx, query))
	}
	s, err := c.Conn.Prepare(query)
	if err == nil && ctx.Err() != nil {
		_ = s.Close() //nolint:errcheck // the context's error is the cause
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
		_ = t.Rollback() //nolint:errcheck // the context's error is the cause
		return nil, ctx.Err()
	}
	return t, err
}

// tx is a transaction of a driver that cannot both reset and validate a session. If the context of a transaction ends, database/sql
// discards such a driver's connection. conn has both interfaces, so tx must request that with ErrBadConn.
type tx struct {
	driver.Tx

	ctx context.Context //nolint:containedctx // database/sql passes it only to BeginTx
}

func (t *tx) Rollback() error {
	err := t.Tx.Rollback()
	if t.ctx.Err() != nil {
		return errors.Join(err, driver.ErrBadConn) // a program that calls Rollback itself gets err too
	}
	return err
}

// hasFastPaths reports whether the driver can both execute and query without a statement. For such a driver, database/sql treats conn like
// the driver. For any other, it converts the arguments for a call that conn then refuses, and converts them again for a statement. The
// first conversion must have no effect and no error, and the second must not use conn: see [conn.statement].
func (c *conn) hasFastPaths() bool { return c.executes() && c.queries() }

func (c *conn) executes() bool { return c.execerCtx != nil || c.execer != nil }

func (c *conn) queries() bool { return c.queryCtx != nil || c.queryer != nil }

// CheckNamedValue calls the driver's checker. If the driver lacks a fast path, it leaves the value unchanged.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if c.hasFastPaths() {
		return c.check(v)
	}
	if driver.IsValue(v.Value) {
		return driver.ErrSkip // database/sql leaves it unchanged
	}
	return nil
}

// check calls the driver's checker, if it has one.
func (c *conn) check(v *driver.NamedValue) error {
	if c.checker == nil {
		return driver.ErrSkip
	}
	return c.checker.CheckNamedValue(v)
}

// convert converts arguments that CheckNamedValue has left unchanged, as database/sql does.
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

// ExecContext executes without a statement, if the driver supports that.
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

// Exec is ExecContext for callers without a context.
func (c *conn) Exec(query string, args []driver.Value) (driver.Result, error) {
	switch {
	case c.execer != nil:
		return c.execer.Exec(query, args)
	case c.execerCtx != nil:
		return c.execerCtx.ExecContext(context.Background(), query, named(args))
	}
	return nil, driver.ErrSkip
}

// QueryContext queries without a statement, if the driver supports that.
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

// Query is QueryContext for callers without a context.
func (c *conn) Query(query string, args []driver.Value) (driver.Rows, error) {
	switch {
	case c.queryer != nil:
		return c.queryer.Query(query, args)
	case c.queryCtx != nil:
		return c.queryCtx.QueryContext(context.Background(), query, named(args))
	}
	return nil, driver.ErrSkip
}

// positional returns the values of args for a driver without named arguments and contexts.
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
	_ driver.Execer             = (*conn)(nil) //nolint:staticcheck // some drivers implement no other
	_ driver.QueryerContext     = (*conn)(nil)
	_ driver.Queryer            = (*conn)(nil) //nolint:staticcheck // some drivers implement no other
	_ driver.ConnPrepareContext = (*conn)(nil)
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.SessionResetter    = (*conn)(nil)
	_ driver.Validator          = (*conn)(nil)
	_ driver.NamedValueChecker  = (*conn)(nil)
	_ wrapper                   = (*conn)(nil)
)

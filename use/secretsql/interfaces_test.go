package secretsql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/use/secretsql"
)

// everything has all interfaces of a connection.
type everything interface { //nolint:interfacebloat // database/sql looks for all of them
	driver.Conn
	driver.Pinger
	driver.ExecerContext
	driver.QueryerContext
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.SessionResetter
	driver.Validator
	driver.NamedValueChecker
	execs
	queries
	Raw() driver.Conn
}

// connect returns a connection of a kind.
func connect(t *testing.T, kind string) (everything, *journal) {
	t.Helper()
	is := is.New(t)
	var j journal
	client, _ := open(t)
	c := secretsql.Connector(client, key, func(context.Context, secrets.Secret) (driver.Connector, error) {
		return connector{kinds(&j)[kind]}, nil
	})
	t.Cleanup(func() { is.NoErr(c.(io.Closer).Close()) })
	conn, err := c.Connect(t.Context())
	is.NoErr(err)
	return conn.(everything), &j
}

// A connection has every interface. If the driver lacks one, it answers as database/sql would without it.
func TestInterfacesOfAMinimalDriver(t *testing.T) {
	is := is.New(t)
	ctx := t.Context()
	c, j := connect(t, "minimal")
	is.NoErr(c.Ping(ctx))
	is.NoErr(c.ResetSession(ctx))
	is.True(c.IsValid())
	_, err := c.Exec("insert", nil)
	is.Equal(err, driver.ErrSkip)
	_, err = c.ExecContext(ctx, "insert", nil)
	is.Equal(err, driver.ErrSkip)
	_, err = c.Query("select", nil)
	is.Equal(err, driver.ErrSkip)
	_, err = c.QueryContext(ctx, "select", nil)
	is.Equal(err, driver.ErrSkip)
	value := driver.NamedValue{Ordinal: 1, Value: int64(7)}
	is.Equal(c.CheckNamedValue(&value), driver.ErrSkip)
	is.Equal(value, driver.NamedValue{Ordinal: 1, Value: int64(7)})
	_, err = c.BeginTx(ctx, driver.TxOptions{Isolation: driver.IsolationLevel(sql.LevelSerializable)})
	is.Equal(err.Error(), "sql: driver does not support non-default isolation level")
	_, err = c.BeginTx(ctx, driver.TxOptions{ReadOnly: true})
	is.Equal(err.Error(), "sql: driver does not support read-only transactions")
	is.Equal(j.take(), nil) // none of this calls the driver

	_, err = c.BeginTx(ctx, driver.TxOptions{})
	is.NoErr(err)
	_, err = c.Begin()
	is.NoErr(err)
	_, err = c.PrepareContext(ctx, "select")
	is.NoErr(err)
	_, err = c.Prepare("select")
	is.NoErr(err)
	is.Equal(c.Raw().(minimal).journal, j)
	is.NoErr(c.Close())
	is.Equal(j.take(), []string{"Begin", "Begin", "Prepare select", "Prepare select", "Close"})

	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = c.PrepareContext(canceled, "select")
	is.Equal(err, context.Canceled)
	_, err = c.BeginTx(canceled, driver.TxOptions{})
	is.Equal(err, context.Canceled)
	is.Equal(j.take(), []string{"Prepare select", "Stmt.Close", "Begin", "Rollback"})
}

// If the driver has an interface, the connection returns the driver's answer.
func TestInterfacesOfADriver(t *testing.T) {
	is := is.New(t)
	ctx := t.Context()
	errs := func(err error, want error) { t.Helper(); is.Equal(err, want) }
	for _, kind := range []string{"full, and checks", "Execer and Queryer"} {
		c, j := connect(t, kind)
		isFull := kind == "full, and checks"
		_, err := c.Exec("fail", nil)
		errs(err, errQuery)
		_, err = c.ExecContext(ctx, "fail", nil)
		errs(err, errQuery)
		_, err = c.Query("fail", nil)
		errs(err, errQuery)
		_, err = c.QueryContext(ctx, "fail", nil)
		errs(err, errQuery)
		value := driver.NamedValue{Ordinal: 1, Value: special{7}}
		if isFull {
			errs(c.CheckNamedValue(&value), nil)
			is.Equal(value.Value, int64(7))
		} else {
			errs(c.CheckNamedValue(&value), driver.ErrSkip)
			_, err = c.ExecContext(ctx, "insert", []driver.NamedValue{{Name: "n"}})
			is.Equal(err.Error(), "sql: driver does not support the use of Named Parameters")
			_, err = c.QueryContext(ctx, "select", []driver.NamedValue{{Name: "n"}})
			is.Equal(err.Error(), "sql: driver does not support the use of Named Parameters")
			canceled, cancel := context.WithCancel(ctx)
			cancel()
			_, err = c.ExecContext(canceled, "insert", nil)
			errs(err, context.Canceled)
			_, err = c.QueryContext(canceled, "select", nil)
			errs(err, context.Canceled)
		}
		errs(c.Ping(ctx), nil)
		errs(c.ResetSession(ctx), nil)
		is.True(c.IsValid())
		_, err = c.BeginTx(ctx, driver.TxOptions{})
		errs(err, nil)
		_, err = c.PrepareContext(ctx, "fail")
		errs(err, errQuery)
		calls := j.take()
		for _, call := range []string{"Ping", "ResetSession", "IsValid", "BeginTx {0 false}", "PrepareContext"} {
			is.Equal(slices.Contains(calls, call), isFull) // call
		}
	}
}

// If both fail, Close returns the connection's error, which database/sql compares.
func TestCloseOfAConnection(t *testing.T) {
	client, _ := open(t)
	errConn, errConnector := errors.New("of the connection"), errors.New("of the connector")
	for _, tc := range []struct{ conn, connector, want error }{
		{nil, nil, nil}, {errConn, nil, errConn}, {nil, errConnector, errConnector}, {errConn, errConnector, errConn},
	} {
		is := is.New(t)
		var order []string
		c := secretsql.Connector(client, key, func(context.Context, secrets.Secret) (driver.Connector, error) {
			return struct {
				connector
				io.Closer
			}{connector{func() driver.Conn {
				return closing{closer(func() error { order = append(order, "connection"); return tc.conn })}
			}}, closer(func() error { order = append(order, "connector"); return tc.connector })}, nil
		})
		conn, err := c.Connect(t.Context())
		is.NoErr(err)
		is.Equal(conn.Close(), tc.want)
		is.Equal(order, []string{"connection", "connector"})
		is.NoErr(c.(io.Closer).Close())
	}
}

type closer func() error

func (c closer) Close() error { return c() }

// closing is a connection of which only Close matters.
type closing struct{ io.Closer }

func (closing) Prepare(string) (driver.Stmt, error) { return nil, errQuery }
func (closing) Begin() (driver.Tx, error)           { return nil, errQuery }

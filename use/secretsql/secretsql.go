package secretsql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/faults"
	"github.com/seed-5482dd03/secrets/use/internal/pool"
)

// Option configures a [Connector].
type Option = pool.Option

// Grace sets how long before the end of its lease a connection retires: the longest time that a query or transaction may take. It is capped
// at a fifth of the lease. d must be at least 1 ms. Default: 30 seconds.
func Grace(d time.Duration) Option { return pool.Grace(d) }

// RetireOnChange makes connections retire as soon as the secret has a new value. Default: they stay, because most databases check the
// password only at login.
func RetireOnChange() Option { return pool.RetireOnChange() }

// WithRejected makes a login count as refused if is returns true for its error, such as 1045 of MySQL or 18456 of SQL Server. It may be
// given several times. Errors that wrap [secrets.ErrRejected] and SQLSTATE 28P01 and 28000, from an SQLState method, always count.
func WithRejected(is func(error) bool) Option { return pool.WithRejected(is) }

// Bridge makes a login that the database refuses try all candidates again after 1, 3, 7, 15, 25 s and so on, and at the end of budget; see
// [secrets.Bridge]. Use it where the backend keeps no other versions, such as files: secret and database never change at the same moment. A
// query then waits, as long as its context allows, instead of failing. It may wait for two logins, so for twice the budget. A login that
// database/sql has started goes on until the budget is over, even if the query's context ends. A password that stays wrong is an error only
// then. While logins succeed, Bridge does nothing. budget must be at least 1 ms. Default: each candidate is tried once.
func Bridge(budget time.Duration) Option { return pool.Bridge(budget) }

// Connector returns a connector for [sql.OpenDB]. For each new connection, it calls open with the secret of key and connects with the
// driver.Connector that open returns. If the database refuses the credential, it repeats this with the next candidate; see
// [secrets.Client.Do]. open must be safe for concurrent use.
//
// The connector makes no calls before the first connection. That one starts a watch of the secret, which fetches the next lease before the
// current one ends. Close of the connector, which [sql.DB.Close] calls, ends the watch: make one connector per DB.
//
// If the driver.Connector is an [io.Closer], it is closed with its connection, or at once if the login fails. open must then return a new
// one each time. Driver of the connector returns the driver of the last opened connection.
//
// A connection fails with the unchanged error of open or of the driver, or with an error of [secrets.Client.Watch] or [secrets.Client.Do].
// If client or open is nil, or key or an option is invalid, each connection fails with all these faults.
func Connector(
	client *secrets.Client, key string, open func(ctx context.Context, s secrets.Secret) (driver.Connector, error), opts ...Option,
) driver.Connector {
	c := &connector{open: open}
	c.credential, c.err = pool.New("secrets: secretsql: ", client, key, opts, func(f *faults.List) {
		f.Checkf(open != nil, "a nil open")
	})
	return c
}

// Raw calls f with the driver's own connection, while nothing else uses it. [sql.Conn.Raw] passes the connection of this package instead.
// Raw also unwraps connections of other packages that have a Raw method, such as tracers. f must not keep the connection. Raw returns the
// error of f unchanged.
func Raw(conn *sql.Conn, f func(driverConn any) error) error {
	return conn.Raw(func(driverConn any) error {
		for {
			outer, ok := driverConn.(wrapper)
			if !ok {
				return f(driverConn)
			}
			driverConn = outer.Raw()
		}
	})
}

// wrapper is a connection around another one. Several packages have this method.
type wrapper interface{ Raw() driver.Conn }

// connector implements driver.Connector. It is safe for concurrent use.
type connector struct {
	credential *pool.Credential
	err        error // the faults, or nil
	open       func(context.Context, secrets.Secret) (driver.Connector, error)
	driver     atomic.Pointer[driver.Driver] // driver of the last connection, or nil
}

var (
	errNoConnector = errors.New("secrets: secretsql: open has returned a nil driver.Connector and no error")
	errNoConn      = errors.New("secrets: secretsql: the driver has returned a nil connection and no error")
	errNoDriver    = errors.New("secrets: secretsql: no driver is known before the first connection; use sql.OpenDB with the connector")
)

// Connect opens a connection.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	if c.err != nil {
		return nil, c.err
	}
	lifetime, err := c.credential.Begin(ctx)
	if err != nil {
		return nil, err
	}
	var opened *conn
	if err := c.credential.Do(ctx, func(ctx context.Context, s secrets.Secret) (err error) {
		if opened, err = c.logIn(ctx, s); err == nil {
			lifetime.LoggedIn(s)
		}
		return err
	}); err != nil {
		return nil, err
	}
	opened.lifetime = lifetime
	return opened, nil
}

// logIn opens a connection with s.
func (c *connector) logIn(ctx context.Context, s secrets.Secret) (*conn, error) {
	inner, err := c.open(ctx, s)
	switch {
	case err != nil:
		return nil, err
	case faults.IsNil(inner):
		return nil, errNoConnector
	}
	closer, _ := inner.(io.Closer)
	connected := false
	defer func() {
		if !connected && closer != nil { // runs also if the driver panics
			_ = closer.Close() //nolint:errcheck // the error of the driver says more
		}
	}()
	driverConn, err := inner.Connect(ctx)
	switch {
	case err != nil:
		return nil, err
	case faults.IsNil(driverConn):
		return nil, errNoConn
	}
	d := inner.Driver()
	c.driver.Store(&d)
	connected = true
	return newConn(driverConn, closer), nil
}

// Close ends the watch of the secret.
func (c *connector) Close() error {
	if c.err == nil {
		c.credential.Close()
	}
	return nil
}

// Driver returns the driver of the last connection.
func (c *connector) Driver() driver.Driver {
	if d := c.driver.Load(); d != nil {
		return *d
	}
	return noDriver{}
}

// noDriver is the driver before the first connection.
type noDriver struct{}

func (noDriver) Open(string) (driver.Conn, error) { return nil, errNoDriver }

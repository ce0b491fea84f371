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

// Grace makes a connection retire d before the lease of its credential ends: a query or a transaction may take that long. It is at most a
// fifth of the lease. d must be at least 1 ms. Default: 30 seconds.
func Grace(d time.Duration) Option { return pool.Grace(d) }

// RetireOnChange makes a connection retire as soon as another value of the secret is known. Default: it lives on, because most databases
// ask for the password at the login alone.
func RetireOnChange() Option { return pool.RetireOnChange() }

// WithRejected makes a login count as refused if is reports true for its error: 1045 of MySQL, 18456 of SQL Server. It may be given several
// times. Errors that wrap [secrets.ErrRejected] always count, and so do the SQLSTATEs 28P01 and 28000 of an error with a method SQLState.
func WithRejected(is func(error) bool) Option { return pool.WithRejected(is) }

// Bridge makes a login go on for at most budget while the database refuses all candidates, as [secrets.Bridge] does, and no longer than the
// context of the query. It is for backends without other versions, such as files, if secret and database do not change at the same moment:
// a query waits, for up to twice that time, and does not fail. A login that database/sql makes for a query which has left goes on for the
// whole budget. budget must be at least 1 ms. Default: each candidate is tried once.
func Bridge(budget time.Duration) Option { return pool.Bridge(budget) }

// Connector returns a connector for [sql.OpenDB]. For each new connection, it calls open with the secret that key names, and connects with
// the driver.Connector that open returns. If the database refuses the credential, it does so again with the next candidate; see
// [secrets.Client.Do]. open must be safe for concurrent use.
//
// The first connection makes the Client follow the secret with a handle, so that the next lease is there before the current one ends.
// Close of the connector, which [sql.DB.Close] calls, ends that: make one connector for each DB. It makes no calls before the first
// connection.
//
// A driver.Connector that is an [io.Closer] is closed with its connection, or at once if it does not connect. So open must return another
// one each time. Driver of the connector returns the driver of the connection that was opened last.
//
// The error of a connection is that of open or of the driver, as it is, or an error of the Client, as of [secrets.Client.Watch] and
// [secrets.Client.Do]. If client or open is nil, or key or an option has a fault, each connection fails with all of the faults.
func Connector(
	client *secrets.Client, key string, open func(ctx context.Context, s secrets.Secret) (driver.Connector, error), opts ...Option,
) driver.Connector {
	c := &connector{open: open}
	c.credential, c.err = pool.New("secrets: secretsql: ", client, key, opts, func(f *faults.List) {
		f.Checkf(open != nil, "a nil open")
	})
	return c
}

// Raw calls f with the connection of the driver itself, while nobody else uses it. It is as [sql.Conn.Raw], which hands out the connection
// of this package. A connection of another package that has a method Raw, such as one that traces, is passed through as well. f must not
// keep the connection. The error is that of f, as it is.
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

// wrapper is a connection around another one. Several packages have such a method.
type wrapper interface{ Raw() driver.Conn }

// connector is safe for concurrent use.
type connector struct {
	credential *pool.Credential
	err        error // the faults, or nil
	open       func(context.Context, secrets.Secret) (driver.Connector, error)
	driver     atomic.Pointer[driver.Driver] // of the last connection, or nil
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

// logIn opens a connection with a secret.
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
		if !connected && closer != nil { // also if the driver panics
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

// Close ends what follows the secret.
func (c *connector) Close() error {
	if c.err == nil {
		c.credential.Close()
	}
	return nil
}

// Driver returns that of the last connection.
func (c *connector) Driver() driver.Driver {
	if d := c.driver.Load(); d != nil {
		return *d
	}
	return noDriver{}
}

// noDriver stands for a driver that is not known yet.
type noDriver struct{}

func (noDriver) Open(string) (driver.Conn, error) { return nil, errNoDriver }

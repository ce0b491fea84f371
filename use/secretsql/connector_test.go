package secretsql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/use/secretsql"
)

// Each connection fails with all faults.
func TestFaults(t *testing.T) {
	is := is.New(t)
	c := secretsql.Connector(nil, "a?b=c", nil, nil, secretsql.Grace(0), secretsql.Bridge(7), secretsql.WithRejected(nil))
	_, err := c.Connect(t.Context())
	is.True(err != nil)
	for _, fault := range []string{
		"a nil Client", "a nil open", "option 1 is nil", "Grace: 0s is not more than 0", "Bridge: 7ns; did you mean 7*time.Second?",
		"WithRejected: a nil function",
	} {
		is.True(strings.Contains(err.Error(), "secrets: secretsql: "+fault))
	}
	is.True(strings.Contains(err.Error(), "a?b=c"))
	_, again := c.Connect(t.Context())
	is.Equal(again, err)
	is.NoErr(c.(io.Closer).Close())
	db := sql.OpenDB(c)
	is.Equal(db.PingContext(t.Context()), err)
	is.NoErr(db.Close())
}

// The errors of open and of the driver are returned unchanged.
func TestErrorsOfOpen(t *testing.T) {
	errOpen := errors.New("of open")
	client, _ := open(t)
	var typed *login
	closed := &database{}
	for name, c := range map[string]struct {
		open func(context.Context, secrets.Secret) (driver.Connector, error)
		text string
	}{
		"error":       {func(context.Context, secrets.Secret) (driver.Connector, error) { return nil, errOpen }, "of open"},
		"nil":         {func(context.Context, secrets.Secret) (driver.Connector, error) { return nil, nil }, "nil driver.Connector"},
		"a typed nil": {func(context.Context, secrets.Secret) (driver.Connector, error) { return typed, nil }, "nil driver.Connector"},
		"no connection": {func(context.Context, secrets.Secret) (driver.Connector, error) {
			return connector{func() driver.Conn { return nil }}, nil
		}, "nil connection"},
		"no connection, with a Closer": {func(_ context.Context, s secrets.Secret) (driver.Connector, error) {
			return struct {
				connector
				io.Closer
			}{connector{func() driver.Conn { return nil }}, &login{closed, s}}, nil
		}, "nil connection"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			connector := secretsql.Connector(client, key, c.open)
			_, err := connector.Connect(t.Context())
			is.True(err != nil)
			is.True(strings.Contains(err.Error(), c.text))
			is.Equal(err == errOpen, name == "error")
			is.NoErr(connector.(io.Closer).Close())
		})
	}
	is.New(t).Equal(closed.closers, 1)
}

// Only a refused login causes a new fetch from the backend; other database failures do not.
func TestOnlyARefusalCausesAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		client, backend := open(t, middleware.Standard())
		fails := errors.New("connection reset")
		logins := 0
		c := secretsql.Connector(client, key, func(context.Context, secrets.Secret) (driver.Connector, error) {
			logins++
			return nil, fails
		})
		for range 11 {
			_, err := c.Connect(t.Context())
			is.Equal(err, fails)
		}
		is.Equal(backend.Calls(), 1) // only the first Get: an outage of the database causes no fetch
		is.Equal(logins, 11)

		fails = refusal{}
		_, err := c.Connect(t.Context())
		is.Equal(err, fails)
		is.Equal(backend.Calls(), 2)
		is.Equal(logins, 12) // the same credential is not tried again

		time.Sleep(time.Second) // until then, the back-off allows no fetch
		backend.Set(key, "battery staple")
		_, err = c.Connect(t.Context())
		is.Equal(err, fails)
		is.Equal(logins, 14)
		is.NoErr(c.(io.Closer).Close())
	})
}

func TestErrorsOfTheClient(t *testing.T) {
	is := is.New(t)
	client, backend := open(t)
	c := secretsql.Connector(client, key, (&database{}).connector)
	is.Equal(backend.Calls(), 0)
	backend.Fail(secrets.ErrPermissionDenied)
	_, err := c.Connect(t.Context())
	is.True(errors.Is(err, secrets.ErrPermissionDenied))
	backend.Recover()
	conn, err := c.Connect(t.Context())
	is.NoErr(err)
	is.NoErr(conn.Close())
	is.NoErr(c.(io.Closer).Close())
}

// Close of the pool ends the watch of the secret.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		client, backend := open(t)
		db := sql.OpenDB(secretsql.Connector(client, key, (&database{}).connector))
		query(t, db)
		backend.ResetCounts()
		time.Sleep(time.Hour)
		is.True(backend.Calls() > 100)
		is.NoErr(db.Close())
		backend.ResetCounts()
		time.Sleep(time.Hour)
		is.Equal(backend.Calls(), 0)
	})
}

// The driver of the pool is that of its last connection.
func TestDriver(t *testing.T) {
	is := is.New(t)
	client, _ := open(t)
	db := sql.OpenDB(secretsql.Connector(client, key, (&database{}).connector))
	defer db.Close()
	_, err := db.Driver().Open("")
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "no driver is known before the first connection"))
	query(t, db)
	is.Equal(db.Driver(), fakeDriver{})
}

// outer is another package's connection around ours.
type outer struct{ driver.Conn }

func (o outer) Raw() driver.Conn { return o.Conn }

type outerConnector struct{ driver.Connector }

func (o outerConnector) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := o.Connector.Connect(ctx)
	return outer{c}, err
}

// Raw passes the driver's connection, which (*sql.Conn).Raw does not.
func TestRaw(t *testing.T) {
	client, _ := open(t)
	errF := errors.New("of f")
	ours := secretsql.Connector(client, key, (&database{}).connector)
	for name, c := range map[string]driver.Connector{
		"of this package": ours,
		"around it":       outerConnector{ours},
		"of a driver":     &login{&database{}, secrets.Secret{}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			db := sql.OpenDB(c)
			defer db.Close()
			conn, err := db.Conn(t.Context())
			is.NoErr(err)
			defer conn.Close()
			is.Equal(secretsql.Raw(conn, func(driverConn any) error {
				_, ok := driverConn.(*session)
				is.True(ok)
				return errF
			}), errF)
			is.NoErr(conn.Raw(func(driverConn any) error {
				_, ok := driverConn.(*session)
				is.Equal(ok, name == "of a driver")
				_, ok = driverConn.(interface{ Raw() driver.Conn })
				is.Equal(ok, name != "of a driver")
				return nil
			}))
		})
	}
}

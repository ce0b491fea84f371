package secrets_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// Connector is a driver.Connector that logs in with the credentials of the moment, so that a pool outlives their rotation.
type Connector struct {
	Secrets *secrets.Client
	Key     string // of a JSON document with the fields user and password
	Open    func(ctx context.Context, user, password string) (driver.Conn, error)
	Refused func(err error) bool // whether err of Open says that the database refused the credentials
	Base    driver.Driver
}

// Connect opens one connection. If the database refuses the cached credentials, and not for any other failure, Do asks for
// others.
func (c *Connector) Connect(ctx context.Context) (conn driver.Conn, err error) {
	err = c.Secrets.Do(ctx, c.Key, func(ctx context.Context, document secrets.Secret) error {
		conn, err = c.login(ctx, document)
		return err
	}, secrets.RejectedIf(c.Refused))
	return conn, err
}

// login takes user and password of one document: they are of one version.
func (c *Connector) login(ctx context.Context, document secrets.Secret) (driver.Conn, error) {
	user, err := document.Field("user")
	if err != nil {
		return nil, err
	}
	password, err := document.Field("password")
	if err != nil {
		return nil, err
	}
	return c.Open(ctx, user.Reveal(), password.Reveal())
}

func (c *Connector) Driver() driver.Driver { return c.Base }

var _ driver.Connector = (*Connector)(nil)

// errRefused stands for SQLSTATE 28P01 or 28000 of PostgreSQL, or error 1045 of MySQL.
var errRefused = errors.New("access denied")

func refused(err error) bool { return errors.Is(err, errRefused) }

// fakeDB stands for a database and its driver.
type fakeDB struct{ password string }

func (db *fakeDB) login(_ context.Context, user, password string) (driver.Conn, error) {
	if password != db.password {
		fmt.Println("refused:", user)
		return nil, fmt.Errorf("user %s: %w", user, errRefused)
	}
	fmt.Println("connected:", user)
	return fakeConn{}, nil
}

func (*fakeDB) Open(string) (driver.Conn, error) { return nil, errors.New("not used") }

type fakeConn struct{ driver.Conn }

func (fakeConn) Ping(context.Context) error { return nil }
func (fakeConn) Close() error               { return nil }

func Example_sqlPool() {
	ctx := context.Background()
	backend := secretstest.NewBackend(map[string]string{"database": `{"user":"app-1","password":"correct horse"}`})
	client, err := secrets.New(backend, middleware.Standard())
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	db := &fakeDB{password: "correct horse"}
	pool := sql.OpenDB(&Connector{Secrets: client, Key: "database", Open: db.login, Refused: refused, Base: db})
	defer pool.Close()
	pool.SetConnMaxLifetime(5 * time.Minute) // how long a connection with old credentials lives
	pool.SetMaxIdleConns(0)                  // in this example, each ping is a connection

	fmt.Println(pool.PingContext(ctx))

	backend.Set("database", `{"user":"app-2","password":"battery staple"}`) // somebody rotates them
	db.password = "battery staple"
	fmt.Println(pool.PingContext(ctx))
	// Output:
	// connected: app-1
	// <nil>
	// refused: app-1
	// connected: app-2
	// <nil>
}

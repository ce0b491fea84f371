package secretsql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretsql"
)

// errDenied is the driver's error for a refused login.
var errDenied = errors.New("access denied")

// server is a fake database with its driver.
type server struct{ password string }

// NewConnector returns a connector; drivers have such a function under various names.
func (s *server) NewConnector(user, password string) driver.Connector {
	return &account{s, user, password}
}

type account struct {
	server         *server
	user, password string
}

func (a *account) Driver() driver.Driver { return fakeDriver{} }

func (a *account) Connect(context.Context) (driver.Conn, error) {
	if a.password != a.server.password {
		fmt.Println("refused:", a.user)
		return nil, errDenied
	}
	fmt.Println("connected:", a.user)
	return minimal{journal: new(journal)}, nil
}

func ExampleConnector() {
	ctx := context.Background()
	backend := secretstest.NewBackend(map[string]string{"database": `{"username":"app-1","password":"correct horse"}`})
	client, err := secrets.New(backend, middleware.Standard())
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()

	database := &server{password: "correct horse"}
	db := sql.OpenDB(secretsql.Connector(client, "database", func(_ context.Context, s secrets.Secret) (driver.Connector, error) {
		var login struct {
			Username string
			Password secrets.Secret
		}
		if err := s.JSON(&login); err != nil {
			return nil, err
		}
		return database.NewConnector(login.Username, login.Password.Reveal()), nil
	}, secretsql.WithRejected(func(err error) bool { return errors.Is(err, errDenied) })))
	defer db.Close()
	db.SetMaxIdleConns(-1) // each ping opens a connection

	fmt.Println(db.PingContext(ctx))

	backend.Set("database", `{"username":"app-2","password":"battery staple"}`) // a rotation
	database.password = "battery staple"
	fmt.Println(db.PingContext(ctx))
	// Output:
	// connected: app-1
	// <nil>
	// refused: app-1
	// connected: app-2
	// <nil>
}

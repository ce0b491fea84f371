package drivertest_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretsql"
)

// OpenPostgreSQL returns a pool for PostgreSQL with pgx. The secret has the fields username and password; base has the rest.
func OpenPostgreSQL(client *secrets.Client, base *pgx.ConnConfig) *sql.DB {
	return sql.OpenDB(secretsql.Connector(client, "database", func(_ context.Context, s secrets.Secret) (driver.Connector, error) {
		user, err := s.Field("username")
		if err != nil {
			return nil, err
		}
		password, err := s.Field("password")
		if err != nil {
			return nil, err
		}
		cfg := base.Copy()
		cfg.User, cfg.Password = user.Reveal(), password.Reveal()
		return stdlib.GetConnector(*cfg), nil
	}))
}

// OpenMySQL returns a pool for MySQL or MariaDB with go-sql-driver.
func OpenMySQL(client *secrets.Client, base *mysql.Config) *sql.DB {
	return sql.OpenDB(secretsql.Connector(client, "database", func(_ context.Context, s secrets.Secret) (driver.Connector, error) {
		user, err := s.Field("username")
		if err != nil {
			return nil, err
		}
		password, err := s.Field("password")
		if err != nil {
			return nil, err
		}
		cfg := base.Clone()
		cfg.User, cfg.Passwd = user.Reveal(), password.Reveal()
		return mysql.NewConnector(cfg)
	}, secretsql.WithRejected(func(err error) bool {
		refusal, ok := errors.AsType[*mysql.MySQLError](err)
		return ok && refusal.Number == 1045 // ER_ACCESS_DENIED_ERROR
	})))
}

func Example_postgreSQL() {
	client, err := secrets.New(secretstest.NewBackend(nil), middleware.Standard())
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()
	base, err := pgx.ParseConfig("host=db.example.com dbname=shop sslmode=verify-full") // neither user nor password
	if err != nil {
		log.Panic(err)
	}
	db := OpenPostgreSQL(client, base) // makes no connection yet
	defer db.Close()
	fmt.Println(db.Stats().OpenConnections)
	// Output: 0
}

func Example_mySQL() {
	client, err := secrets.New(secretstest.NewBackend(nil), middleware.Standard())
	if err != nil {
		log.Panic(err)
	}
	defer client.Close()
	base := mysql.NewConfig()
	base.Net, base.Addr, base.DBName, base.TLSConfig = "tcp", "db.example.com:3306", "shop", "true"
	db := OpenMySQL(client, base) // makes no connection yet
	defer db.Close()
	fmt.Println(db.Stats().OpenConnections)
	// Output: 0
}

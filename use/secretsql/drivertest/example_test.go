package drivertest_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/use/secretsql"
)

// PostgreSQL with pgx. The address and everything else but the login is in base: pgx.ParseConfig("host=db.internal dbname=app").
func Example_postgreSQL() {
	open := func(client *secrets.Client, base *pgx.ConnConfig) *sql.DB {
		return sql.OpenDB(secretsql.Connector(client, "database", func(_ context.Context, s secrets.Secret) (driver.Connector, error) {
			var login struct{ Username, Password secrets.Secret }
			if err := s.JSON(&login); err != nil {
				return nil, err
			}
			cfg := base.Copy()
			cfg.User, cfg.Password = login.Username.Reveal(), login.Password.Reveal()
			return stdlib.GetConnector(*cfg), nil
		}))
	}
	_ = open
	// Output:
}

// MySQL or MariaDB with go-sql-driver. The address and everything else but the login is in base: mysql.NewConfig().
func Example_mySQL() {
	open := func(client *secrets.Client, base *mysql.Config) *sql.DB {
		return sql.OpenDB(secretsql.Connector(client, "database", func(_ context.Context, s secrets.Secret) (driver.Connector, error) {
			var login struct{ Username, Password secrets.Secret }
			if err := s.JSON(&login); err != nil {
				return nil, err
			}
			cfg := base.Clone()
			cfg.User, cfg.Passwd = login.Username.Reveal(), login.Password.Reveal()
			return mysql.NewConnector(cfg)
		}, secretsql.WithRejected(func(err error) bool {
			refusal, ok := errors.AsType[*mysql.MySQLError](err)
			return ok && refusal.Number == 1045 // ER_ACCESS_DENIED_ERROR
		})))
	}
	_ = open
	// Output:
}

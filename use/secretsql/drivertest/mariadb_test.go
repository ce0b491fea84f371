//go:build mariadb

package drivertest_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretsql"
)

// These tests run by command, with the MariaDB server of Debian:
//
//	apt-get install --no-install-recommends mariadb-server
//	go test -v -race -tags mariadb -run MariaDB ./...
//
// The server listens on loopback, with a data directory of its own. If the tests run as root, it runs as nobody.

const first, second = "correct horse", "battery staple"

// mariaDB starts a server and returns its address and an administrator's pool. It has the user app with the password "first".
func mariaDB(t *testing.T) (addr string, root *sql.DB) {
	t.Helper()
	is := is.New(t)
	dir, err := os.MkdirTemp("", "mariadb-") //nolint:usetesting // the user nobody cannot enter a t.TempDir
	is.NoErr(err)
	t.Cleanup(func() { is.NoErr(os.RemoveAll(dir)) })
	var attributes *syscall.SysProcAttr
	if os.Geteuid() == 0 {
		nobody, err := user.Lookup("nobody")
		is.NoErr(err)
		uid, err := strconv.Atoi(nobody.Uid)
		is.NoErr(err)
		gid, err := strconv.Atoi(nobody.Gid)
		is.NoErr(err)
		is.NoErr(os.Chown(dir, uid, gid))
		attributes = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	run := func(program string, args ...string) (*exec.Cmd, *bytes.Buffer) {
		cmd := exec.Command(program, args...) //nolint:noctx // the cleanup ends it, after the context of t
		var output bytes.Buffer
		cmd.Dir, cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = dir, attributes, &output, &output
		return cmd, &output
	}
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "socket")
	install, output := run("mariadb-install-db", "--no-defaults", "--datadir="+data,
		"--auth-root-authentication-method=normal", "--skip-test-db")
	if err := install.Run(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	is.NoErr(err)
	addr = listener.Addr().String()
	_, port, err := net.SplitHostPort(addr)
	is.NoErr(err)
	is.NoErr(listener.Close())
	server, output := run("mariadbd", "--no-defaults", "--datadir="+data, "--socket="+socket, "--pid-file="+filepath.Join(dir, "pid"),
		"--bind-address=127.0.0.1", "--port="+port, "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0")
	is.NoErr(server.Start())
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
		if t.Failed() {
			t.Logf("the log of the server:\n%s", output)
		}
	})
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User = "unix", socket, "root"
	admin, err := mysql.NewConnector(cfg)
	is.NoErr(err)
	root = sql.OpenDB(admin)
	t.Cleanup(func() { is.NoErr(root.Close()) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for root.PingContext(ctx) != nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the server does not accept connections")
		}
	}
	for _, query := range []string{"CREATE DATABASE app", "CREATE USER app IDENTIFIED BY '" + first + "'", "GRANT ALL ON app.* TO app"} {
		_, err := root.ExecContext(ctx, query)
		is.NoErr(err)
	}
	return addr, root
}

// openMySQL returns an open function for go-sql-driver.
func openMySQL(addr string) func(context.Context, secrets.Secret) (driver.Connector, error) {
	base := mysql.NewConfig()
	base.Net, base.Addr, base.DBName, base.MaxAllowedPacket = "tcp", addr, "app", 1<<20
	return func(_ context.Context, s secrets.Secret) (driver.Connector, error) {
		l, err := loginOf(s)
		if err != nil {
			return nil, err
		}
		cfg := base.Clone()
		cfg.User, cfg.Passwd = l.Username, l.Password
		return mysql.NewConnector(cfg)
	}
}

func isDenied(err error) bool {
	refusal, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && refusal.Number == 1045
}

func mariaDBClient(t *testing.T) (*secrets.Client, *secretstest.Backend) {
	t.Helper()
	b := secretstest.NewBackend(map[string]string{"database": `{"username":"app","password":"` + first + `"}`})
	client, err := secrets.New(b, middleware.Standard())
	is.New(t).NoErr(err)
	t.Cleanup(func() { is.New(t).NoErr(client.Close()) })
	return client, b
}

// secretsql reaches every interface of go-sql-driver, with the same results as without it.
func TestMariaDBInterfaces(t *testing.T) {
	addr, _ := mariaDB(t)
	client, _ := mariaDBClient(t)
	testInterfaces(t, client, "?", func(c any) bool { _, ok := c.(driver.Validator); return ok }, []string{
		"ConnBeginTx", "ConnPrepareContext", "ExecerContext", "NamedValueChecker", "Pinger", "QueryerContext", "SessionResetter", "Validator",
	}, openMySQL(addr))
}

// The database changes the password 5 seconds before the store. Each query opens a connection.
func TestMariaDBPasswordChange(t *testing.T) {
	addr, root := mariaDB(t)
	variant := func(opts ...secretsql.Option) (result *tally, rotated bool) {
		is := is.New(t)
		_, err := root.ExecContext(t.Context(), "ALTER USER app IDENTIFIED BY '"+first+"'")
		is.NoErr(err)
		client, backend := mariaDBClient(t)
		db := sql.OpenDB(secretsql.Connector(client, "database", openMySQL(addr), opts...))
		defer db.Close()
		db.SetMaxIdleConns(-1)
		ctx, cancel := context.WithTimeout(t.Context(), during(t))
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			result = work(ctx, db, "SELECT 1")
		})
		wait := func(d time.Duration) { <-time.After(d) }
		wait(2 * time.Second)
		_, err = root.ExecContext(t.Context(), "ALTER USER app IDENTIFIED BY '"+second+"'")
		is.NoErr(err)
		wait(5 * time.Second)
		backend.Set("database", `{"username":"app","password":"`+second+`"}`)
		wg.Wait()
		s, err := client.Get(t.Context(), "database")
		is.NoErr(err)
		l, err := loginOf(s)
		is.NoErr(err)
		return result, l.Password == second
	}
	is := is.New(t)
	ours, rotated := variant(secretsql.WithRejected(isDenied), secretsql.Bridge(time.Minute))
	control, _ := variant() // without WithRejected
	t.Logf("secretsql: %v", ours)
	t.Logf("without WithRejected: %v", control)
	is.True(rotated)
	is.Equal(ours.failures(), 0)
	is.True(control.failures() > control.ok)
}

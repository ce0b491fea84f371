//go:build vault && unix

package drivertest_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/internal/databaseserver"
	"github.com/seed-5482dd03/secrets/internal/postgresserver"
	"github.com/seed-5482dd03/secrets/internal/vaultserver"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretsql"
)

// connectorTo returns an open function for pgx and server.
func connectorTo(t *testing.T, server *postgresserver.Server) func(context.Context, secrets.Secret) (driver.Connector, error) {
	t.Helper()
	base := configOf(t, server)
	return func(_ context.Context, s secrets.Secret) (driver.Connector, error) {
		l, err := loginOf(s)
		if err != nil {
			return nil, err
		}
		cfg := base.Copy()
		cfg.User, cfg.Password = l.Username, l.Password
		return stdlib.GetConnector(*cfg), nil
	}
}

func configOf(t *testing.T, server *postgresserver.Server) *pgx.ConnConfig {
	t.Helper()
	host, port, err := net.SplitHostPort(server.Addr)
	is.New(t).NoErr(err)
	cfg, err := pgx.ParseConfig("sslmode=disable dbname=postgres host=" + host + " port=" + port)
	is.New(t).NoErr(err)
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec // a failed query then takes as long as others
	return cfg
}

// whole returns the key of a secret with all its fields.
func whole(path string) string { return secrets.Ref{Path: path, Whole: true}.String() }

// document returns a secret with one login.
func document(t *testing.T, user, password string) string {
	t.Helper()
	text, err := json.Marshal(map[string]string{"username": user, "password": password})
	is.New(t).NoErr(err)
	return string(text)
}

func newClient(t *testing.T, b secrets.Backend) *secrets.Client {
	t.Helper()
	c, err := secrets.New(b, middleware.Standard())
	is.New(t).NoErr(err)
	t.Cleanup(func() { is.New(t).NoErr(c.Close()) })
	return c
}

// secretsql reaches every interface of pgx, with the same results as without it. pgx has no Validator.
func TestPgxInterfaces(t *testing.T) {
	t.Parallel()
	server := postgresserver.Start(t)
	client := newClient(t, secretstest.NewBackend(map[string]string{"database": document(t, server.User, server.Password)}))
	testInterfaces(t, client, "$1::text", func(c any) bool { _, ok := c.(*stdlib.Conn); return ok }, []string{
		"ConnBeginTx", "ConnPrepareContext", "ExecerContext", "NamedValueChecker", "Pinger", "QueryerContext", "SessionResetter",
	}, connectorTo(t, server))
}

// naive is the usual approach without this package: it logs in with Get, and with Refresh after a refusal. Its connections do not retire.
type naive struct {
	client *secrets.Client
	key    string
	open   func(context.Context, secrets.Secret) (driver.Connector, error)
}

func (*naive) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

func (n *naive) Connect(ctx context.Context) (driver.Conn, error) {
	connect := func(s secrets.Secret, err error) (driver.Conn, error) {
		if err != nil {
			return nil, err
		}
		c, err := n.open(ctx, s)
		if err != nil {
			return nil, err
		}
		return c.Connect(ctx)
	}
	conn, err := connect(n.client.Get(ctx, n.key))
	if refusal, ok := errors.AsType[*pgconn.PgError](err); ok && (refusal.Code == "28P01" || refusal.Code == "28000") {
		return connect(n.client.Refresh(ctx, n.key))
	}
	return conn, err
}

// Vault changes the credentials while a pool is under load.
func TestRotation(t *testing.T) {
	d := databaseserver.Start(t)
	t.Run("dynamic, drops the role", func(t *testing.T) { testDynamic(t, d, databaseserver.DropsRole) })
	t.Run("dynamic, ends the connections", func(t *testing.T) { testDynamic(t, d, databaseserver.EndsConnections) })
	t.Run("static", func(t *testing.T) { testStatic(t, d) })
}

// vaultClient returns a client for the credentials of a Vault server.
func vaultClient(t *testing.T, d *databaseserver.Server) (*secrets.Client, *vaultserver.Recorder) {
	t.Helper()
	recorder := d.Vault.Record(t)
	b, err := vault.New(vault.WithAddress(recorder.Addr), vault.WithLookup(func(string) (string, bool) { return "", false }),
		vault.WithToken(d.Vault.RootToken), vault.WithMount(databaseserver.Mount), vault.WithDynamicSecrets())
	is.New(t).NoErr(err)
	return newClient(t, b), recorder
}

// query reads what members of a group role may read.
const query = "SELECT n FROM app_table"

// dynamicRole creates a role as programs should: a group owns the objects, and each Vault user is a member of it.
func dynamicRole(t *testing.T, d *databaseserver.Server, revocation string) string {
	t.Helper()
	d.SQL.Must(t, `DO $$ BEGIN
		IF to_regclass('app_table') IS NULL THEN
			CREATE ROLE app_group NOLOGIN; CREATE TABLE app_table AS SELECT 1 AS n; ALTER TABLE app_table OWNER TO app_group;
		END IF;
	END $$`)
	role := d.DynamicRole(t, "4s", revocation)
	d.Vault.Must(t, http.MethodPost, databaseserver.Mount+"/roles/"+role, map[string]any{
		"db_name": "postgres", "default_ttl": "4s", "max_ttl": "4s", "revocation_statements": revocation,
		"creation_statements": `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE app_group`,
	})
	return role
}

func testDynamic(t *testing.T, d *databaseserver.Server, revocation string) {
	t.Helper()
	is := is.New(t)
	path := "creds/" + dynamicRole(t, d, revocation)
	key := whole(path)
	open := connectorTo(t, d.SQL)
	client, recorder := vaultClient(t, d)
	naiveClient, naiveRecorder := vaultClient(t, d)
	ctx, cancel := context.WithTimeout(t.Context(), during(t))
	defer cancel()
	var ours, control *tally
	var wg sync.WaitGroup
	run := func(c driver.Connector, result **tally) {
		db := sql.OpenDB(c)
		db.SetMaxIdleConns(workers)
		db.SetMaxOpenConns(2 * workers)
		wg.Go(func() {
			*result = work(ctx, db, query)
			is.NoErr(db.Close())
		})
	}
	run(secretsql.Connector(client, key, open), &ours)
	run(&naive{naiveClient, key, open}, &control)
	wg.Wait()
	leases := func(r *vaultserver.Recorder) int {
		return r.Count(http.MethodGet, "/v1/"+databaseserver.Mount+"/"+path)
	}
	t.Logf("secretsql: %v; %d leases", ours, leases(recorder))
	t.Logf("the naive recipe: %v; %d leases", control, leases(naiveRecorder))
	is.Equal(ours.failures(), 0)
	is.True(ours.ok > 0)
	is.True(leases(recorder) >= 3)
	if revocation == databaseserver.DropsRole {
		is.True(control.failures() > control.ok)
	} else {
		is.True(control.failures() > 0) // each ended connection fails one query
	}
}

// Vault changes the password of a user. Each query opens a connection, as after an idle time.
func testStatic(t *testing.T, d *databaseserver.Server) {
	t.Helper()
	is := is.New(t)
	path := "static-creds/" + d.StaticRole(t, "8s")
	key := whole(path)
	client, recorder := vaultClient(t, d)
	ctx, cancel := context.WithTimeout(t.Context(), during(t)+10*time.Second)
	defer cancel()
	db := sql.OpenDB(secretsql.Connector(client, key, connectorTo(t, d.SQL), secretsql.Bridge(10*time.Second)))
	defer db.Close()
	db.SetMaxIdleConns(-1)
	passwords := make(map[string]bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		h, err := client.Watch(ctx, key)
		is.NoErr(err)
		for ctx.Err() == nil {
			changed := h.Changed()
			passwords[h.Secret().Reveal()] = true
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	})
	ours := work(ctx, db, "SELECT 1")
	wg.Wait()
	calls := recorder.Count(http.MethodGet, "/v1/"+databaseserver.Mount+"/"+path)
	t.Logf("secretsql: %v; %d passwords; %d calls to Vault", ours, len(passwords), calls)
	is.Equal(ours.failures(), 0)
	is.True(len(passwords) > 1)
}

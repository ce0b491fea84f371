//go:build vault && unix

package secretspgx_test

import (
	"context"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/internal/databaseserver"
	"github.com/seed-5482dd03/secrets/internal/vaultserver"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/use/secretspgx"
)

// rotationTest names the variable that sets how long the rotations of a test last. Default: 15 s.
const rotationTest = "ROTATION_TEST"

func during(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv(rotationTest)
	if text == "" {
		return 15 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", rotationTest, err)
	}
	return d
}

// database is a PostgreSQL server whose users a Vault server manages.
type database struct{ *databaseserver.Server }

// newDatabase returns a database with a table for the members of a group. A dropped role can still run queries that need no permission,
// such as SELECT 1.
func newDatabase(t *testing.T) *database {
	t.Helper()
	d := &database{databaseserver.Start(t)}
	d.SQL.Must(t, `CREATE ROLE app; CREATE TABLE orders (id int); INSERT INTO orders VALUES (1); GRANT SELECT ON orders TO app`)
	return d
}

// dynamicRole creates a role whose users live for ttl, as members of the group.
func (d *database) dynamicRole(t *testing.T, ttl, revocation string) (role string) {
	t.Helper()
	role = d.DynamicRole(t, ttl, revocation)
	d.Vault.Must(t, http.MethodPost, databaseserver.Mount+"/roles/"+role, map[string]any{
		"db_name":             "postgres",
		"creation_statements": `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE app`,
	})
	return role
}

// client returns a client for the credentials of the database, and the recorder of its requests.
func (d *database) client(t *testing.T) (*secrets.Client, *vaultserver.Recorder) {
	t.Helper()
	recorder := d.Vault.Record(t)
	backend, err := vault.New(vault.WithAddress(recorder.Addr), vault.WithToken(d.Vault.RootToken), vault.WithMount(databaseserver.Mount),
		vault.WithDynamicSecrets(), vault.WithLookup(func(string) (string, bool) { return "", false }))
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, backend, middleware.Standard()), recorder
}

// config returns a pool configuration for at most size connections.
func (d *database) config(t *testing.T, size int32) *pgxpool.Config {
	t.Helper()
	cfg, err := pgxpool.ParseConfig("postgres://" + d.SQL.Addr + "/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	cfg.MaxConns = size
	return cfg
}

// tally counts queries that succeeded and failed, and has the first failure.
type tally struct {
	ok, failed int
	first      error
	longest    time.Duration
}

// load queries pool in several workers until ctx ends. Each worker pauses between queries.
func load(ctx context.Context, pool *pgxpool.Pool, workers int, pause time.Duration) (all tally) {
	var mu sync.Mutex
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			var own tally
			for ctx.Err() == nil {
				began := time.Now()
				var one int
				if err := pool.QueryRow(context.WithoutCancel(ctx), "SELECT id FROM orders").Scan(&one); err == nil && one == 1 {
					own.ok++
				} else if own.failed++; own.first == nil {
					own.first = err
				}
				own.longest = max(own.longest, time.Since(began))
				if pause > 0 {
					select {
					case <-time.After(pause):
					case <-ctx.Done():
					}
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.ok += own.ok
			all.failed += own.failed
			all.longest = max(all.longest, own.longest)
			if all.first == nil {
				all.first = own.first
			}
		})
	}
	running.Wait()
	return all
}

// configWithGet returns the configuration of a program that uses only BeforeConnect and Get.
func (d *database) configWithGet(t *testing.T, client *secrets.Client, key string, size int32) *pgxpool.Config {
	t.Helper()
	cfg := d.config(t, size)
	cfg.BeforeConnect = func(ctx context.Context, cfg *pgx.ConnConfig) error {
		credential, err := client.Get(ctx, key)
		if err != nil {
			return err
		}
		var login struct {
			Username string
			Password secrets.Secret
		}
		err = credential.JSON(&login)
		cfg.User, cfg.Password = login.Username, login.Password.Reveal()
		return err
	}
	return cfg
}

// No query of a pool fails because of a rotation. Vault creates users that live for 4 s, and drops them with and without their connections.
func TestRealRotation(t *testing.T) {
	const workers = 16
	d := newDatabase(t)
	for name, revocation := range map[string]string{
		"Vault drops the role":       databaseserver.DropsRole,
		"Vault ends the connections": databaseserver.EndsConnections,
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			role := d.dynamicRole(t, "4s", revocation)
			key := "creds/" + role + "#"
			client, recorder := d.client(t)
			cfg := d.config(t, workers)
			is.NoErr(secretspgx.Configure(cfg, client, key))
			pool := open(t, cfg)
			control, _ := d.client(t)
			naive := open(t, d.configWithGet(t, control, key, workers))

			ctx, cancel := context.WithTimeout(t.Context(), during(t))
			defer cancel()
			var got, lost tally
			var running sync.WaitGroup
			running.Go(func() { lost = load(ctx, naive, workers, 10*time.Millisecond) }) // a failure takes longer than a success
			got = load(ctx, pool, workers, 0)
			running.Wait()
			t.Logf("Configure: %d ok, %d failed, %v; the longest took %v; %d connections, %d leases", got.ok, got.failed, got.first,
				got.longest.Round(time.Millisecond), pool.Stat().NewConnsCount(), recorder.Count(http.MethodGet, "/v1/database/creds/"+role))
			t.Logf("Get in BeforeConnect: %d ok, %d failed, the first with %v; %d connections", lost.ok, lost.failed, lost.first,
				naive.Stat().NewConnsCount())
			is.Equal(got.failed, 0)
			is.True(pool.Stat().NewConnsCount() > 2*workers) // there were rotations
			if revocation == databaseserver.DropsRole {
				is.True(lost.failed > lost.ok)
			} else {
				is.True(lost.failed > 0) // the pool replaces an ended connection, so each fails once
			}
		})
	}
}

// Vault changes the password of a static role. Open connections stay, so none logs in until the client has the new password.
func TestRealStaticRole(t *testing.T) {
	const workers = 16
	d := newDatabase(t)
	role := d.StaticRole(t, "8s")
	d.SQL.Must(t, `GRANT app TO "`+role+`"`)
	for name, opts := range map[string][]secretspgx.Option{"by default": nil, "RetireOnChange": {secretspgx.RetireOnChange()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			client, _ := d.client(t)
			cfg := d.config(t, workers)
			is.NoErr(secretspgx.Configure(cfg, client, "static-creds/"+role+"#", opts...))
			pool := open(t, cfg)
			ctx, cancel := context.WithTimeout(t.Context(), 2*during(t))
			defer cancel()
			got := load(ctx, pool, workers, 0)
			t.Logf("%d ok, %d failed, %v; the longest took %v; %d connections", got.ok, got.failed, got.first, got.longest.Round(time.Millisecond),
				pool.Stat().NewConnsCount())
			is.Equal(got.failed, 0)
			is.True(pool.Stat().NewConnsCount() > 2*workers) // there were rotations
		})
	}
}

package secretspgx_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretspgx"
)

// dynamic is a secrets engine: each read creates a user that lives for ttl. Like Vault, it then drops the user in the server.
type dynamic struct {
	ttl time.Duration

	mu     sync.Mutex
	ends   map[string]time.Time // by password
	broken bool
}

func (d *dynamic) backend() secrets.Backend {
	d.ends = make(map[string]time.Time)
	return secrets.NewBackend(secrets.Info{Name: "dynamic", Leases: true}, func(context.Context, secrets.Ref) (secrets.Secret, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.broken {
			return secrets.Secret{}, secrets.ErrUnavailable
		}
		n, end := strconv.Itoa(len(d.ends)+1), time.Now().Add(d.ttl)
		d.ends[n] = end
		return secrets.NewSecret(fmt.Sprintf(`{"username":"v-%s","password":%q}`, n, n), secrets.Meta{Version: n, ExpiresAt: end}), nil
	})
}

func (d *dynamic) setBroken(broken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = broken
}

func (d *dynamic) leases() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ends)
}

// state returns the SQLSTATE with which the server answers a user; "" means success.
func (d *dynamic) state(password, dropped string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Now().Before(d.ends[password]) {
		return ""
	}
	return dropped
}

func (d *dynamic) server() *server {
	s := newServer(func(password string) string { return d.state(password, "28P01") })
	s.query = func(password, _ string) string { return d.state(password, "42501") }
	return s
}

// hold acquires a connection of pool, and queries on it now and after a time.
func hold(t *testing.T, pool *pgxpool.Pool, during time.Duration) error {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		return err
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), "SELECT 1"); err != nil {
		return err
	}
	time.Sleep(during)
	_, err = conn.Exec(t.Context(), "SELECT 1")
	return err
}

// work uses pool in 16 goroutines, for transactions slightly shorter than Grace.
func work(t *testing.T, pool *pgxpool.Pool, during time.Duration) (done, failed int) {
	t.Helper()
	var mu sync.Mutex
	var workers sync.WaitGroup
	end := time.Now().Add(during)
	for i := range 16 {
		workers.Go(func() {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			for time.Now().Before(end) {
				err := hold(t, pool, 1900*time.Millisecond)
				mu.Lock()
				if done++; err != nil {
					failed++
				}
				mu.Unlock()
				time.Sleep(time.Duration(i+1) * 500 * time.Millisecond)
			}
		})
	}
	workers.Wait()
	return done, failed
}

func TestAConnectionRetiresBeforeItsLeaseEnds(t *testing.T) {
	for name, standard := range map[string]bool{"with Standard": true, "without a cache": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				d := &dynamic{ttl: time.Minute}
				var opts []secrets.Option
				if standard {
					opts = append(opts, middleware.Standard())
				}
				client := newClient(t, d.backend(), opts...)
				s := d.server()
				pool := open(t, s.configured(t, client, "pool_max_conns=16", secretspgx.Grace(2*time.Second)))
				done, failed := work(t, pool, 10*time.Minute)
				t.Logf("%d done, %d failed, %d leases, %d logins", done, failed, d.leases(), len(s.logins()))
				is.Equal(failed, 0)
				is.True(!standard || d.leases() < 16)

				control := s.config(t, "pool_max_conns=16")
				control.BeforeConnect = func(ctx context.Context, cfg *pgx.ConnConfig) error {
					credential, err := client.Get(ctx, "db")
					if err != nil {
						return err
					}
					password, err := credential.Field("password")
					cfg.Password = password.Reveal()
					return err
				}
				done, failed = work(t, open(t, control), 10*time.Minute)
				t.Logf("control: %d done, %d failed", done, failed)
				is.True(failed > 0 && (failed > done/4 || !standard)) // without a cache, each connection has its own lease
			})
		})
	}
}

// All connections retire together. A single Acquire still succeeds, and so do many at once.
func TestAPoolFullOfRetiredConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		d := &dynamic{ttl: time.Hour}
		s := d.server()
		pool := open(t, s.configured(t, newClient(t, d.backend(), middleware.Standard()), "pool_max_conns=8"))
		fill := func() {
			var held []*pgxpool.Conn
			for range 8 {
				conn, err := pool.Acquire(t.Context())
				is.NoErr(err)
				held = append(held, conn)
			}
			for _, conn := range held {
				conn.Release()
			}
			is.Equal(s.connections(), 8)
		}
		fill()
		is.Equal(len(s.logins()), 8)
		time.Sleep(59*time.Minute + 31*time.Second)
		is.NoErr(acquire(t, pool))
		synctest.Wait()
		is.Equal(len(s.logins()), 1)
		is.Equal(s.connections(), 1) // the others are closed

		fill()
		time.Sleep(59*time.Minute + 31*time.Second)
		s.logins()
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() { is.NoErr(acquire(t, pool)) })
		}
		callers.Wait()
		is.True(len(s.logins()) <= 8)
	})
}

func TestGraceIsAPartOfTheLease(t *testing.T) {
	for name, tc := range map[string]struct {
		opts []secretspgx.Option
		ttl  time.Duration
		want time.Duration // before the end of the lease
	}{
		"by default":           {nil, time.Hour, 30 * time.Second},
		"Grace":                {[]secretspgx.Option{secretspgx.Grace(time.Minute)}, time.Hour, time.Minute},
		"a fifth of the lease": {nil, time.Minute, 12 * time.Second},
		"at most a fifth":      {[]secretspgx.Option{secretspgx.Grace(time.Hour)}, time.Hour, 12 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				d := &dynamic{ttl: tc.ttl}
				s := d.server()
				cfg := s.configured(t, newClient(t, d.backend(), middleware.Standard()), "", tc.opts...)
				cfg.MaxConnLifetime, cfg.MaxConnIdleTime = 0, 24*time.Hour
				pool := open(t, cfg)
				is.NoErr(acquire(t, pool))
				time.Sleep(tc.ttl - tc.want - time.Millisecond)
				is.NoErr(acquire(t, pool))
				is.Equal(s.logins(), []string{"v-1:1"})
				time.Sleep(time.Second) // at 80 % of the lease, the client may be about to fetch another
				is.NoErr(acquire(t, pool))
				is.Equal(s.logins(), []string{"v-2:2"})
			})
		})
	}
}

// In an outage there is no newer lease. The pool then keeps its connections until the lease ends, and does not log in for each query.
func TestAnOutageAtTheEndOfALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		d := &dynamic{ttl: 5 * time.Minute}
		s := d.server()
		pool := open(t, s.configured(t, newClient(t, d.backend(), middleware.Standard()), "pool_max_conns=1"))
		is.NoErr(acquire(t, pool))
		d.setBroken(true)
		for range 29_900 { // until 1 s before the end
			is.NoErr(hold(t, pool, 0))
			time.Sleep(10 * time.Millisecond)
		}
		logins := len(s.logins())
		t.Logf("%d logins", logins)
		is.True(logins <= 5)
		time.Sleep(time.Second)
		is.True(secrets.Class(acquire(t, pool)) == secrets.ErrUnavailable)
		is.Equal(len(s.logins()), 0)
		d.setBroken(false)
		time.Sleep(15 * time.Second) // longer than any back-off
		is.NoErr(hold(t, pool, 0))
	})
}

func TestRetireOnChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := secretstest.NewBackend(map[string]string{"db": "one"})
		client := newClient(t, backend, middleware.Standard())
		s := newServer(func(string) string { return "" })
		retiring := open(t, s.configured(t, client, "user=retiring pool_max_conns=1", secretspgx.RetireOnChange()))
		keeping := open(t, s.configured(t, client, "user=keeping pool_max_conns=1"))
		use := func() []string {
			for range 3 {
				is.NoErr(acquire(t, retiring))
				is.NoErr(acquire(t, keeping))
			}
			return s.logins()
		}
		is.Equal(use(), []string{"retiring:one", "keeping:one"})
		backend.Set("db", "two")
		is.Equal(len(use()), 0) // the client has not fetched it yet
		time.Sleep(6 * time.Minute)
		is.Equal(use(), []string{"retiring:two"})
	})
}

// Only the program references what Configure creates, not the live Client, nor goroutines of a closed pool. This test uses real time,
// because the garbage collector runs outside bubbles.
func TestADroppedConfigIsCollected(t *testing.T) {
	is := is.New(t)
	client := newClient(t, secretstest.NewBackend(map[string]string{"db": "one"}), middleware.Standard())
	s := newServer(only("one"))
	lost := func() weak.Pointer[hook] {
		held := &hook{}
		cfg := s.configured(t, client, "", secretspgx.WithCredential(held.set))
		pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
		is.NoErr(err)
		defer pool.Close()
		is.NoErr(acquire(t, pool))
		return weak.Make(held)
	}()
	for lost.Value() != nil { // ends with the test's deadline at the latest
		runtime.GC()
	}
	runtime.KeepAlive(client)
	is.Equal(slices.Clone(s.logins()), []string{"nobody:one"})
}

// hook is referenced by what Configure creates.
type hook struct{ calls []string }

func (h *hook) set(cfg *pgx.ConnConfig, s secrets.Secret) error {
	h.calls = append(h.calls, s.Meta().Version)
	cfg.Password = s.Reveal()
	return nil
}

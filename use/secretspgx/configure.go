package secretspgx

import (
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/faults"
	"github.com/seed-5482dd03/secrets/use/internal/pool"
)

// prefix begins the text of each fault.
const prefix = "secretspgx: Configure: "

// Configure makes the pools of cfg log in with the secret of key. A connection retires before the lease of its secret ends: the pool
// replaces it when it is next acquired. cfg must come from [pgxpool.ParseConfig]. Configure makes no network calls.
//
// Hooks that cfg already has still run. Set them before Configure; a hook that is set later replaces that of Configure. BeforeConnect runs
// first, so user and password are always those of the secret. PrepareConn, or BeforeAcquire if there is no PrepareConn, runs for
// connections that do not retire. Configure a cfg once: after a second call, connections log in with the second secret, and retire for
// either.
//
// If the server refuses a login (SQLSTATE 28P01 or 28000, or per [WithRejected]), that Acquire fails with the error of pgx. The next one
// uses the next candidate of [secrets.Client.Do]: the refreshed secret, then other versions. A refused candidate is skipped for 5 minutes.
// If all are refused, the current secret is tried again. Each Acquire makes at most one login. If the secret cannot be read, the error is
// that of [secrets.Client.Get].
//
// cfg, its copies and all their pools share this state, and are safe for concurrent use. The first login makes client watch key, until
// client closes or the program has dropped cfg and all its pools.
//
// Configure returns all faults of its arguments as one error, and then leaves cfg unchanged.
func Configure(cfg *pgxpool.Config, client *secrets.Client, key string, opts ...Option) error {
	c := config{set: func(to *pgx.ConnConfig, s secrets.Secret) error { return setLogin(key, to, s) }, faults: faults.List{Prefix: prefix}}
	c.faults.Checkf(cfg != nil, "a nil Config")
	c.faults.Checkf(cfg == nil || cfg.ConnConfig != nil, "a Config without a ConnConfig; make it with pgxpool.ParseConfig")
	faults.Apply(&c.faults, opts, func(o Option) { o(&c) })
	credential, err := pool.New(prefix, client, key, c.pool, func(f *faults.List) { f.Add(c.faults.Err()) })
	if err != nil {
		return err
	}
	l := &logins{credential: credential, set: c.set, data: dataPrefix + key}
	cfg.BeforeConnect = l.beforeConnect(cfg.BeforeConnect)
	cfg.PrepareConn = l.prepareConn(cfg.PrepareConn, cfg.BeforeAcquire) //nolint:staticcheck // deprecated, but programs use it
	return nil
}

// Option configures [Configure].
type Option func(c *config)

// config is the result of options.
type config struct {
	pool   []pool.Option
	set    func(to *pgx.ConnConfig, s secrets.Secret) error
	faults faults.List
}

// Grace sets how long before the end of its lease a connection retires. It is capped at a fifth of the lease. d must be at least 1 ms, and
// should exceed the longest transaction. Default: 30 s.
func Grace(d time.Duration) Option {
	return func(c *config) { c.pool = append(c.pool, pool.Grace(d)) }
}

// RetireOnChange makes connections retire as soon as the secret has a new value. Default: they stay, since PostgreSQL checks a password
// only at login.
func RetireOnChange() Option {
	return func(c *config) { c.pool = append(c.pool, pool.RetireOnChange()) }
}

// WithRejected makes a server error, a *pgconn.PgError, count as a refused login if is returns true for it. It is called only for errors
// during logins, and may be given several times; some poolers have their own errors. SQLSTATE 28P01 and 28000 always count.
func WithRejected(is func(error) bool) Option {
	return func(c *config) { c.pool = append(c.pool, pool.WithRejected(is)) }
}

// WithCredential makes set copy the secret into the configuration of a connection, for secrets of another form. cfg is a copy for this
// login only; set may change all of it. If set fails, that Acquire returns its error unchanged, and the next one uses the next candidate.
// Default: user and password, as in the package comment.
func WithCredential(set func(cfg *pgx.ConnConfig, s secrets.Secret) error) Option {
	return func(c *config) {
		c.faults.Checkf(set != nil, "WithCredential: a nil function")
		c.set = set
	}
}

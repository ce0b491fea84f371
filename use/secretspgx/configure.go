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

// Configure makes the pools of cfg log in with the secret that key names. A connection retires before the lease of its secret ends: the
// pool replaces it when it is next acquired. cfg must be made by [pgxpool.ParseConfig]. Configure makes no network call.
//
// Hooks that cfg has already still run. BeforeConnect runs first, so that user and password are always those of the secret; PrepareConn,
// or BeforeAcquire if there is no PrepareConn, runs for connections that do not retire. A hook that is set after Configure replaces the
// one of Configure: set yours before. Configure a cfg once: after a second call, connections log in with the secret of the second, and
// retire for either.
//
// If the server refuses a login (SQLSTATE 28P01 or 28000, or as [WithRejected] says), that Acquire fails with the error of pgx. The next
// one uses the next candidate of [secrets.Client.Do]: the refreshed secret, then other versions. A candidate that was refused is passed
// over for 5 minutes, unless all were: then it begins again with the current secret. So each Acquire makes one login at most. If the
// secret cannot be read, the error is that of [secrets.Client.Get].
//
// cfg, its copies and all pools of them share what is known of the secret, and are safe for concurrent use. The first login makes client
// watch key, until client closes or the program has dropped cfg and all pools of it.
//
// The error joins all faults of the arguments. Then cfg is as before.
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
	cfg.PrepareConn = l.prepareConn(cfg.PrepareConn, cfg.BeforeAcquire) //nolint:staticcheck // it is deprecated, and programs have it
	return nil
}

// Option configures [Configure].
type Option func(c *config)

// config is what options record.
type config struct {
	pool   []pool.Option
	set    func(to *pgx.ConnConfig, s secrets.Secret) error
	faults faults.List
}

// Grace sets how long before the end of its lease a connection retires. It is at most a fifth of the lease. d must be at least 1 ms, and
// should be longer than the longest transaction. Default: 30 s.
func Grace(d time.Duration) Option {
	return func(c *config) { c.pool = append(c.pool, pool.Grace(d)) }
}

// RetireOnChange makes connections retire as soon as another value of the secret is known. Default: they live on, as PostgreSQL lets
// them after a change of the password.
func RetireOnChange() Option {
	return func(c *config) { c.pool = append(c.pool, pool.RetireOnChange()) }
}

// WithRejected makes an error of the server, a *pgconn.PgError, count as a refused login if is reports true. It is asked about errors
// during logins alone, and may be given several times. Default: SQLSTATE 28P01 and 28000, which always count. Some poolers have others.
func WithRejected(is func(error) bool) Option {
	return func(c *config) { c.pool = append(c.pool, pool.WithRejected(is)) }
}

// WithCredential makes set put the secret into the configuration of a connection, for secrets of another form. cfg is a copy for this
// login alone, and set may change all of it. An error of set fails that Acquire, as it is, and the next one uses the next candidate.
// Default: user and password, as the package comment says.
func WithCredential(set func(cfg *pgx.ConnConfig, s secrets.Secret) error) Option {
	return func(c *config) {
		c.faults.Checkf(set != nil, "WithCredential: a nil function")
		c.set = set
	}
}

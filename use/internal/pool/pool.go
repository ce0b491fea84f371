// Package pool is the shared part of the packages for connection pools. It watches a credential, and decides when a connection that logged
// in with it must retire.
//
//	lifetime, err := credential.Begin(ctx) // before the credential is read
//	err = credential.Do(ctx, login)        // login logs in with a secret s
//	lifetime.LoggedIn(s)
//	retire := lifetime.IsOver()            // before each use of the connection
package pool

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/faults"
)

// DefaultGrace is the default of Grace.
const DefaultGrace = 30 * time.Second

// maxGraceOfLease limits Grace to a part of the lease, given as a divisor. A handle fetches the next lease by 80 % of the current one.
const maxGraceOfLease = 5

// Option configures a Credential.
type Option func(c *Config)

// Config is the result of options.
type Config struct {
	grace          time.Duration
	retireOnChange bool
	rejected       []func(error) bool
	bridge         time.Duration
	faults         faults.List
}

// Grace sets how long before the end of its lease a connection retires. It must be at least 1 ms.
func Grace(d time.Duration) Option {
	return func(c *Config) {
		c.grace = d
		c.faults.CheckDuration("Grace", d)
		c.faults.Checkf(d > 0, "Grace: %v is not more than 0", d)
	}
}

// RetireOnChange makes connections retire when the secret has a new value.
func RetireOnChange() Option { return func(c *Config) { c.retireOnChange = true } }

// WithRejected makes a login count as refused if is returns true for its error.
func WithRejected(is func(error) bool) Option {
	return func(c *Config) {
		c.faults.Checkf(is != nil, "WithRejected: a nil function")
		c.rejected = append(c.rejected, is)
	}
}

// Bridge makes a login retry for at most budget, like [secrets.Bridge].
func Bridge(budget time.Duration) Option {
	return func(c *Config) {
		c.bridge = budget
		c.faults.CheckDuration("Bridge", budget)
		c.faults.Checkf(budget > 0, "Bridge: %v is not more than 0", budget)
	}
}

// Credential is a secret that connections log in with. It is safe for concurrent use.
type Credential struct {
	client *secrets.Client
	key    string
	config Config

	mu     sync.Mutex
	closed bool
	watch  *watch // running or done; nil if there is none
}

// watch is a shared call of Client.Watch.
type watch struct {
	done   chan struct{}
	handle *secrets.Handle // like err, set before done is closed
	err    error
}

// New returns the Credential for key. It fetches nothing. prefix begins the text of each fault. check adds faults of the caller.
func New(prefix string, client *secrets.Client, key string, opts []Option, check func(*faults.List)) (*Credential, error) {
	c := &Credential{client: client, key: key, config: Config{grace: DefaultGrace, faults: faults.List{Prefix: prefix}}}
	f := &c.config.faults
	f.Checkf(client != nil, "a nil Client")
	_, err := secrets.ParseRef(key)
	f.Add(err)
	check(f)
	faults.Apply(f, opts, func(o Option) { o(&c.config) })
	return c, f.Err()
}

// Begin begins a login: call it before the credential is read. The first call starts a watch of the credential. If that fails, Begin
// returns the error of [secrets.Client.Watch], and the next call tries again. A panic in a middleware is an error of class
// [secrets.ErrUnknown].
func (c *Credential) Begin(ctx context.Context) (*Lifetime, error) {
	w := c.begin()
	select {
	case <-w.done:
		if w.err != nil {
			return nil, w.err
		}
		return &Lifetime{config: &c.config, handle: w.handle, changed: w.handle.Changed()}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// begin returns the watch. It starts one if there is none.
func (c *Credential) begin() *watch {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watch == nil {
		c.watch = &watch{done: make(chan struct{})}
		go c.follow(c.watch)
	}
	return c.watch
}

// follow runs w on its own goroutine and recovers panics of middleware, which no caller could. It uses no login's context, because the
// handle outlives the first login.
func (c *Credential) follow(w *watch) {
	w.err = &secrets.Error{Key: c.key, Err: secrets.ErrUnknown, Detail: "a middleware panicked, or ended its goroutine"}
	defer func() {
		_ = recover() //nolint:errcheck // w.err reports it; the panic's text may show a value
		c.mu.Lock()
		defer c.mu.Unlock()
		close(w.done)
		switch {
		case w.err != nil:
			c.watch = nil
		case c.closed:
			w.close()
		}
	}()
	w.handle, w.err = c.client.Watch(context.Background(), c.key)
}

// close closes the handle of a watch that is done.
func (w *watch) close() { _ = w.handle.Close() } //nolint:errcheck // it returns nil

// Close ends the watch. After that, a change of the secret ends no Lifetime.
func (c *Credential) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.watch == nil {
		return
	}
	select {
	case <-c.watch.done:
		c.watch.close()
	default: // follow closes it
	}
}

// Do calls login with each candidate, as [secrets.Client.Do] does.
func (c *Credential) Do(ctx context.Context, login func(context.Context, secrets.Secret) error) error {
	opts := []secrets.DoOption{secrets.RejectedIf(c.IsRejected)}
	if c.config.bridge > 0 {
		opts = append(opts, secrets.Bridge(c.config.bridge))
	}
	return c.client.Do(ctx, c.key, login, opts...)
}

// IsRejected reports whether err means that a server has refused the credential: by SQLSTATE 28P01 or 28000
// (https://www.postgresql.org/docs/current/errcodes-appendix.html) or by WithRejected. MySQL drivers report codes differently.
func (c *Credential) IsRejected(err error) bool {
	return isRefusal(err) || slices.ContainsFunc(c.config.rejected, func(is func(error) bool) bool { return is(err) })
}

// isRefusal reports whether err, or any error that it wraps, has the SQLSTATE of a refusal. errors.AsType is not enough: a driver that
// tries several hosts joins their errors, and AsType finds only the first SQLSTATE.
func isRefusal(err error) bool {
	if state, ok := err.(sqlState); ok {
		switch state.SQLState() {
		case "28P01", "28000":
			return true
		}
	}
	switch wrapper := err.(type) { //nolint:errorlint // every error of the tree is visited
	case wrapping:
		return isRefusal(wrapper.Unwrap())
	case joining:
		return slices.ContainsFunc(wrapper.Unwrap(), isRefusal)
	}
	return false
}

// sqlState is implemented by errors of PostgreSQL drivers, such as pgconn.PgError and pq.Error.
type sqlState interface{ SQLState() string }

// Errors that wrap others have one of these; see package errors.
type (
	wrapping interface{ Unwrap() error }
	joining  interface{ Unwrap() []error }
)

// Lifetime decides how long a connection may live. It is safe for concurrent use once LoggedIn has returned.
type Lifetime struct {
	config   *Config
	handle   *secrets.Handle
	changed  <-chan struct{} // closed when the value differs from that at Begin
	secret   secrets.Secret
	end      time.Time // end of the lease, or zero
	retireAt time.Time // set if end is
}

// LoggedIn records the secret that the connection has logged in with.
func (l *Lifetime) LoggedIn(s secrets.Secret) {
	meta := s.Meta()
	l.secret, l.end = s, meta.ExpiresAt.Round(0) // wall clock: the monotonic clock stops while a machine sleeps
	l.retireAt = l.end.Add(-min(l.config.grace, max(0, l.end.Sub(meta.FetchedAt.Round(0))/maxGraceOfLease)))
}

// IsOver reports whether the connection must retire now. It does not block.
func (l *Lifetime) IsOver() bool { return l.IsOverIn(0) }

// IsOverIn reports whether the connection must retire now, or will have to after d because of its lease. Before the end of the lease, it
// retires only if there is another credential. A new login with the same one would gain nothing, and each query would need one.
func (l *Lifetime) IsOverIn(d time.Duration) bool {
	if l.hasEndedIn(d) || l.isPast(l.retireAt, d) && !l.handle.Secret().Equal(l.secret) {
		return true
	}
	if !l.config.retireOnChange {
		return false
	}
	select {
	case <-l.changed:
		// The new value may be the one in use: in a rotation, a version can be accepted before it becomes current.
		return !l.handle.Secret().Equal(l.secret)
	default:
		return false
	}
}

// HasEnded reports whether the lease has ended, so the connection is useless.
func (l *Lifetime) HasEnded() bool { return l.hasEndedIn(0) }

func (l *Lifetime) hasEndedIn(d time.Duration) bool {
	return l.isPast(l.end, d) && !l.wasRefetched()
}

// isPast reports whether t will have passed after d, if the connection depends on a lease.
func (l *Lifetime) isPast(t time.Time, d time.Duration) bool {
	return !l.end.IsZero() && !time.Now().Add(d).Before(t)
}

// wasRefetched reports whether a later fetch returned the same value. Such a value is not tied to one lease. It is a password that changes
// at that time, such as that of a Vault static role. Servers do not check it again on open connections. The handle fetches by 80 % of a
// lease.
func (l *Lifetime) wasRefetched() bool {
	s := l.handle.Secret()
	return s.Meta().FetchedAt.After(l.secret.Meta().FetchedAt) && s.Equal(l.secret)
}

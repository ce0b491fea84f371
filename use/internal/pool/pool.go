// Package pool has what the packages for connection pools share. It follows a credential, and says when a connection that logged in with
// it must retire.
//
//	lifetime, err := credential.Begin(ctx)  // before the credential is read
//	err = client.Do(ctx, "database", login) // with a secret s
//	lifetime.LoggedIn(s)
//	retire := lifetime.IsOver()             // before each use of the connection
package pool

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/faults"
)

// DefaultGrace is Grace by default.
const DefaultGrace = 30 * time.Second

// maxGraceOfLease is the largest part of a lease that Grace takes, as a divisor. A handle fetches the next lease when at most 80 % of the
// current one have passed.
const maxGraceOfLease = 5

// Option configures a Credential.
type Option func(c *Config)

// Config is what options record.
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

// RetireOnChange makes connections retire when another value of the secret is known.
func RetireOnChange() Option { return func(c *Config) { c.retireOnChange = true } }

// WithRejected makes a login count as refused if is reports true for its error.
func WithRejected(is func(error) bool) Option {
	return func(c *Config) {
		c.faults.Checkf(is != nil, "WithRejected: a nil function")
		c.rejected = append(c.rejected, is)
	}
}

// Bridge makes a login go on for that long, as [secrets.Bridge] does.
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
	watch  *watch // under way or done, or nil
}

// watch is a call of Client.Watch, which its callers share.
type watch struct {
	done   chan struct{}
	handle *secrets.Handle // as err, set before done is closed
	err    error
}

// New returns the Credential that key names. It fetches nothing. prefix begins the text of each fault. check adds faults of the caller.
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

// Begin begins a login: call it before the credential is read. The first call makes the Client follow the credential. It fails as
// [secrets.Client.Watch] does, and the next call tries again. If a middleware of the program panics, that is an error of class
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

// begin returns the watch, which it starts unless there is one.
func (c *Credential) begin() *watch {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watch == nil {
		c.watch = &watch{done: make(chan struct{})}
		go c.follow(c.watch)
	}
	return c.watch
}

// follow runs on a goroutine of its own, where nobody but itself can recover what a middleware panics with. The handle outlives the login
// that needs it first, and must keep none of its context.
func (c *Credential) follow(w *watch) {
	w.err = &secrets.Error{Key: c.key, Err: secrets.ErrUnknown, Detail: "a middleware panicked, or ended its goroutine"}
	defer func() {
		_ = recover() //nolint:errcheck // err says that there was something, without its text
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

// close ends the handle of a watch that is done.
func (w *watch) close() { _ = w.handle.Close() } //nolint:errcheck // it returns nil

// Close ends what follows the credential. Lifetimes end no more because of a change.
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
	default: // follow will close it
	}
}

// Do calls login as [secrets.Client.Do] does.
func (c *Credential) Do(ctx context.Context, login func(context.Context, secrets.Secret) error) error {
	opts := []secrets.DoOption{secrets.RejectedIf(c.IsRejected)}
	if c.config.bridge > 0 {
		opts = append(opts, secrets.Bridge(c.config.bridge))
	}
	return c.client.Do(ctx, c.key, login, opts...)
}

// IsRejected reports whether err says that a server has refused the credential: by SQLSTATE 28P01 or 28000, or as an option says.
// https://www.postgresql.org/docs/current/errcodes-appendix.html has the codes. A MySQL driver has them in other places.
func (c *Credential) IsRejected(err error) bool {
	return isRefusal(err) || slices.ContainsFunc(c.config.rejected, func(is func(error) bool) bool { return is(err) })
}

// isRefusal reports whether err, or an error that it wraps, has a SQLSTATE of a refusal. errors.AsType finds the first SQLSTATE alone:
// that of another host, where a driver tries several and joins what they say.
func isRefusal(err error) bool {
	if state, ok := err.(sqlState); ok {
		switch state.SQLState() {
		case "28P01", "28000":
			return true
		}
	}
	switch wrapper := err.(type) { //nolint:errorlint // as well
	case wrapping:
		return isRefusal(wrapper.Unwrap())
	case joining:
		return slices.ContainsFunc(wrapper.Unwrap(), isRefusal)
	}
	return false
}

// sqlState is what errors of PostgreSQL drivers have, such as pgconn.PgError and pq.Error.
type sqlState interface{ SQLState() string }

// The two forms of errors that wrap others; see package errors.
type (
	wrapping interface{ Unwrap() error }
	joining  interface{ Unwrap() []error }
)

// Lifetime is how long a connection may live. It is safe for concurrent use once LoggedIn has returned.
type Lifetime struct {
	config   *Config
	handle   *secrets.Handle
	changed  <-chan struct{} // closed after the value of the time of Begin has changed
	secret   secrets.Secret
	end      time.Time // of the lease, or zero
	retireAt time.Time // if there is an end
}

// LoggedIn notes which secret the connection has logged in with.
func (l *Lifetime) LoggedIn(s secrets.Secret) {
	meta := s.Meta()
	l.secret, l.end = s, meta.ExpiresAt.Round(0) // without the monotonic clock, which stands still while a machine sleeps
	l.retireAt = l.end.Add(-min(l.config.grace, max(0, l.end.Sub(meta.FetchedAt.Round(0))/maxGraceOfLease)))
}

// IsOver reports whether the connection must retire. It does not block.
func (l *Lifetime) IsOver() bool { return l.IsOverIn(0) }

// IsOverIn reports whether the connection must retire now, or because of its lease after d. Before the end of the lease, it retires only
// once there is another credential: a login with the same one would gain nothing, and each query would be a login.
func (l *Lifetime) IsOverIn(d time.Duration) bool {
	if l.hasEndedIn(d) || l.hasCome(l.retireAt, d) && !l.handle.Secret().Equal(l.secret) {
		return true
	}
	if !l.config.retireOnChange {
		return false
	}
	select {
	case <-l.changed:
		// The change may be to the very secret: in a rotation, a version can be accepted before it is the current one.
		return !l.handle.Secret().Equal(l.secret)
	default:
		return false
	}
}

// HasEnded reports whether the lease is over: the connection is of no use any more.
func (l *Lifetime) HasEnded() bool { return l.hasEndedIn(0) }

func (l *Lifetime) hasEndedIn(d time.Duration) bool {
	return l.hasCome(l.end, d) && !l.isFetchedAgain()
}

// hasCome reports whether t will have come after d, if the connection depends on a lease.
func (l *Lifetime) hasCome(t time.Time, d time.Duration) bool {
	return !l.end.IsZero() && !time.Now().Add(d).Before(t)
}

// isFetchedAgain reports whether a later fetch has brought the same value. Then it is not the credential of one lease, which goes with
// it, but a password that is changed at that time, such as that of a static role of Vault: servers do not ask connections for it again.
// The handle fetches when 80 % of a lease have passed.
func (l *Lifetime) isFetchedAgain() bool {
	s := l.handle.Secret()
	return s.Meta().FetchedAt.After(l.secret.Meta().FetchedAt) && s.Equal(l.secret)
}

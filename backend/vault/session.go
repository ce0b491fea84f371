package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/seed-5482dd03/secrets"
)

const (
	loginTimeout  = 10 * time.Second
	revokeTimeout = 2 * time.Second
	// closeTimeout bounds the wait for a login that does not heed its context.
	closeTimeout = 2 * time.Second
	// loginGrace is how long Close lets a login run on that was under way.
	loginGrace = time.Second
)

// session is a source of tokens that logs in, at the first use and whenever there is no token, and renews what it has got.
//
// Nothing runs while there is no token, or one without an end. Otherwise one goroutine, that of keep, extends the token
// ahead of its end, by a renewal or else by another login. If it cannot, the token ends, the goroutine ends with it, and
// the next caller logs in.
type session struct {
	server *server
	// method logs in. A func shows no dump of the session what a method that is not of this package keeps.
	method func(ctx context.Context, client *api.Client) (*api.Secret, error)
	// namespace is where the token is renewed and revoked, too: that of the login, or nil for that of the server. The policy default, which
	// allows both, is about the namespace of the token. Vault's agent does the same:
	// https://github.com/hashicorp/vault/blob/v1.21.0/command/agent.go (ahClient).
	namespace *string
	ended     func(serial uint64) // called outside of mu, for each token that is no longer used; or nil
	ctx       context.Context     //nolint:containedctx // the life of the session: no call's
	cancel    context.CancelFunc

	running sync.WaitGroup // logins and keep; added to under mu, unless closed

	mu       sync.Mutex
	closed   bool
	current  *grant // or nil
	login    *login // the one that is under way, or nil
	serial   uint64 // of the last token
	refusal  error  // of the last login, if that failed and was no outage
	resume   time.Time
	pause    time.Duration // after the last refusal
	patience time.Duration // a token that is younger is not given up because the server calls it invalid
}

// grant is a token that a login has got.
type grant struct {
	token token
	since time.Time
	stop  context.CancelFunc // ends keep

	// Guarded by session.mu.
	ttl       time.Duration // of the last answer; 0 for a token without an end
	end       time.Time
	renewable bool
}

func (g *grant) over(now time.Time) bool { return g.ttl > 0 && !now.Before(g.end) }

// login is one call of the method, which callers share.
type login struct {
	over chan struct{} // closed when the method has returned, and what it has brought is installed
	done chan struct{} // closed after got or err is set
	got  token
	err  error
}

// newSession returns a source of tokens that logs in to s with method. It is called before anything is asked of s.
func newSession(s *server, method api.AuthMethod, ended func(serial uint64)) *session {
	ctx, cancel := context.WithCancel(context.Background())
	session := &session{server: s, method: method.Login, ended: ended, ctx: ctx, cancel: cancel, patience: leastPause}
	if own, ok := method.(*Auth); ok {
		session.namespace = own.namespace
	}
	return session
}

// as returns a client that sends t to the namespace of the login.
func (s *session) as(t token) *api.Client {
	client := s.server.as(t)
	if s.namespace != nil {
		client = client.WithNamespace(*s.namespace)
	}
	return client
}

// once marks the context of requests that are not repeated by the client: who makes them pauses by rules of its own.
type once struct{}

// token returns the current token. If there is none it logs in, with all who ask meanwhile.
func (s *session) token(ctx context.Context) (token, error) {
	if err := ctx.Err(); err != nil {
		return token{}, err
	}
	s.mu.Lock()
	g := s.current
	over := g != nil && g.over(time.Now())
	s.mu.Unlock()
	if over {
		s.drop(g)
	}
	return s.obtain(ctx, nil)
}

// obtain returns the current token, unless that is in place of which another is wanted, or else that of a login.
func (s *session) obtain(ctx context.Context, inPlaceOf *grant) (token, error) {
	s.mu.Lock()
	now := time.Now()
	switch g := s.current; {
	case s.closed:
		s.mu.Unlock()
		return token{}, errClosed()
	case g != nil && g != inPlaceOf && !g.over(now):
		s.mu.Unlock()
		return g.token, nil
	case s.login == nil && now.Before(s.resume):
		err := s.refusal
		s.mu.Unlock()
		return token{}, err
	case s.login == nil:
		s.begin(ctx)
	}
	l := s.login
	s.mu.Unlock()

	select {
	case <-l.done:
		return l.got, l.err
	case <-ctx.Done():
		return token{}, ctx.Err()
	}
}

// begin begins a login. The caller holds s.mu.
func (s *session) begin(ctx context.Context) {
	l := &login{over: make(chan struct{}), done: make(chan struct{})}
	s.login = l
	// It outlives its first caller, of whose context it keeps the values, and ends with the session.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loginTimeout)
	unhook := context.AfterFunc(s.ctx, cancel)
	// A method that does not heed its context must not keep callers, nor be called a second time beside itself.
	timer := time.AfterFunc(loginTimeout+time.Second, func() { s.answer(l, token{}, errLoginTimeout()) })
	s.running.Go(func() {
		defer func() {
			timer.Stop()
			unhook()
			cancel()
			close(l.over)
		}()
		s.logIn(ctx, l)
	})
}

// logIn logs in, and answers l.
func (s *session) logIn(ctx context.Context, l *login) {
	began := time.Now()
	var secret *api.Secret
	err := fail(secrets.ErrUnknown, "the login ended its goroutine")
	defer func() { // deferred, for neither a panic nor a runtime.Goexit in the method may leave callers waiting
		if p := recover(); p != nil {
			secret, err = nil, fail(secrets.ErrUnknown, fmt.Sprintf("a panic with a %T in the login", p)) // its text may quote a credential
		}
		s.settle(ctx, l, began, secret, err)
	}()
	// A client of its own, for a method may set the token and the namespace of the one that it is given.
	client := s.server.client().WithNamespace(s.server.client().Namespace())
	secret, err = s.method(ctx, client)
}

// settle takes what a login has brought.
func (s *session) settle(ctx context.Context, l *login, began time.Time, secret *api.Secret, err error) {
	var g *grant
	if err != nil {
		err = loginFailure(ctx, "", err)
	} else {
		g, err = granted(secret, began)
	}
	replaced := s.install(l, g, err)
	if replaced != nil && s.ended != nil {
		s.ended(replaced.token.serial)
	}
	if err != nil {
		s.answer(l, token{}, err)
	} else {
		s.answer(l, g.token, nil)
	}
}

// install makes g the current token, or remembers the refusal that err is, and returns the token that it replaced.
func (s *session) install(l *login, g *grant, err error) (replaced *grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.login == l {
		s.login = nil
	}
	if err != nil {
		if !errors.Is(err, secrets.ErrUnavailable) {
			s.pause = longer(s.pause)
			s.refusal, s.resume = err, time.Now().Add(s.pause)
		}
		return nil
	}
	s.refusal, s.resume, s.pause = nil, time.Time{}, 0
	s.serial++
	g.token.serial = s.serial
	if replaced = s.current; replaced != nil {
		replaced.stop()
	}
	s.current = g
	ctx, stop := context.WithCancel(s.ctx)
	g.stop = stop
	if g.ttl > 0 && !s.closed { // if it is closed, then close revokes it
		s.running.Go(func() { s.keep(ctx, g) })
	}
	return replaced
}

// answer lets the callers of l go on. Only the first answer counts.
func (s *session) answer(l *login, got token, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-l.done:
		return
	default:
	}
	l.got, l.err = got, err
	close(l.done)
}

// granted returns the token in secret, the answer to a login that began then.
func granted(secret *api.Secret, began time.Time) (*grant, error) {
	switch {
	case secret == nil:
		return nil, unavailable("the login brought an empty answer: does a proxy stand before the server?")
	case secret.WrapInfo != nil:
		return nil, malformed("the login brought a wrapped answer")
	case secret.Auth == nil:
		return nil, unavailable("the login brought an answer without a token, which is not Vault's: does a proxy stand before it?")
	case secret.Auth.ClientToken == "" && secret.Auth.MFARequirement != nil:
		return nil, unauthenticated("the login asks for a second factor, which a program does not have")
	}
	value := strings.TrimSpace(secret.Auth.ClientToken)
	if value == "" || !printable(value) || secret.Auth.LeaseDuration < 0 {
		return nil, malformed("the login brought no usable token")
	}
	ttl := lease(secret.Auth)
	if strings.HasPrefix(value, "hvb.") {
		// The server counts the time of a batch token from the beginning of the second in which it makes it.
		ttl -= min(time.Second, ttl/2)
	}
	return &grant{
		token:     token{value: secrets.NewSecret(value, secrets.Meta{})},
		since:     began,
		ttl:       ttl,
		end:       began.Add(ttl),
		renewable: secret.Auth.Renewable,
	}, nil
}

// lease returns for how long the server grants a token.
func lease(auth *api.SecretAuth) time.Duration {
	return time.Duration(min(max(auth.LeaseDuration, 0), int(century/time.Second))) * time.Second
}

// drop forgets g, if that is the current token.
func (s *session) drop(g *grant) {
	s.mu.Lock()
	was := s.current == g
	if was {
		s.current = nil
		g.stop()
	}
	s.mu.Unlock()
	if was && s.ended != nil {
		s.ended(g.token.serial)
	}
}

// another reports whether there is a token beside t, or one may be had. A token that the server calls invalid is given up,
// but not at once after the login, or else a server that knows none of the tokens that it gives would be asked for ever
// more of them.
func (s *session) another(_ context.Context, t token, invalid bool) bool {
	s.mu.Lock()
	g := s.current
	switch {
	case s.closed:
		s.mu.Unlock()
		return false
	case g == nil || g.token.serial != t.serial:
		s.mu.Unlock()
		return true
	case !invalid:
		s.mu.Unlock()
		return false
	}
	age := time.Since(g.since)
	if age < s.patience {
		s.mu.Unlock()
		return false
	}
	if age < 2*maxPause {
		s.patience = longer(s.patience)
	} else {
		s.patience = leastPause
	}
	s.mu.Unlock()
	s.drop(g)
	return true
}

// close ends the renewals, waits for what runs, and revokes the token.
func (s *session) close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	l := s.login
	s.mu.Unlock()
	if l != nil {
		s.answer(l, token{}, errClosed()) // before the end of its context is
		s.await(l)
	}
	s.cancel()
	s.wait()

	s.mu.Lock()
	g := s.current
	s.current = nil
	s.mu.Unlock()
	if g == nil || g.over(time.Now()) {
		return nil
	}
	g.stop()
	return s.revoke(g.token)
}

// await waits for l, for a moment: the server may have issued a token already, which nobody could revoke if l were canceled.
func (*session) await(l *login) {
	timer := time.NewTimer(loginGrace)
	defer timer.Stop()
	select {
	case <-l.over:
	case <-timer.C:
	}
}

// wait waits for what runs, for a while.
func (s *session) wait() {
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// revoke makes the server forget t.
func (s *session) revoke(t token) error {
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), once{}, true), revokeTimeout)
	defer cancel()
	err := s.as(t).Auth().Token().RevokeSelfWithContext(ctx, "")
	const stays = "; it stays valid until its TTL is over"
	switch a, answered := answerOf(err); {
	case err == nil:
		return nil
	case answered && a.disowns(), answered && a.says("batch tokens cannot be revoked"):
		return nil
	case answered && a.vaults && a.status == http.StatusForbidden:
		return denied("the token must not revoke itself" + stays)
	case answered:
		return unavailable(fmt.Sprintf("the token was not revoked (status %d)%s", a.status, stays))
	default:
		return unavailable("the token was not revoked" + reason(err) + stays)
	}
}

var _ tokens = (*session)(nil)

func errLoginTimeout() error { return unavailable("the login took too long") }

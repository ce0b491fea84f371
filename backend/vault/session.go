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
	// closeTimeout bounds the wait for a login that ignores its context.
	closeTimeout = 2 * time.Second
	// loginGrace is how long Close waits for a login under way.
	loginGrace = time.Second
)

// session is a source of tokens that logs in at the first use, and whenever there is no token.
//
// One goroutine, renewLoop, renews a token before its end, or else logs in again. If neither succeeds, the token and the goroutine end, and
// the next caller logs in. A token without an end needs no goroutine.
type session struct {
	server *server
	// method logs in. A func hides the method's fields from reflection-based dumpers.
	method func(ctx context.Context, client *api.Client) (*api.Secret, error)
	// namespace is where the token is renewed and revoked: that of the login, or nil for the server's. The policy default, which grants both,
	// belongs to the token's namespace. Vault's agent does the same: https://github.com/hashicorp/vault/blob/v1.21.0/command/agent.go
	// (ahClient).
	namespace *string
	ended     func(serial uint64) // called without mu for each token that is no longer used; or nil
	ctx       context.Context     //nolint:containedctx // the lifetime of the session
	cancel    context.CancelFunc

	running sync.WaitGroup // logins and renewLoop; Go is called under mu, unless closed

	mu      sync.Mutex
	closed  bool
	current *grant // or nil
	login   *login // under way, or nil
	serial  uint64 // of the last token
	refusal error  // error of the last login, if the server refused it
	resume  time.Time
	pause   time.Duration // after the last refusal
	minAge  time.Duration // a younger token is kept although the server rejects it
}

// grant is the token of a login.
type grant struct {
	token token
	since time.Time
	stop  context.CancelFunc // ends renewLoop

	// Guarded by session.mu.
	ttl       time.Duration // of the last answer; 0 for a token without an end
	end       time.Time
	renewable bool
}

func (g *grant) expired(now time.Time) bool { return g.ttl > 0 && !now.Before(g.end) }

// login is one call of the method, shared by callers.
type login struct {
	returned chan struct{} // closed when the method has returned and its token is installed
	done     chan struct{} // closed after got or err is set
	got      token
	err      error
}

// newSession returns a session that logs in to s with method.
func newSession(s *server, method api.AuthMethod, ended func(serial uint64)) *session {
	ctx, cancel := context.WithCancel(context.Background())
	session := &session{server: s, method: method.Login, ended: ended, ctx: ctx, cancel: cancel, minAge: minPause}
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

// noRetry marks the context of requests that the client does not repeat: their callers have their own pauses.
type noRetry struct{}

// token returns the current token. If there is none, it logs in; concurrent callers share the login.
func (s *session) token(ctx context.Context) (token, error) {
	if err := ctx.Err(); err != nil {
		return token{}, err
	}
	s.mu.Lock()
	g := s.current
	over := g != nil && g.expired(time.Now())
	s.mu.Unlock()
	if over {
		s.drop(g)
	}
	return s.obtain(ctx, nil)
}

// obtain returns the current token, unless it is that of replaced, or else logs in.
func (s *session) obtain(ctx context.Context, replaced *grant) (token, error) {
	s.mu.Lock()
	now := time.Now()
	switch g := s.current; {
	case s.closed:
		s.mu.Unlock()
		return token{}, errClosed()
	case g != nil && g != replaced && !g.expired(now):
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

// begin starts a login. The caller holds s.mu.
func (s *session) begin(ctx context.Context) {
	l := &login{returned: make(chan struct{}), done: make(chan struct{})}
	s.login = l
	// The login outlives its first caller: it keeps the values of that context, and ends with the session.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loginTimeout)
	unhook := context.AfterFunc(s.ctx, cancel)
	// A method that ignores its context must not block callers, nor run twice at a time.
	timer := time.AfterFunc(loginTimeout+time.Second, func() { s.complete(l, token{}, errLoginTimeout()) })
	s.running.Go(func() {
		defer func() {
			timer.Stop()
			unhook()
			cancel()
			close(l.returned)
		}()
		s.logIn(ctx, l)
	})
}

// logIn calls the method and completes l.
func (s *session) logIn(ctx context.Context, l *login) {
	began := time.Now()
	var secret *api.Secret
	err := fail(secrets.ErrUnknown, "the login ended its goroutine")
	defer func() { // a panic or a runtime.Goexit in the method must not leave callers waiting
		if p := recover(); p != nil {
			secret, err = nil, fail(secrets.ErrUnknown, fmt.Sprintf("a panic with a %T in the login", p)) // its text may quote a credential
		}
		s.finishLogin(ctx, l, began, secret, err)
	}()
	// A separate client: a method may set the token and the namespace of its client.
	client := s.server.client().WithNamespace(s.server.client().Namespace())
	secret, err = s.method(ctx, client)
}

// finishLogin installs the token of a login, or its failure, and completes l.
func (s *session) finishLogin(ctx context.Context, l *login, began time.Time, secret *api.Secret, err error) {
	var g *grant
	if err != nil {
		err = loginFailure(ctx, "", err)
	} else {
		g, err = newGrant(secret, began)
	}
	replaced := s.install(l, g, err)
	if replaced != nil && s.ended != nil {
		s.ended(replaced.token.serial)
	}
	if err != nil {
		s.complete(l, token{}, err)
	} else {
		s.complete(l, g.token, nil)
	}
}

// install makes g the current token and returns the one it replaced, or remembers err if it is a refusal.
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
	if g.ttl > 0 && !s.closed { // otherwise close revokes it
		s.running.Go(func() { s.renewLoop(ctx, g) })
	}
	return replaced
}

// complete ends the wait of the callers of l. Only the first call counts.
func (s *session) complete(l *login, got token, err error) {
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

// newGrant returns the token in secret, the answer to a login that began at began.
func newGrant(secret *api.Secret, began time.Time) (*grant, error) {
	switch {
	case secret == nil:
		return nil, unavailable("the answer to the login is empty: is a proxy in front of the server?")
	case secret.WrapInfo != nil:
		return nil, malformed("the answer to the login is wrapped")
	case secret.Auth == nil:
		return nil, unavailable("the answer to the login has no token and is not Vault's: is a proxy in front of the server?")
	case secret.Auth.ClientToken == "" && secret.Auth.MFARequirement != nil:
		return nil, unauthenticated("the login requires a second factor (MFA), which a program does not have")
	}
	value := strings.TrimSpace(secret.Auth.ClientToken)
	if value == "" || !printable(value) || secret.Auth.LeaseDuration < 0 {
		return nil, malformed("the login returned no usable token")
	}
	ttl := lease(secret.Auth)
	if strings.HasPrefix(value, "hvb.") {
		// The server counts the TTL of a batch token from the beginning of the second that issued it.
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

// lease returns the TTL of a token.
func lease(auth *api.SecretAuth) time.Duration {
	return time.Duration(min(max(auth.LeaseDuration, 0), int(maxLease/time.Second))) * time.Second
}

// drop removes g if it is the current token.
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

// another reports whether there is another token than t, or a login may get one. It drops a token that the server rejects, but not right
// after its login: a server that rejects every token it issues would otherwise cause a login for each request.
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
	if age < s.minAge {
		s.mu.Unlock()
		return false
	}
	if age < 2*maxPause {
		s.minAge = longer(s.minAge)
	} else {
		s.minAge = minPause
	}
	s.mu.Unlock()
	s.drop(g)
	return true
}

// close stops the renewals, waits for goroutines, and revokes the token.
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
		s.complete(l, token{}, errClosed()) // before its context ends with another error
		s.await(l)
	}
	s.cancel()
	s.wait()

	s.mu.Lock()
	g := s.current
	s.current = nil
	s.mu.Unlock()
	if g == nil || g.expired(time.Now()) {
		return nil
	}
	g.stop()
	return s.revoke(g.token)
}

// await waits up to loginGrace for l: the server may have issued a token already, which nobody could revoke if l were canceled.
func (*session) await(l *login) {
	timer := time.NewTimer(loginGrace)
	defer timer.Stop()
	select {
	case <-l.returned:
	case <-timer.C:
	}
}

// wait waits up to closeTimeout for the goroutines.
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

// revoke revokes t.
func (s *session) revoke(t token) error {
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), noRetry{}, true), revokeTimeout)
	defer cancel()
	err := s.as(t).Auth().Token().RevokeSelfWithContext(ctx, "")
	const stays = "; it stays valid until its TTL ends"
	switch a, answered := answerOf(err); {
	case err == nil:
		return nil
	case answered && a.rejectsToken(), answered && a.hasText("batch tokens cannot be revoked"):
		return nil
	case answered && a.fromVault && a.status == http.StatusForbidden:
		return denied("the token has no permission to revoke itself" + stays)
	case answered:
		return unavailable(fmt.Sprintf("the token was not revoked (status %d)%s", a.status, stays))
	default:
		return unavailable("the token was not revoked" + reason(err) + stays)
	}
}

var _ tokens = (*session)(nil)

func errLoginTimeout() error { return unavailable("the login took too long") }

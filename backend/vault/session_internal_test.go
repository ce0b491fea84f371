package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// wire is a server of Vault in memory, so that time in a bubble goes on around it.
type wire struct {
	mu     sync.Mutex
	began  time.Time
	seen   []call
	issued int
	delay  time.Duration
	// answer gives the answer to a call, or status 0 for the usual one. It is called with mu held.
	answer func(c call) (status int, body string)

	ttl       int
	renewable bool
	maxTTL    time.Duration
	logins    map[string]time.Time
}

type call struct {
	at    time.Duration // since the beginning
	verb  string
	path  string
	token string
	body  string
}

func newWire() *wire {
	return &wire{began: time.Now(), ttl: 60, renewable: true, logins: make(map[string]time.Time)}
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	c := call{verb: r.Method, path: r.URL.Path, token: r.Header.Get("X-Vault-Token")}
	if r.Body != nil {
		body, _ := io.ReadAll(r.Body)
		c.body = string(body)
	}
	w.mu.Lock()
	c.at = time.Since(w.began)
	w.seen = append(w.seen, c)
	delay := w.delay
	w.mu.Unlock()
	if !sleep(r.Context(), delay) {
		return nil, r.Context().Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	status, body := 0, ""
	if w.answer != nil {
		status, body = w.answer(c)
	}
	if status == 0 {
		status, body = w.usual(c)
	}
	if status < 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{
		StatusCode: status, Header: make(http.Header), Body: io.NopCloser(strings.NewReader(body)), Request: r,
		ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}

func (w *wire) usual(c call) (status int, body string) {
	switch c.path {
	case "/v1/auth/test/login":
		w.issued++
		token := fmt.Sprintf("token-canary-%04d", w.issued)
		w.logins[token] = time.Now()
		return http.StatusOK, authBody(token, w.ttl, w.renewable)
	case "/v1/auth/token/renew-self":
		ttl := w.ttl
		if w.maxTTL > 0 {
			left := w.maxTTL - time.Since(w.logins[c.token])
			ttl = min(ttl, int((left+time.Second-1)/time.Second)) // as the server does, which rounds up
		}
		return http.StatusOK, authBody(c.token, ttl, w.renewable)
	case "/v1/auth/token/revoke-self":
		return http.StatusNoContent, ""
	default:
		return http.StatusNotFound, `{"errors":[]}`
	}
}

func authBody(token string, ttl int, renewable bool) string {
	return fmt.Sprintf(`{"auth":{"client_token":%q,"lease_duration":%d,"renewable":%t}}`, token, ttl, renewable)
}

func (w *wire) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// calls returns those with a path that ends so.
func (w *wire) calls(suffix string) []call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.seen), func(c call) bool { return !strings.HasSuffix(c.path, suffix) })
}

// plainLogin logs in as the official methods do, through the conveniences of the client.
type plainLogin struct{}

func (plainLogin) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	return client.Logical().WriteWithContext(ctx, "auth/test/login", map[string]any{"secret_id": "secret-canary-7f3Kq9"})
}

type loginFunc func(ctx context.Context, client *api.Client) (*api.Secret, error)

func (f loginFunc) Login(ctx context.Context, client *api.Client) (*api.Secret, error) {
	return f(ctx, client)
}

// endings records the serial numbers that are reported as ended.
type endings struct {
	mu      sync.Mutex
	serials []uint64
}

func (e *endings) add(serial uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.serials = append(e.serials, serial)
}

func (e *endings) all() []uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.serials)
}

// bubble runs f with a session that logs in to w with method.
func bubble(t *testing.T, method api.AuthMethod, f func(t *testing.T, is *is.I, w *wire, s *session, e *endings)) {
	t.Helper()
	for _, name := range []string{"VAULT_TOKEN", "VAULT_NAMESPACE", "VAULT_ADDR", "VAULT_AGENT_ADDR"} {
		t.Setenv(name, "")
	}
	synctest.Test(t, func(t *testing.T) {
		w, e := newWire(), &endings{}
		origin, _ := url.Parse("http://vault.test")
		config := api.DefaultConfig()
		config.HttpClient = &http.Client{Transport: w}
		server, err := newServer(config, origin, nil, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		s := newSession(server, method, e.add)
		defer func() { _ = s.close() }()
		f(t, is.New(t), w, s, e)
	})
}

func value(t token) string { return t.value.Reveal() }

func pause(d time.Duration) { <-time.After(d) }

// pass lets d pass, and waits for all that happens by then.
func pass(d time.Duration) {
	pause(d)
	synctest.Wait()
}

func TestLoginOnFirstUse(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, e *endings) {
		pass(time.Hour)
		is.Equal(len(w.calls("")), 0) // construction asks for nothing

		const callers = 1000
		var got [callers]token
		var wg sync.WaitGroup
		w.delay = time.Second
		for i := range callers {
			wg.Go(func() {
				var err error
				got[i], err = s.token(t.Context())
				is.NoErr(err)
			})
		}
		wg.Wait()
		is.Equal(len(w.calls("/login")), 1)
		for i := range got {
			is.Equal(value(got[i]), "token-canary-0001")
			is.Equal(got[i].serial, uint64(1))
		}
		c := w.calls("")[0]
		is.Equal(c.verb, "PUT")
		is.Equal(c.token, "") // the client of a login has no token
		is.Equal(e.all(), nil)
	})
}

func TestCallerLeavesALoginAndOthersGetIt(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		w.delay = time.Second
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error)
		go func() {
			_, err := s.token(ctx)
			first <- err
		}()
		synctest.Wait()
		second := make(chan token)
		go func() {
			got, err := s.token(t.Context())
			is.NoErr(err)
			second <- got
		}()
		synctest.Wait()
		cancel()
		is.Equal(<-first, context.Canceled)
		is.Equal(value(<-second), "token-canary-0001")
		is.Equal(len(w.calls("/login")), 1)
	})
}

func TestRenewal(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, e *endings) {
		first, err := s.token(t.Context())
		is.NoErr(err)
		last, distinct := time.Duration(0), make(map[time.Duration]bool)
		for i := range 20 {
			pass(time.Minute * 2 / 3 * 12 / 10)
			renewals := w.calls("/renew-self")
			is.True(len(renewals) > i)
			at := renewals[i].at - last
			is.True(at >= 36*time.Second && at <= 44*time.Second) // two thirds of a minute, 10 % more or less
			last, distinct[at] = renewals[i].at, true
			is.Equal(renewals[i].token, "token-canary-0001")
			is.Equal(renewals[i].verb, "PUT")
		}
		is.True(len(distinct) > 10) // instances that began together do not renew together
		again, err := s.token(t.Context())
		is.NoErr(err)
		is.Equal(again.serial, first.serial)
		is.Equal(len(w.calls("/login")), 1)
		is.Equal(e.all(), nil) // a renewal ends nothing
	})
}

func TestTokenWithoutEndIsLeftAlone(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		w.ttl = 0
		_, err := s.token(t.Context())
		is.NoErr(err)
		start := time.Now()
		s.running.Wait() // for nothing
		is.Equal(time.Since(start), time.Duration(0))
		pass(1000 * time.Hour)
		_, err = s.token(t.Context())
		is.NoErr(err)
		is.Equal(len(w.calls("")), 1)
	})
}

func TestLoginAheadOfTheEnd(t *testing.T) {
	for _, c := range []struct {
		name           string
		change         func(w *wire)
		least, most    time.Duration // until the second login
		renewals, upTo int           // before it
	}{
		{"not renewable", func(w *wire) { w.renewable = false }, 36 * time.Second, 44 * time.Second, 0, 0},
		{"at the maximum", func(w *wire) { w.maxTTL = time.Minute }, 36 * time.Second, 44 * time.Second, 1, 1},
		{"near the maximum", func(w *wire) { w.maxTTL = 90 * time.Second }, 60 * time.Second, 85 * time.Second, 1, 1},
		{"later at the maximum", func(w *wire) { w.maxTTL = 5 * time.Minute }, 3 * time.Minute, 5 * time.Minute, 5, 9},
		{"renewal is refused", func(w *wire) {
			w.answer = func(c call) (int, string) {
				if strings.HasSuffix(c.path, "/renew-self") {
					return http.StatusForbidden, `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`
				}
				return 0, ""
			}
		}, 36 * time.Second, 44 * time.Second, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, e *endings) {
				c.change(w)
				_, err := s.token(t.Context())
				is.NoErr(err)
				var second token
				for second.serial != 2 {
					pass(time.Second)
					second, err = s.token(t.Context())
					is.NoErr(err) // there is a token at any time
					is.True(time.Since(w.began) < 10*time.Minute)
				}
				logins := w.calls("/login")
				is.Equal(len(logins), 2)
				is.True(logins[1].at >= c.least && logins[1].at <= c.most)
				renewals := slices.DeleteFunc(w.calls("/renew-self"), func(r call) bool { return r.at > logins[1].at })
				is.True(len(renewals) >= c.renewals && len(renewals) <= c.upTo)
				is.Equal(e.all(), []uint64{1})
				is.Equal(logins[1].token, "") // not with the old token
			})
		})
	}
}

func TestOldTokenIsUsedWhileALoginAheadFails(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, e *endings) {
		w.renewable = false
		first, err := s.token(t.Context())
		is.NoErr(err)
		w.set(func() {
			w.answer = func(call) (int, string) { return http.StatusServiceUnavailable, `{"errors":["x"]}` }
		})
		pass(59 * time.Second)
		still, err := s.token(t.Context())
		is.NoErr(err)
		is.Equal(still.serial, first.serial)
		pass(2 * time.Second)
		is.Equal(e.all(), []uint64{1}) // at its end, with nobody asking
		asked := len(w.calls("/login"))
		pass(time.Hour)
		is.Equal(len(w.calls("/login")), asked) // nothing runs without a token
		_, err = s.token(t.Context())
		is.True(errors.Is(err, secrets.ErrUnavailable))

		w.set(func() { w.answer = nil })
		next, err := s.token(t.Context()) // an outage is not remembered
		is.NoErr(err)
		is.Equal(next.serial, uint64(2))
	})
}

// An outage of 30 s, with and without callers who ask for a token ten times a second.
func TestRequestsInAnOutage(t *testing.T) {
	for _, c := range []struct {
		name        string
		status      int
		callers     bool
		ttl         int
		renew, most int // calls of renew-self, and in all
	}{
		{"nobody asks, status 503", 503, false, 2, 1, 1},
		{"nobody asks, no connection", -1, false, 2, 1, 1},
		{"ten asking a second, status 503", 503, true, 2, 1, 300},
		{"a token of 30 s", 503, false, 30, 4, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
				w.ttl = c.ttl
				_, err := s.token(t.Context())
				is.NoErr(err)
				w.set(func() { w.answer = func(call) (int, string) { return c.status, `{"errors":["x"]}` } })
				outage := time.Now()
				for time.Since(outage) < 30*time.Second {
					pass(100 * time.Millisecond)
					if c.callers {
						_, _ = s.token(t.Context())
					}
				}
				t.Logf("%d renewals, %d logins", len(w.calls("/renew-self")), len(w.calls("/login"))-1)
				is.True(len(w.calls("/renew-self")) <= c.renew)
				is.True(len(w.calls(""))-1 <= c.most)

				w.set(func() { w.answer = nil })
				_, err = s.token(t.Context())
				is.NoErr(err)
			})
		})
	}
}

// The control of the test above: the official watcher, in the same outage.
func TestOfficialWatcherIsCaughtInAnOutage(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		w.ttl, w.delay = 2, time.Millisecond
		client := s.server.client().WithNamespace("")
		client.SetMaxRetries(0)
		secret, err := plainLogin{}.Login(t.Context(), client)
		is.NoErr(err)
		client.SetToken(secret.Auth.ClientToken)
		w.set(func() { w.answer = func(call) (int, string) { return 503, `{"errors":["x"]}` } })
		watcher, err := client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: secret})
		is.NoErr(err)
		go watcher.Start()
		<-watcher.DoneCh()
		watcher.Stop()
		t.Logf("%d renewals", len(w.calls("/renew-self")))
		is.True(len(w.calls("/renew-self")) > 100)
	})
}

func TestTokenIsNotUsedPastItsEnd(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, e *endings) {
		w.delay = 100 * time.Millisecond // the server may count from any moment of this
		_, err := s.token(t.Context())
		is.NoErr(err)
		w.set(func() { w.answer = func(call) (int, string) { return -1, "" }; w.delay = 0 })
		end := w.began.Add(time.Minute)
		pass(time.Until(end) - time.Nanosecond)
		_, err = s.token(t.Context())
		is.NoErr(err)
		pause(time.Nanosecond)
		_, err = s.token(t.Context())
		is.True(errors.Is(err, secrets.ErrUnavailable))
		is.Equal(e.all(), []uint64{1}) // once, whoever notices first
	})
}

// A token is over at its time, whether what keeps it notices or not: the process may have been frozen.
func TestTokenIsOverWithNobodyLooking(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, e *endings) {
		first, err := s.token(t.Context())
		is.NoErr(err)
		s.current.stop()
		pass(time.Minute)
		is.Equal(e.all(), nil)
		w.set(func() { w.answer = func(call) (int, string) { return -1, "" } })
		_, err = s.token(t.Context())
		is.True(errors.Is(err, secrets.ErrUnavailable))
		is.Equal(e.all(), []uint64{first.serial})
		w.set(func() { w.answer = nil })
		second, err := s.token(t.Context())
		is.NoErr(err)
		is.True(second.serial != first.serial)
		is.Equal(e.all(), []uint64{first.serial})
		g := s.current
		s.drop(g)
		s.drop(g)
		is.Equal(e.all(), []uint64{first.serial, second.serial}) // once each
	})
}

// A renewal without an answer neither keeps the token in use past its end nor lets its end go unnoticed.
func TestTokenEndsDuringARenewal(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, e *endings) {
		_, err := s.token(t.Context())
		is.NoErr(err)
		w.set(func() { w.delay = time.Hour })
		for time.Since(w.began) < time.Minute {
			is.Equal(e.all(), nil)
			pass(time.Second)
		}
		is.Equal(e.all(), []uint64{1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = s.token(ctx)
		is.Equal(err, context.DeadlineExceeded)
	})
}

// The server rounds up what is left until the maximum.
func TestTokenIsNotUsedPastItsMaximum(t *testing.T) {
	for range 20 { // the jitter decides
		bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
			w.maxTTL = 88*time.Second + 100*time.Millisecond
			_, err := s.token(t.Context())
			is.NoErr(err)
			w.set(func() {
				w.answer = func(c call) (int, string) {
					if strings.HasSuffix(c.path, "/login") {
						return -1, ""
					}
					return 0, ""
				}
			})
			last := time.Duration(0)
			for time.Since(w.began) < 2*time.Minute {
				if _, err := s.token(t.Context()); err == nil {
					last = time.Since(w.began)
				}
				pass(100 * time.Millisecond)
			}
			is.True(last > 85*time.Second)
			is.True(last <= w.maxTTL)
		})
	}
}

func TestRenewalOfADeadToken(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, e *endings) {
		_, err := s.token(t.Context())
		is.NoErr(err)
		w.set(func() {
			w.answer = func(c call) (int, string) {
				if c.token != "" {
					return http.StatusForbidden, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`
				}
				return 0, ""
			}
		})
		pass(time.Minute)
		is.Equal(e.all(), []uint64{1})
		is.Equal(len(w.calls("/renew-self")), 1)
		is.Equal(len(w.calls("/login")), 1) // the next one who asks logs in
		second, err := s.token(t.Context())
		is.NoErr(err)
		is.Equal(second.serial, uint64(2))
	})
}

func TestRefusedLoginIsRemembered(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		w.answer = func(call) (int, string) { return http.StatusBadRequest, `{"errors":["invalid role or secret ID"]}` }
		start := time.Now()
		for time.Since(start) < 5*time.Minute {
			_, err := s.token(t.Context())
			is.True(errors.Is(err, secrets.ErrUnauthenticated))
			pause(100 * time.Millisecond)
		}
		logins := w.calls("/login")
		for i := 1; i < len(logins); i++ {
			pause := logins[i].at - logins[i-1].at
			want := min(time.Second<<(i-1), 30*time.Second)
			is.True(pause >= want && pause < want+200*time.Millisecond)
		}
		is.Equal(len(logins), 14) // at 0, 1, 3, 7, 15, 31 s, and every 30 s
		w.set(func() { w.answer = nil })
		pause(30 * time.Second)
		_, err := s.token(t.Context())
		is.NoErr(err)
	})
}

func TestAnother(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, e *endings) {
		first, err := s.token(t.Context())
		is.NoErr(err)
		is.True(!s.another(first, false)) // denied, by the current token
		is.True(!s.another(first, true))  // invalid right after the login: another login would bring no better one
		is.Equal(e.all(), nil)

		pass(2 * time.Second)
		const callers = 1000
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				is.True(s.another(first, true))
				got, err := s.token(t.Context())
				is.NoErr(err)
				is.Equal(got.serial, uint64(2))
			})
		}
		wg.Wait()
		is.Equal(len(w.calls("/login")), 2) // one in all
		is.Equal(e.all(), []uint64{1})
		is.True(s.another(first, false)) // there is another by now
	})
}

func TestServerThatKnowsNoneOfItsTokens(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		w.ttl = 3600
		start := time.Now()
		for time.Since(start) < 5*time.Minute {
			got, err := s.token(t.Context())
			is.NoErr(err)
			if s.another(got, true) {
				_, err = s.token(t.Context())
				is.NoErr(err)
			}
			pause(10 * time.Millisecond)
		}
		is.True(len(w.calls("/login")) <= 15) // 1, 2, 4, 8, 16, 30, 30, … s apart
	})
}

func TestCloseRevokesWhatALoginHasGot(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		_, err := s.token(t.Context())
		is.NoErr(err)
		is.NoErr(s.close())
		is.NoErr(s.close())
		revoked := w.calls("/revoke-self")
		is.Equal(len(revoked), 1)
		is.Equal(revoked[0].token, "token-canary-0001")
		is.Equal(revoked[0].verb, "PUT")
		_, err = s.token(t.Context())
		is.True(errors.Is(err, secrets.ErrClosed))
		is.True(!s.another(token{}, true))
	})
}

func TestCloseWithoutATokenAsksForNothing(t *testing.T) {
	bubble(t, plainLogin{}, func(_ *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		is.NoErr(s.close())
		is.Equal(len(w.calls("")), 0)
	})
}

func TestFailedRevocation(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		class  error
	}{
		{"expired meanwhile", 403, `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`, nil},
		{"batch token", 400, `{"errors":["batch tokens cannot be revoked"]}`, nil},
		{"not allowed", 403, `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`, secrets.ErrPermissionDenied},
		{"sealed", 503, `{"errors":["Vault is sealed"]}`, secrets.ErrUnavailable},
		{"no connection", -1, "", secrets.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
				_, err := s.token(t.Context())
				is.NoErr(err)
				w.set(func() { w.answer = func(call) (int, string) { return c.status, c.body } })
				err = s.close()
				is.Equal(secrets.Class(err), c.class)
				if c.class != nil {
					is.True(strings.Contains(err.Error(), "stays valid"))
				}
				is.Equal(len(w.calls("/revoke-self")), 1) // not repeated
				secretstest.AssertNoLeak(t, "token-canary-0001", err)
			})
		})
	}
}

func TestCloseIsBounded(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		_, err := s.token(t.Context())
		is.NoErr(err)
		w.set(func() { w.delay = time.Hour })
		start := time.Now()
		is.True(errors.Is(s.close(), secrets.ErrUnavailable))
		is.Equal(time.Since(start), revokeTimeout)
	})
}

func TestCloseDuringALogin(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		w.delay = 5 * time.Second
		done := make(chan error)
		go func() {
			_, err := s.token(t.Context())
			done <- err
		}()
		synctest.Wait()
		start := time.Now()
		is.NoErr(s.close())
		is.Equal(time.Since(start), time.Duration(0))
		is.True(errors.Is(<-done, secrets.ErrClosed))
	})
}

func TestCloseDuringALoginThatSucceedsRevokes(t *testing.T) {
	stubborn := loginFunc(func(ctx context.Context, client *api.Client) (*api.Secret, error) {
		pause(time.Second)
		return plainLogin{}.Login(context.WithoutCancel(ctx), client)
	})
	bubble(t, stubborn, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		done := make(chan error)
		go func() {
			_, err := s.token(t.Context())
			done <- err
		}()
		synctest.Wait()
		go func() { is.True(errors.Is(<-done, secrets.ErrClosed)) }()
		is.NoErr(s.close())
		is.Equal(len(w.calls("/revoke-self")), 1)
		is.Equal(w.calls("/revoke-self")[0].token, "token-canary-0001")
	})
}

func TestCloseDuringARenewal(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		_, err := s.token(t.Context())
		is.NoErr(err)
		w.set(func() { w.delay = time.Second })
		for len(w.calls("/renew-self")) == 0 {
			pause(time.Second / 2)
			synctest.Wait()
		}
		start := time.Now()
		is.NoErr(s.close())
		is.Equal(time.Since(start), time.Second) // for the revocation alone
	})
}

func TestMethodThatDoesNotHeedItsContext(t *testing.T) {
	var calls atomic.Int32
	deaf := loginFunc(func(context.Context, *api.Client) (*api.Secret, error) {
		calls.Add(1)
		pause(time.Minute)
		return &api.Secret{Auth: &api.SecretAuth{ClientToken: "late"}}, nil
	})
	bubble(t, deaf, func(t *testing.T, is *is.I, _ *wire, s *session, _ *endings) {
		start := time.Now()
		_, err := s.token(t.Context())
		is.True(errors.Is(err, secrets.ErrUnavailable))
		is.Equal(time.Since(start), loginTimeout+time.Second)
		_, err = s.token(t.Context())
		is.True(errors.Is(err, secrets.ErrUnavailable)) // at once
		is.Equal(time.Since(start), loginTimeout+time.Second)
		is.Equal(calls.Load(), int32(1))
		pass(time.Minute)
		got, err := s.token(t.Context())
		is.NoErr(err)
		is.Equal(value(got), "late")
	})
}

func TestForeignMethods(t *testing.T) {
	const canary = "secret-canary-7f3Kq9"
	auth := func(a api.SecretAuth) (*api.Secret, error) { return &api.Secret{Auth: &a}, nil }
	for _, c := range []struct {
		name   string
		method loginFunc
		class  error
		detail string
	}{
		{"panic", func(context.Context, *api.Client) (*api.Secret, error) { panic(canary) }, secrets.ErrUnknown, "panic with a string"},
		{"Goexit", func(context.Context, *api.Client) (*api.Secret, error) { runtime.Goexit(); panic("unreachable") }, secrets.ErrUnknown, "ended its goroutine"},
		{"nothing", func(context.Context, *api.Client) (*api.Secret, error) { return nil, nil }, secrets.ErrMalformed, "empty answer"}, //nolint:nilnil // it is what must not be taken for a token
		{"no auth", func(context.Context, *api.Client) (*api.Secret, error) { return &api.Secret{}, nil }, secrets.ErrMalformed, "without a token"},
		{"wrapped", func(context.Context, *api.Client) (*api.Secret, error) {
			return &api.Secret{WrapInfo: &api.SecretWrapInfo{Token: canary}}, nil
		}, secrets.ErrMalformed, "wrapped"},
		{"empty token", func(context.Context, *api.Client) (*api.Secret, error) { return auth(api.SecretAuth{}) }, secrets.ErrMalformed, "no usable token"},
		{"token with a newline", func(context.Context, *api.Client) (*api.Secret, error) {
			return auth(api.SecretAuth{ClientToken: canary + "\nX: y"})
		}, secrets.ErrMalformed, "no usable token"},
		{"MFA", func(context.Context, *api.Client) (*api.Secret, error) {
			return auth(api.SecretAuth{MFARequirement: &api.MFARequirement{MFARequestID: canary}})
		}, secrets.ErrUnauthenticated, "second factor"},
		{"foreign error", func(context.Context, *api.Client) (*api.Secret, error) { return nil, errors.New(canary) }, secrets.ErrUnknown, "the login failed"},
		{"classified error", func(context.Context, *api.Client) (*api.Secret, error) {
			return nil, fmt.Errorf("%s: %w", canary, secrets.ErrUnavailable)
		}, secrets.ErrUnavailable, "the login failed"},
		{"own error", func(context.Context, *api.Client) (*api.Secret, error) {
			return nil, fmt.Errorf("%s: %w", canary, &secrets.Error{Backend: "x", Key: canary, Err: secrets.ErrUnavailable, Detail: "no such luck"})
		}, secrets.ErrUnavailable, "no such luck"},
		{"credential not found", func(context.Context, *api.Client) (*api.Secret, error) { return nil, secrets.ErrNotFound }, secrets.ErrUnauthenticated, "the login failed"},
		{"closed client of another", func(context.Context, *api.Client) (*api.Secret, error) { return nil, secrets.ErrClosed }, secrets.ErrUnauthenticated, "the login failed"},
		{"slow", func(ctx context.Context, _ *api.Client) (*api.Secret, error) { <-ctx.Done(); return nil, ctx.Err() }, secrets.ErrUnavailable, "took too long"},
		{"a nil error of ours", func(context.Context, *api.Client) (*api.Secret, error) { var e *secrets.Error; return nil, e }, secrets.ErrUnknown, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, c.method, func(t *testing.T, is *is.I, _ *wire, s *session, _ *endings) {
				got, err := s.token(t.Context())
				is.True(got.value.IsZero())
				is.Equal(secrets.Class(err), c.class)
				is.True(strings.Contains(err.Error(), c.detail))
				secretstest.AssertNoLeak(t, canary, err)
			})
		})
	}
	t.Run("control", func(t *testing.T) {
		is.New(t).True(len(secretstest.Leaks(canary, fmt.Errorf("login: %w", errors.New(canary)))) > 0)
	})
}

func TestMethodCanNotPolluteTheBackend(t *testing.T) {
	rude := loginFunc(func(ctx context.Context, client *api.Client) (*api.Secret, error) {
		client.SetToken("polluted")
		client.SetNamespace("polluted")
		client.AddHeader("X-Polluted", "yes")
		client.SetWrappingLookupFunc(func(_, _ string) string { return "60s" })
		return plainLogin{}.Login(ctx, client)
	})
	bubble(t, rude, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		_, err := s.token(t.Context())
		is.NoErr(err)
		is.Equal(w.calls("/login")[0].token, "polluted") // control: it did what it wanted to its own
		is.Equal(s.server.client().Token(), "")
		is.Equal(s.server.client().Namespace(), "")
		is.Equal(s.server.client().Headers().Get("X-Polluted"), "")
		is.Equal(s.server.client().CurrentWrappingLookupFunc()("PUT", "x"), "")
	})
}

func TestRefusals(t *testing.T) {
	const canary = "secret-canary-7f3Kq9"
	for _, c := range []struct {
		name   string
		status int
		body   string
		class  error
		detail string
	}{
		{"wrong secret ID", 400, `{"errors":["invalid role or secret ID"]}`, secrets.ErrUnauthenticated, "(status 400): the role ID or the secret ID"},
		{"unknown text", 400, `{"errors":["` + canary + `"]}`, secrets.ErrUnauthenticated, "refused the login (status 400)"},
		{"401", 401, `{"errors":["` + canary + `"]}`, secrets.ErrUnauthenticated, "(status 401)"},
		{"denied", 403, `{"errors":["permission denied"]}`, secrets.ErrUnauthenticated, "WithAuthMount"},
		{"denied by a proxy", 403, `<html>` + canary + `</html>`, secrets.ErrUnauthenticated, "(status 403)"},
		{"no mount", 404, `{"errors":["no handler for route \"auth/test/login\". route entry not found."]}`, secrets.ErrUnauthenticated, "WithAuthMount"},
		{"no Vault behind a proxy", 404, `<html>` + canary + `</html>`, secrets.ErrMalformed, "not Vault's"},
		{"quota", 429, `{"errors":["request path \"auth/test/login\": rate limit quota exceeded"]}`, secrets.ErrUnavailable, "(status 429)"},
		{"sealed", 503, `{"errors":["Vault is sealed"]}`, secrets.ErrUnavailable, "sealed"},
		{"bad gateway", 502, `<html>` + canary + `</html>`, secrets.ErrUnavailable, "(status 502)"},
		{"no connection", -1, "", secrets.ErrUnavailable, "no answer"},
		{"empty", 200, ``, secrets.ErrMalformed, "empty answer"},
		{"204", 204, ``, secrets.ErrMalformed, "empty answer"},
		{"no JSON", 200, `<html>` + canary + `</html>`, secrets.ErrMalformed, "not Vault's"},
		{"another kind", 200, `{"auth":"` + canary + `"}`, secrets.ErrMalformed, "not Vault's"},
		{"too large", 200, `{"auth":"` + strings.Repeat("x", 2<<20) + `"}`, secrets.ErrMalformed, "too large"},
		{"redirect", 307, "", secrets.ErrUnavailable, "redirect"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
				w.answer = func(call) (int, string) { return c.status, c.body }
				_, err := s.token(t.Context())
				is.Equal(secrets.Class(err), c.class)
				if !strings.Contains(err.Error(), c.detail) {
					t.Errorf("%q has no %q", err, c.detail)
				}
				secretstest.AssertNoLeak(t, canary, err)
				is.True(!strings.Contains(err.Error(), "vault.test"))
				is.True(!errors.Is(err, secrets.ErrNotFound))
			})
		})
	}
}

func TestSessionShowsNoToken(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, _ *wire, s *session, _ *endings) {
		got, err := s.token(t.Context())
		is.NoErr(err)
		synctest.Wait() // nobody else may write what is read
		secretstest.AssertNoLeak(t, "token-canary-0001", s.current, got, fmt.Sprintf("%+v %#v", s, s))
	})
}

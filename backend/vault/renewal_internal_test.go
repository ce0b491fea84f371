package vault

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

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
			is.True(at >= 36*time.Second && at <= 44*time.Second) // two thirds of a minute, ±10 %
			last, distinct[at] = renewals[i].at, true
			is.Equal(renewals[i].token, "token-canary-0001")
			is.Equal(renewals[i].verb, "PUT")
		}
		is.True(len(distinct) > 10) // instances that start together renew at different times
		again, err := s.token(t.Context())
		is.NoErr(err)
		is.Equal(again.serial, first.serial)
		is.Equal(len(w.calls("/login")), 1)
		is.Equal(e.all(), nil) // a renewal ends nothing
	})
}

func TestTokenWithoutEndIsNotRenewed(t *testing.T) {
	bubble(t, plainLogin{}, func(t *testing.T, is *is.I, w *wire, s *session, _ *endings) {
		w.ttl = 0
		_, err := s.token(t.Context())
		is.NoErr(err)
		start := time.Now()
		s.running.Wait() // no goroutine is left
		is.Equal(time.Since(start), time.Duration(0))
		pass(1000 * time.Hour)
		_, err = s.token(t.Context())
		is.NoErr(err)
		is.Equal(len(w.calls("")), 1)
	})
}

func TestLoginBeforeTheEnd(t *testing.T) {
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
					is.NoErr(err) // there is always a token
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

func TestOldTokenIsUsedWhileTheNextLoginFails(t *testing.T) {
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
		is.Equal(e.all(), []uint64{1}) // at its end, without a caller
		before := len(w.calls("/login"))
		pass(time.Hour)
		is.Equal(len(w.calls("/login")), before) // no logins without a caller
		_, err = s.token(t.Context())
		is.True(errors.Is(err, secrets.ErrUnavailable))

		w.set(func() { w.answer = nil })
		next, err := s.token(t.Context()) // an outage is not remembered
		is.NoErr(err)
		is.Equal(next.serial, uint64(2))
	})
}

// An outage of 30 s, with and without callers that get a token ten times a second.
func TestRequestsInAnOutage(t *testing.T) {
	for _, c := range []struct {
		name        string
		status      int
		callers     bool
		ttl         int
		renew, most int // calls of renew-self, and of any path
	}{
		{"no callers, status 503", 503, false, 2, 1, 1},
		{"no callers, no connection", -1, false, 2, 1, 1},
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

// The control of the test above: the official watcher in the same outage.
func TestOfficialWatcherInAnOutage(t *testing.T) {
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
		w.delay = 100 * time.Millisecond // the TTL may begin at any moment of this
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
		is.Equal(e.all(), []uint64{1}) // once, whichever goroutine notices first
	})
}

// A token ends on time, even if the process was frozen and renewLoop did not run.
func TestTokenEndsWithoutTheRenewalLoop(t *testing.T) {
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

// During a renewal without an answer, the token still ends on time, and its end is reported.
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

// The server rounds up the time left until the maximum TTL.
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
		is.Equal(len(w.calls("/login")), 1) // the next caller logs in
		second, err := s.token(t.Context())
		is.NoErr(err)
		is.Equal(second.serial, uint64(2))
	})
}

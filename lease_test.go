package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
)

// leased is a backend whose secrets have leases. Each path says how long its fetches take, and its lease from their start.
type leased struct {
	mu     sync.Mutex
	takes  map[string][]time.Duration // of the first fetch, of the second … the last stands for all that follow
	leases map[string]time.Duration
	calls  map[string]int
}

func (l *leased) backend() secrets.Backend {
	l.calls = make(map[string]int)
	return secrets.NewBackend(secrets.Info{Name: "leased"}, l.fetch)
}

func (l *leased) fetch(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
	l.mu.Lock()
	n := l.calls[ref.Path]
	l.calls[ref.Path]++
	takes := l.takes[ref.Path]
	lease := l.leases[ref.Path]
	l.mu.Unlock()
	var meta secrets.Meta
	if lease > 0 {
		meta.ExpiresAt = time.Now().Add(lease)
	}
	if len(takes) > 0 {
		time.Sleep(takes[min(n, len(takes)-1)])
	}
	return secrets.NewSecret(fmt.Sprintf(`{"user":"u%d","password":"p%d"}`, n+1, n+1), meta), nil
}

const tenth = 100 * time.Millisecond

func stacks() map[string][]secrets.Option {
	return map[string][]secrets.Option{
		"alone": nil, "standard": {middleware.Standard()}, "with middleware": {middleware.Standard(), secrets.WithMiddleware(pass())},
	}
}

func TestLeaseThatIsOverOnArrivalIsFetchedOnceMore(t *testing.T) {
	for name, opts := range stacks() {
		for _, tc := range []struct {
			name  string
			takes []time.Duration
			calls int
			ok    bool
		}{
			{"in time", []time.Duration{tenth - 1}, 1, true}, // the control
			{"over once", []time.Duration{tenth, 0}, 2, true},
			{"over twice", []time.Duration{tenth, 3 * tenth, 0}, 2, false},
		} {
			t.Run(tc.name+", "+name, func(t *testing.T) {
				for _, many := range []bool{false, true} {
					synctest.Test(t, func(t *testing.T) {
						is := is.New(t)
						l := &leased{takes: map[string][]time.Duration{"db": tc.takes}, leases: map[string]time.Duration{"db": tenth}}
						client := open(t, l.backend(), opts...)
						get := func() (user secrets.Secret, err error) {
							if !many {
								return client.Get(t.Context(), "db#user")
							}
							found, err := client.GetMany(t.Context(), "db#user", "db#password")
							if all, ok := errors.AsType[secrets.Errors](err); ok {
								is.Equal(len(all), 2)
								err = all[0]
							} else {
								is.Equal(found["db#user"].Reveal()[1:], found["db#password"].Reveal()[1:]) // one version
							}
							return found["db#user"], err
						}
						user, err := get()
						is.Equal(l.calls["db"], tc.calls)
						if tc.ok {
							is.NoErr(err)
							is.Equal(user.Reveal(), fmt.Sprintf("u%d", tc.calls))
							is.True(time.Now().Before(user.Meta().ExpiresAt))
							return
						}
						is.True(user.IsZero())
						checkClass(t, err, secrets.ErrUnavailable)
						is.True(strings.Contains(err.Error(), "secrets: leased: db#user: unavailable: the lease was over when it arrived"))
					})
				}
			})
		}
	}
}

// A lease may end while other documents of the call are waited for.
func TestLeaseThatEndsWhileOthersAreWaitedFor(t *testing.T) {
	for name, opts := range stacks() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				l := &leased{
					takes:  map[string][]time.Duration{"slow": {6 * tenth, 0}},
					leases: map[string]time.Duration{"db": tenth, "long": 10 * tenth},
				}
				client := open(t, l.backend(), opts...)
				found, err := client.GetMany(t.Context(), "db#user", "db#password", "slow#user", "long#user")
				is.NoErr(err)
				is.Equal(found["db#user"].Reveal()+found["db#password"].Reveal(), "u2p2") // together
				for key, s := range found {
					if end := s.Meta().ExpiresAt; !end.IsZero() && !time.Now().Before(end) {
						t.Errorf("%s is over", key)
					}
				}
				is.Equal(l.calls, map[string]int{"db": 2, "slow": 1, "long": 1}) // what is good is not asked for again
			})
		})
	}
}

package secrets_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
)

// leasing is a backend whose documents have leases. Call n for a path takes the n-th of its delays, and its lease begins with the call
// and is the n-th of its leases. The last of each counts for the calls that follow.
type leasing struct {
	says           bool                       // Info.Leases
	leases, delays map[string][]time.Duration // without an entry: none

	mu    sync.Mutex
	calls map[string]int
}

func (l *leasing) backend() secrets.Backend {
	l.calls = make(map[string]int)
	info := secrets.Info{Name: "leasing", Leases: l.says}
	return secrets.NewBackend(info, func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
		began := time.Now()
		l.mu.Lock()
		n := l.calls[ref.Path]
		l.calls[ref.Path]++
		l.mu.Unlock()
		meta := secrets.Meta{Version: strconv.Itoa(n + 1)}
		if all := l.leases[ref.Path]; len(all) > 0 {
			meta.ExpiresAt = began.Add(all[min(n, len(all)-1)])
		}
		if all := l.delays[ref.Path]; len(all) > 0 {
			select {
			case <-time.After(all[min(n, len(all)-1)]):
			case <-ctx.Done():
				return secrets.Secret{}, ctx.Err()
			}
		}
		return secrets.NewSecret(fmt.Sprintf(`{"user":"u%d","password":"p%d"}`, n+1, n+1), meta), nil
	})
}

func (l *leasing) callsOf(path string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls[path]
}

// layerings are Clients with and without layers.
func layerings() map[string][]secrets.Option {
	return map[string][]secrets.Option{
		"bare":            nil,
		"standard":        {middleware.Standard()},
		"user middleware": {secrets.WithMiddleware(pass()), middleware.Standard()},
		"with a fallback": {to(named("spare", "db", `{"user":"spare","password":"spare"}`)), middleware.Standard()},
	}
}

func checkOver(t *testing.T, err error, key string) {
	t.Helper()
	checkClass(t, err, secrets.ErrUnavailable)
	if want := "secrets: leasing: " + key + ": unavailable: the lease was over when it arrived"; err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestALeaseThatHasEndedOnArrival(t *testing.T) {
	const good, short = time.Hour, 100 * time.Millisecond
	const late = 200 * time.Millisecond
	for name, tc := range map[string]struct {
		leases, delays []time.Duration
		calls          int
		version        string // or "" for an error
	}{
		"long on its way":                    {[]time.Duration{short, good}, []time.Duration{late}, 2, "2"},
		"long on its way, then not":          {[]time.Duration{short}, []time.Duration{late, 0}, 2, "2"},
		"over before the call":               {[]time.Duration{-time.Hour, good}, nil, 2, "2"},
		"over at once":                       {[]time.Duration{0, good}, nil, 2, "2"},
		"the second one too":                 {[]time.Duration{short}, []time.Duration{late}, 2, ""},
		"the second one, over before":        {[]time.Duration{-1}, nil, 2, ""},
		"control: a lease that is good":      {[]time.Duration{good}, []time.Duration{late}, 1, "1"},
		"control: one that just about holds": {[]time.Duration{late + 1}, []time.Duration{late}, 1, "1"},
		"control: no lease":                  {nil, []time.Duration{late}, 1, "1"},
	} {
		for layers, opts := range layerings() {
			for i, keys := range [][]string{nil, {"db#user"}, {"db#user", "db#password"}, {"db#user", "db", "db#password"}} {
				says := i%2 == 0
				t.Run(fmt.Sprint(name, ", ", layers, ", ", keys), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						is := is.New(t)
						l := &leasing{
							says:   says,
							leases: map[string][]time.Duration{"db": tc.leases},
							delays: map[string][]time.Duration{"db": tc.delays},
						}
						client := open(t, l.backend(), opts...)
						if keys == nil {
							s, err := client.Get(t.Context(), "db#user")
							if tc.version == "" {
								checkOver(t, err, "db#user")
							} else {
								is.NoErr(err)
								is.Equal(s.Reveal(), "u"+tc.version)
								is.True(s.Meta().ExpiresAt.IsZero() || time.Now().Before(s.Meta().ExpiresAt))
							}
							is.Equal(l.callsOf("db"), tc.calls)
							return
						}
						found, err := client.GetMany(t.Context(), keys...)
						is.Equal(l.callsOf("db"), tc.calls)
						if tc.version == "" {
							is.Equal(len(found), 0)
							all := err.(secrets.Errors)
							is.Equal(len(all), len(keys))
							for i, e := range all {
								checkOver(t, e, keys[i])
							}
							return
						}
						is.NoErr(err)
						is.Equal(len(found), len(keys))
						for _, s := range found {
							is.Equal(s.Meta().Version, tc.version)
						}
						is.Equal(found["db#user"].Reveal(), "u"+tc.version)
					})
				})
			}
		}
	}
}

// A lease may end while a GetMany fetches other documents.
func TestALeaseThatEndsDuringASlowFetch(t *testing.T) {
	const good, short = time.Hour, 100 * time.Millisecond
	const slow = 600 * time.Millisecond
	for name, tc := range map[string]struct {
		leases []time.Duration
		delays []time.Duration
		calls  int
		want   string // the version of db, or "" for an error
		took   time.Duration
	}{
		"fetched again":             {[]time.Duration{short}, nil, 2, "2", slow},
		"the second one over":       {[]time.Duration{short, -1, good}, nil, 2, "", slow},
		"control: a lease that is":  {[]time.Duration{good}, nil, 1, "1", slow},
		"control: just long enough": {[]time.Duration{slow + 1}, nil, 1, "1", slow},
		"control: no lease":         {nil, nil, 1, "1", slow},
	} {
		for layers, opts := range layerings() {
			t.Run(name+", "+layers, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					l := &leasing{
						says:   layers == "bare" || layers == "standard",
						leases: map[string][]time.Duration{"db": tc.leases},
						delays: map[string][]time.Duration{"db": tc.delays, "slow": {slow}},
					}
					client := open(t, l.backend(), opts...)
					began := time.Now()
					found, err := client.GetMany(t.Context(), "db#user", "slow#user", "db#password")
					is.Equal(time.Since(began), tc.took)
					is.Equal(found["slow#user"].Reveal(), "u1")
					is.Equal(l.callsOf("slow"), 1)
					is.Equal(l.callsOf("db"), tc.calls)
					if tc.want == "" {
						is.Equal(len(found), 1)
						all := err.(secrets.Errors)
						is.Equal(len(all), 2)
						checkOver(t, all[0], "db#user")
						checkOver(t, all[1], "db#password")
						return
					}
					is.NoErr(err)
					is.Equal(found["db#user"].Reveal(), "u"+tc.want) // both of one version
					is.Equal(found["db#password"].Reveal(), "p"+tc.want)
					is.True(found["db#user"].Meta().ExpiresAt.IsZero() || time.Now().Before(found["db#user"].Meta().ExpiresAt))
				})
			})
		}
	}
}

// Ended leases are fetched again together, and only once, even if one of them ends again meanwhile.
func TestLeasesAreRenewedTogetherAndOnce(t *testing.T) {
	const short, slow = 100 * time.Millisecond, 600 * time.Millisecond
	for layers, opts := range layerings() {
		t.Run(layers, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				l := &leasing{
					says:   true,
					leases: map[string][]time.Duration{"a": {short}, "b": {short, time.Hour}, "long": {time.Hour}},
					delays: map[string][]time.Duration{"slow": {slow}, "b": {0, slow}},
				}
				client := open(t, l.backend(), opts...)
				began := time.Now()
				found, err := client.GetMany(t.Context(), "a", "b", "slow", "long")
				is.Equal(time.Since(began), 2*slow)
				is.Equal(len(found), 3)
				is.Equal(found["b"].Meta().Version, "2")
				is.Equal(l.callsOf("long"), 1) // a valid lease is not fetched again
				all := err.(secrets.Errors)
				is.Equal(len(all), 1)
				checkOver(t, all[0], "a")
				is.Equal(l.callsOf("a"), 2)
				is.Equal(l.callsOf("b"), 2)
				is.Equal(l.callsOf("slow"), 1)
			})
		})
	}
}

// A GetMany also checks leases from memory at its end.
func TestALeaseInMemoryThatEndsDuringASlowFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		l := &leasing{
			says:   true,
			leases: map[string][]time.Duration{"db": {10 * time.Second}},
			delays: map[string][]time.Duration{"slow": {4 * time.Second}},
		}
		client := open(t, l.backend(), middleware.Standard())
		both := func(more ...string) map[string]secrets.Secret {
			found, err := client.GetMany(t.Context(), append(more, "db#user", "db#password")...)
			is.NoErr(err)
			return found
		}
		both()
		time.Sleep(5 * time.Second)
		is.Equal(both()["db#user"].Reveal(), "u1") // the control
		before := l.callsOf("db")
		time.Sleep(4 * time.Second)
		found := both("slow")
		is.True(time.Now().Before(found["db#user"].Meta().ExpiresAt))
		is.Equal(found["db#user"].Reveal()[1:], found["db#password"].Reveal()[1:])
		is.True(l.callsOf("db") > before)
	})
}

// If the context of the caller ends while a lease is renewed, the error is that of the context.
func TestTheContextEndsWhileALeaseIsRenewed(t *testing.T) {
	for layers, opts := range layerings() {
		t.Run(layers, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				const short, slow = 100 * time.Millisecond, 600 * time.Millisecond
				l := &leasing{
					says:   true,
					leases: map[string][]time.Duration{"db": {short}},
					delays: map[string][]time.Duration{"slow": {slow}, "db": {0, time.Hour}},
				}
				client := open(t, l.backend(), opts...)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				found, err := client.GetMany(ctx, "db", "slow")
				is.Equal(len(found), 1)
				is.Equal(found["slow"].Meta().Version, "1")
				all := err.(secrets.Errors)
				is.Equal(len(all), 1)
				checkEnded(t, all[0], context.DeadlineExceeded, "leasing", "db")
			})
		})
	}
}

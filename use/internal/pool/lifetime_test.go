package pool_test

import (
	"context"
	"crypto/rand"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/internal/pool"
)

// leases makes backend answer with a new value and lease each time, like one of dynamic credentials.
func leases(backend *secretstest.Backend, lease time.Duration) {
	backend.SetLease(key, lease)
	backend.OnCall(func(context.Context, []secrets.Ref) error {
		backend.Set(key, rand.Text())
		return nil
	})
}

// A connection retires Grace before its lease ends; Grace is capped at a fifth of the lease.
func TestGrace(t *testing.T) {
	for _, c := range []struct {
		name  string
		lease time.Duration
		opts  []pool.Option
		life  time.Duration
	}{
		{"by default", time.Hour, nil, time.Hour - 30*time.Second},
		{"as set", time.Hour, []pool.Option{pool.Grace(time.Minute)}, 59 * time.Minute},
		{"the last one applies", time.Hour, []pool.Option{pool.Grace(time.Minute), pool.Grace(2 * time.Minute)}, 58 * time.Minute},
		{"a short lease", 10 * time.Second, nil, 8 * time.Second},
		{"more than a fifth", time.Hour, []pool.Option{pool.Grace(time.Hour)}, 48 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				client, backend := open(t)
				leases(backend, c.lease)
				l := logIn(t, credential(t, client, c.opts...))
				time.Sleep(c.life - time.Second)
				is.True(!l.IsOver())
				is.True(!l.IsOverIn(time.Second - 1))
				is.True(l.IsOverIn(time.Second))
				time.Sleep(time.Second - 1)
				is.True(!l.IsOver())
				time.Sleep(time.Nanosecond)
				is.True(l.IsOver())
				is.True(!l.HasEnded())
				time.Sleep(c.lease - c.life - 1)
				is.True(!l.HasEnded())
				time.Sleep(time.Nanosecond)
				is.True(l.HasEnded())
			})
		})
	}
}

// A password that is fetched again unchanged is not tied to one lease: connections stay past its expiry.
func TestAPasswordThatIsChangedInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		client, backend := open(t, middleware.Standard())
		began := time.Now()
		backend.SetExpiry(key, began.Add(time.Hour))
		l := logIn(t, credential(t, client))
		time.Sleep(time.Hour - time.Second)
		is.True(!l.IsOver())
		is.True(!l.IsOverIn(time.Hour))
		is.True(!l.HasEnded())

		backend.SetExpiry(key, began.Add(2*time.Hour)) // changed late
		time.Sleep(time.Minute)
		is.True(!l.IsOver())
		is.True(!l.HasEnded())
		backend.Set(key, "battery staple")
		_, err := client.Refresh(t.Context(), key)
		is.NoErr(err)
		is.True(l.IsOver()) // another one is available
	})
}

func TestWithoutALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		client, backend := open(t)
		l := logIn(t, credential(t, client))
		backend.Set(key, "battery staple")
		time.Sleep(24 * time.Hour)
		is.True(!l.IsOver())
		is.True(!l.HasEnded())
	})
}

// Without another credential, a connection lives until its lease ends, also one that logs in late. Otherwise each query would log in with
// the same credential.
func TestLateLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		client, backend := open(t, middleware.Standard())
		leases(backend, time.Hour)
		c := credential(t, client)
		first := logIn(t, c)
		backend.Fail(secrets.ErrUnavailable)
		time.Sleep(time.Hour - 10*time.Second)
		is.True(!first.IsOver())
		late := logIn(t, c)
		time.Sleep(10*time.Second - time.Nanosecond)
		for _, l := range []*pool.Lifetime{first, late} {
			is.True(!l.IsOver())
			is.True(l.IsOverIn(time.Nanosecond))
			is.True(!l.HasEnded())
		}
		time.Sleep(time.Nanosecond)
		for _, l := range []*pool.Lifetime{first, late} {
			is.True(l.IsOver())
			is.True(l.HasEnded())
		}
	})
}

// A connection past its retirement retires once the next lease arrives.
func TestTheNextLeaseComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		client, backend := open(t, middleware.Standard())
		leases(backend, time.Minute)
		l := logIn(t, credential(t, client))
		backend.SetLatency(3 * time.Second)
		time.Sleep(48*time.Second + time.Millisecond) // Grace is 12 s
		is.True(!l.IsOver())
		time.Sleep(3 * time.Second)
		is.True(l.IsOver())
		is.True(!l.HasEnded())
	})
}

// A lease that has ended, or that ends before it begins because the clock was set, causes no panic and retires the connection.
func TestEndedLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		client, _ := open(t)
		l, err := credential(t, client).Begin(t.Context())
		is.NoErr(err)
		now := time.Now()
		for _, fetched := range []time.Time{now.Add(-time.Hour), now, now.Add(time.Hour), {}} {
			l.LoggedIn(secrets.NewSecret("x", secrets.Meta{FetchedAt: fetched, ExpiresAt: now}))
			is.True(l.IsOver())
			is.True(l.HasEnded())
		}
		l.LoggedIn(secrets.NewSecret("x", secrets.Meta{FetchedAt: now.Add(time.Hour), ExpiresAt: now.Add(time.Minute)}))
		is.True(!l.IsOver())
		time.Sleep(time.Minute)
		is.True(l.IsOver())
		l.LoggedIn(secrets.NewSecret("x", secrets.Meta{}))
		is.True(!l.IsOver())
		is.True(!l.HasEnded())
	})
}

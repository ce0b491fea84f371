package secrets_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// gauge is a backend that takes a second for each document, and counts the concurrent fetches.
type gauge struct {
	secrets.Backend

	calls, atOnce, peak atomic.Int64
}

func newGauge(info secrets.Info) *gauge {
	g := &gauge{}
	g.Backend = secrets.NewBackend(info, func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		g.calls.Add(1)
		now := g.atOnce.Add(1)
		defer g.atOnce.Add(-1)
		raise(&g.peak, now)
		time.Sleep(time.Second)
		return secrets.NewSecret(`{"user":"`+ref.Path+`","password":"p"}`, secrets.Meta{}), nil
	})
	return g
}

// raise makes peak at least n.
func raise(peak *atomic.Int64, n int64) {
	for {
		m := peak.Load()
		if n <= m || peak.CompareAndSwap(m, n) {
			return
		}
	}
}

func TestGetManyFetchesSixteenDocumentsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newGauge(secrets.Info{Name: "g"})
		client := open(t, g)
		began := time.Now()
		found, err := client.GetMany(t.Context(), keys(100)...)
		is.NoErr(err)
		is.Equal(len(found), 100)
		is.Equal(g.peak.Load(), int64(16))
		is.Equal(time.Since(began), 7*time.Second) // 100 documents, 16 at a time
	})
}

func TestBatchWidensGetMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newGauge(secrets.Info{Name: "g", Batch: 5})
		client := open(t, g)
		_, err := client.GetMany(t.Context(), keys(100)...)
		is.NoErr(err)
		is.Equal(g.peak.Load(), int64(80))
	})
}

func TestGetManyFetchesADocumentOnceForItsFields(t *testing.T) {
	for name, opts := range map[string][]secrets.Option{
		"alone": nil,
		"with user middleware": {
			secrets.WithMiddleware(holdUp("other", time.Second)),
			secrets.WithBackendMiddleware(holdUp("other", time.Second)),
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newGauge(secrets.Info{Name: "g"})
				client := open(t, g, opts...)
				found, err := client.GetMany(t.Context(), "db#user", "db#password", "db", "other#user")
				is.NoErr(err)
				is.Equal(found["db#user"].Reveal(), "db")
				is.Equal(found["db#password"].Reveal(), "p")
				is.Equal(found["other#user"].Reveal(), "other")
				is.Equal(g.calls.Load(), int64(2))
			})
		})
	}
}

// Middleware that gives up for one key does not end the fetch of the document for the others.
func TestGetManySurvivesMiddlewareThatGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newGauge(secrets.Info{Name: "g"})
		impatient := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
			if ref.Field == "user" {
				short, cancel := context.WithTimeout(ctx, time.Millisecond)
				defer cancel()
				return next.Fetch(short, ref)
			}
			time.Sleep(time.Microsecond) // so that the impatient one begins
			return next.Fetch(ctx, ref)
		})
		client := open(t, g, secrets.WithMiddleware(impatient))
		found, err := client.GetMany(t.Context(), "db#user", "db#password")
		is.True(err != nil)
		is.Equal(found["db#password"].Reveal(), "p")
		is.Equal(len(found), 1)
	})
}

// A backend or layer may use a Client. Fetches of that Client are not part of the outer call.
func TestAClientWithinAFetchIsIndependent(t *testing.T) {
	is := is.New(t)
	inner := newBatching(secrets.Info{Name: "inner", Batch: 20}, 0, nil)
	helper := open(t, inner)
	outer := secrets.NewBackend(secrets.Info{Name: "outer"}, func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
		return helper.Get(ctx, ref.Path)
	})
	client := open(t, outer)
	found, err := client.GetMany(t.Context(), keys(3)...)
	is.NoErr(err)
	is.Equal(len(found), 3)
	is.Equal(inner.sizes(), []int{1, 1, 1})
}

// Middleware that retries after an outage reaches the backend again, also in a GetMany.
func TestMiddlewareMayRetryInAGetMany(t *testing.T) {
	is := is.New(t)
	var calls atomic.Int64
	backend := secrets.NewBackend(secrets.Info{Name: "b"}, func(context.Context, secrets.Ref) (secrets.Secret, error) {
		if calls.Add(1) == 1 {
			return secrets.Secret{}, secrets.ErrUnavailable
		}
		return secrets.NewSecret("value", secrets.Meta{}), nil
	})
	retry := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
		s, err := next.Fetch(ctx, ref)
		if secrets.Class(err) == secrets.ErrUnavailable {
			s, err = next.Fetch(ctx, ref)
		}
		return s, err
	})
	found, err := open(t, backend, secrets.WithMiddleware(retry)).GetMany(t.Context(), "a")
	is.NoErr(err)
	is.Equal(found["a"].Reveal(), "value")
	is.Equal(calls.Load(), int64(2))
}

// Invalidate works while the backend hangs in other calls.
func TestInvalidateWhileTheBackendHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var version atomic.Int64
		release := make(chan struct{})
		backend := secrets.NewBackend(secrets.Info{Name: "b", Resolve: func(ref secrets.Ref) secrets.Ref { return ref }},
			func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
				if ref.Path != "good" {
					<-release
				}
				return secrets.NewSecret(strconv.FormatInt(version.Add(1), 10), secrets.Meta{}), nil
			})
		client := open(t, backend, secrets.WithCache(cache.New()), secrets.WithTimeout(time.Second))
		get := func() (secrets.Secret, error) { return client.Get(t.Context(), "good") }
		s, err := get()
		is.NoErr(err)
		is.Equal(s.Reveal(), "1")
		var wg sync.WaitGroup
		for _, key := range keys(300) {
			wg.Go(func() { _, _ = client.Refresh(t.Context(), key) })
		}
		wg.Wait()
		client.Invalidate("good")
		_, err = get()
		is.Equal(secrets.Class(err), secrets.ErrUnavailable) // not the invalidated value
		close(release)
	})
}

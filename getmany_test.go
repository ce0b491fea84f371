package secrets_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

// gauge is a backend that takes a second for each document, and knows how many it was asked for at a time.
type gauge struct {
	secrets.Backend

	calls, atOnce, most atomic.Int64
}

func newGauge(info secrets.Info) *gauge {
	g := &gauge{}
	g.Backend = secrets.NewBackend(info, func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		g.calls.Add(1)
		now := g.atOnce.Add(1)
		defer g.atOnce.Add(-1)
		raise(&g.most, now)
		time.Sleep(time.Second)
		return secrets.NewSecret(`{"user":"`+ref.Path+`","password":"p"}`, secrets.Meta{}), nil
	})
	return g
}

// raise makes most at least n.
func raise(most *atomic.Int64, n int64) {
	for {
		m := most.Load()
		if n <= m || most.CompareAndSwap(m, n) {
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
		is.Equal(g.most.Load(), int64(16))
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
		is.Equal(g.most.Load(), int64(80))
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
func TestGetManyOutlivesACallerOfTheDocumentThatGaveUp(t *testing.T) {
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

// A backend, or a layer, may have a Client of its own. Its fetches are no part of the call.
func TestAClientWithinAFetchIsOfItsOwn(t *testing.T) {
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

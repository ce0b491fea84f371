package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// until sleeps until d after the start of the bubble, and waits for everything that is due by then.
func until(began time.Time, d time.Duration) {
	time.Sleep(time.Until(began.Add(d)))
	synctest.Wait()
}

// layers is a cache with dedup between its halves, as in a Client.
type layers struct {
	secrets.Cache

	dedup secrets.Dedup
}

func (l *layers) Invalidate(docs ...secrets.Ref) {
	l.Cache.Invalidate(docs...)
	l.dedup.Invalidate(docs...)
}

func (l *layers) Close() error { return errors.Join(l.Cache.Close(), l.dedup.Close()) }

// newLayer returns a cache around below, with dedup between its halves.
func newLayer(c *cache.Cache, below secrets.Fetcher) secrets.Cache {
	return newLayerOf(c, secrets.Info{Name: "source"}, below)
}

// newLayerOf is newLayer for the backend that info describes.
func newLayerOf(c *cache.Cache, info secrets.Info, below secrets.Fetcher) secrets.Cache {
	l := new(layers)
	l.Cache = c.NewCache(info, below, func(fill secrets.Fetcher) secrets.Fetcher {
		l.dedup = dedup.New().NewDedup(info, fill)
		return l.dedup
	})
	return l
}

// newLayerAlone returns a cache around below, without dedup.
func newLayerAlone(c *cache.Cache, below secrets.Fetcher) secrets.Cache {
	return c.NewCache(secrets.Info{Name: "source"}, below, func(fill secrets.Fetcher) secrets.Fetcher { return fill })
}

// fetchFunc makes a function a Fetcher.
type fetchFunc func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error)

func (f fetchFunc) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return f(ctx, ref)
}

// withFresh returns the context of a refresh.
func withFresh(ctx context.Context) context.Context {
	return fetchctx.With(ctx, fetchctx.Fetch{Fresh: true})
}

// source is the backend of the cache. After a delay, it answers with the version that was current at the call.
type source struct {
	mu      sync.Mutex
	version int
	lease   time.Duration
	err     error
	delay   time.Duration
	paths   []string // of the calls
}

// backend returns s as the backend of a client.
func (s *source) backend() secrets.Backend {
	return secrets.NewBackend(secrets.Info{Name: "source"}, s.Fetch)
}

func (s *source) set(change func(s *source)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.paths)
}

func (s *source) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	s.mu.Lock()
	s.paths = append(s.paths, ref.Path)
	meta := secrets.Meta{Version: fmt.Sprint(s.version)}
	if s.lease > 0 {
		meta.ExpiresAt = time.Now().Add(s.lease)
	}
	answer := secrets.Result{Secret: secrets.NewSecret(fmt.Sprintf("%s v%d", ref.Path, s.version), meta)}
	if s.err != nil {
		answer = secrets.Result{Err: &secrets.Error{Err: s.err, Detail: "so says the source"}}
	}
	delay := s.delay
	s.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return secrets.Secret{}, ctx.Err()
		}
	}
	return answer.Secret, answer.Err
}

// fetchAll fetches all paths at once, as a GetMany does.
func fetchAll(ctx context.Context, f secrets.Fetcher, paths ...string) []secrets.Result {
	results := make([]secrets.Result, len(paths))
	var wg sync.WaitGroup
	for i, path := range paths {
		wg.Go(func() { results[i].Secret, results[i].Err = f.Fetch(ctx, secrets.Ref{Path: path}) })
	}
	wg.Wait()
	return results
}

var (
	db    = secrets.Ref{Path: "db"}
	exact = cache.WithJitter(0)
)

// fixture is a cache around a source, in a bubble.
type fixture struct {
	*is.I
	*source
	cache *cache.Cache
	layer secrets.Cache
	began time.Time
}

func run(t *testing.T, name string, opts []cache.Option, test func(f *fixture)) {
	t.Helper()
	runLayer(t, name, newLayer, opts, test)
}

// runAlone is run without dedup, so that fetches of one document are many.
func runAlone(t *testing.T, name string, opts []cache.Option, test func(f *fixture)) {
	t.Helper()
	runLayer(t, name, newLayerAlone, opts, test)
}

func runLayer(
	t *testing.T, name string, newLayer func(*cache.Cache, secrets.Fetcher) secrets.Cache, opts []cache.Option, test func(f *fixture),
) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fixture{I: is.New(t), source: &source{version: 1}, began: time.Now()}
			f.cache = cache.New(append([]cache.Option{exact}, opts...)...)
			f.NoErr(f.cache.Validate())
			f.layer = newLayer(f.cache, f.source)
			defer func() { f.NoErr(f.layer.Close()) }() // even if a check has ended the test: fetches must not outlive the bubble
			test(f)
		})
	})
}

func (f *fixture) at(d time.Duration) { until(f.began, d) }

func (f *fixture) get() (secrets.Secret, error) { return f.layer.Fetch(context.Background(), db) }

// fresh checks that a fetch gets version, not stale, and that the source has had that many calls by then.
func (f *fixture) fresh(version, calls int) {
	f.Helper()
	got, err := f.get()
	f.NoErr(err)
	f.Equal(got.Reveal(), fmt.Sprintf("db v%d", version))
	f.True(!got.Meta().Stale)
	synctest.Wait()
	f.Equal(f.count(), calls)
}

func (f *fixture) staleAnswer(version, calls int) {
	f.Helper()
	got, err := f.get()
	f.NoErr(err)
	f.Equal(got.Reveal(), fmt.Sprintf("db v%d", version))
	f.True(got.Meta().Stale)
	synctest.Wait()
	f.Equal(f.count(), calls)
}

func (f *fixture) fails(class error, calls int) {
	f.Helper()
	got, err := f.get()
	f.True(errors.Is(err, class))
	f.True(got.IsZero())
	synctest.Wait()
	f.Equal(f.count(), calls)
}

// warm puts a value of each of paths in memory.
func (f *fixture) warm(paths ...string) {
	f.Helper()
	for _, path := range paths {
		_, err := f.layer.Fetch(context.Background(), secrets.Ref{Path: path})
		f.NoErr(err)
	}
}

// breakDown makes the source unavailable, and refreshes each of paths in turn.
func (f *fixture) breakDown(paths ...string) {
	f.Helper()
	f.answers(secrets.ErrUnavailable)
	for _, path := range paths {
		_, err := f.layer.Fetch(withFresh(context.Background()), secrets.Ref{Path: path})
		f.True(errors.Is(err, secrets.ErrUnavailable))
	}
}

func (f *fixture) answers(err error) { f.set(func(s *source) { s.err = err }) }
func (f *fixture) rotate()           { f.set(func(s *source) { s.version++ }) }

func (f *fixture) invalidate(paths ...string) {
	for _, p := range paths {
		f.layer.Invalidate(secrets.Ref{Path: p})
	}
}

package soak_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
)

const weakName = "weak"

// config is one client of the soak test, with a server of its own.
type config struct {
	name       string
	keys       int
	goroutines int
	weights    odds
	storms     bool // the whole server has outages
	leases     bool // all keys are leased, and Info.Leases is set
	weak       bool // with a second source
	ttl        time.Duration
	maxStale   time.Duration
	size       int
	timeout    time.Duration
	allowance  time.Duration // tolerance beyond the promised duration
	patience   time.Duration // how long a document may take to recover at the end; negative: unchecked

	// For controls:
	bare    bool                                                 // only cache and dedup of options
	options func(w *world) []secrets.Option                      // more options
	wrap    func(w *world, next secrets.Backend) secrets.Backend // a broken backend
	act     func(ctx context.Context, w *world, rng *rand.Rand)  // replaces the usual calls
	source  func(w *world, seed uint64, keys []string) sourceOf  // replaces the usual server
}

// sourceOf is a server of any kind.
type sourceOf struct {
	backend   secrets.Backend
	calm      func() // ends all faults
	stop      func()
	rotations func() int64
	faults    func() map[string]int64
}

// world is one client under test and its environment.
type world struct {
	config

	keyNames      []string
	ledger        *ledger
	source        sourceOf
	checker       *checker
	client        *secrets.Client
	invalidations atomic.Int64  // invalidations
	released      chan struct{} // ends the goroutines that a control leaks
}

// newWorld starts a server and a client for it.
func newWorld(t *testing.T, c config, seed uint64, late *stalls) *world {
	t.Helper()
	w := &world{config: c, released: make(chan struct{})}
	for i := range c.keys {
		w.keyNames = append(w.keyNames, fmt.Sprintf("%s-%03d", c.name, i))
	}
	w.ledger = newLedger(c.name, w.keyNames)
	w.checker = &checker{c: c, ledger: w.ledger, stalls: late, classes: make(map[string]int64)}
	if c.source == nil {
		c.source = func(w *world, seed uint64, keys []string) sourceOf { return w.usual(seed, keys) }
	}
	w.source = c.source(w, seed, w.keyNames)
	backend := w.source.backend
	if c.wrap != nil {
		backend = c.wrap(w, backend)
	}
	ledgers := map[string]*ledger{c.name: w.ledger}
	opts := []secrets.Option{secrets.WithTimeout(c.timeout)}
	if !c.bare {
		opts = append(opts, middleware.Standard(
			cache.WithTTL(c.ttl), cache.WithMaxStale(c.maxStale), cache.WithNegativeTTL(20*time.Millisecond),
			cache.WithRefreshAhead(0.7), cache.WithSize(c.size),
		), secrets.WithDedup(ordered{dedup.New(), ledgers}))
	}
	if c.weak {
		second := newLedger(weakName, w.keyNames)
		ledgers[weakName], w.checker.second = second, second
		opts = append(opts, secrets.WithFallback(fallback.To(&numbered{newWeak(), second, time.Hour})))
	}
	if c.options != nil {
		opts = append(opts, c.options(w)...)
	}
	client, err := secrets.New(&numbered{backend, w.ledger, c.timeout / 2}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	w.client = client
	return w
}

func (w *world) usual(seed uint64, keys []string) sourceOf {
	s := newServer(w.name, seed, keys, w.weights, w.storms, w.leases)
	return sourceOf{
		backend:   s.backend(w.leases),
		calm:      func() { s.calm.Store(true) },
		stop:      s.stop,
		rotations: s.rotations,
		faults: func() map[string]int64 {
			all := make(map[string]int64)
			for p := range phases {
				if p != healthy {
					all[p.String()] = s.faults[p].Load()
				}
			}
			return all
		},
	}
}

// newWeak returns the second source. It has all keys, and never fails.
func newWeak() secrets.Backend {
	var version atomic.Uint64
	return secrets.NewBackend(secrets.Info{Name: weakName}, func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		n := version.Add(1)
		return secrets.NewSecret(string(newBody(weakName, ref.Path, n, 0)), secrets.Meta{Version: strconv.FormatUint(n, 10)}), nil
	})
}

// run reads for this duration, or until enough returns true.
func (w *world) run(seed uint64, lasts time.Duration, enough func() bool) {
	ctx, cancel := context.WithTimeout(context.Background(), lasts)
	defer cancel()
	act := w.act
	if act == nil {
		act = usually
	}
	var readers sync.WaitGroup
	for g := range w.goroutines {
		rng := rand.New(rand.NewPCG(seed, uint64(g)+1000))
		readers.Go(func() {
			for ctx.Err() == nil && !enough() {
				act(context.Background(), w, rng)
				pause(ctx, time.Duration(rng.IntN(int(5*time.Millisecond))))
			}
		})
	}
	readers.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// usually makes one random call.
func usually(ctx context.Context, w *world, rng *rand.Rand) {
	impatient, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	fickle, leave := context.WithCancel(ctx)
	defer leave()
	path := w.keyNames[rng.IntN(len(w.keyNames))]
	if rng.IntN(2) == 0 { // half of all calls are for a few hot keys
		path = w.keyNames[rng.IntN(min(4, len(w.keyNames)))]
	}
	key := path + [...]string{"", "#user", "#password"}[rng.IntN(3)]
	switch n := rng.IntN(100); {
	case n < 40:
		w.get(ctx, "Get", key)
	case n < 54:
		w.get(impatient, "Get in 20 ms", key)
	case n < 61:
		timer := time.AfterFunc(time.Duration(rng.IntN(int(15*time.Millisecond))), leave)
		w.get(fickle, "Get until cancelled", key)
		timer.Stop()
	case n < 73:
		w.getMany(ctx, "GetMany", path+"#user", path+"#password")
	case n < 78:
		w.getMany(impatient, "GetMany in 20 ms", path+"#user", path+"#password")
	case n < 87:
		var keys []string
		for range 3 {
			path := w.keyNames[rng.IntN(len(w.keyNames))]
			keys = append(keys, path+"#user", path+"#password")
		}
		w.getMany(ctx, "GetMany of three", keys...)
	case n < 91:
		w.refresh(ctx, key)
	case n < 94:
		w.invalidate(path)
	default:
		q := w.question(ctx, "Has", key)
		has, err := w.client.Has(ctx, key)
		w.end(q)
		w.checker.has(q, has, err)
	}
}

// question starts a question. It reads the marks first: they were known before the call.
func (w *world) question(ctx context.Context, op, key string) *question {
	ref, err := secrets.ParseRef(key)
	if err != nil {
		panic(err)
	}
	q := &question{ctx: ctx, op: op, key: key, path: ref.Path, field: ref.Field}
	// One fetch, one more after any invalidation, and one more if a lease ended on the way.
	fetches := 2
	if w.leases || w.keyIsLeased(ref.Path) {
		fetches++
	}
	q.limit = time.Duration(fetches) * w.timeout
	if w.weak {
		q.limit *= 2
	}
	q.marks = w.ledger.records[ref.Path].marks()
	q.began = time.Now()
	return q
}

func (w *world) keyIsLeased(path string) bool { return slices.Index(w.keyNames, path)%3 == 2 }

func (w *world) end(q *question) {
	q.ended = time.Now()
	w.checker.took(q)
}

func (w *world) get(ctx context.Context, op, key string) {
	q := w.question(ctx, op, key)
	s, err := w.client.Get(ctx, key)
	w.end(q)
	w.checker.answered(q, s, err)
}

func (w *world) refresh(ctx context.Context, key string) {
	q := w.question(ctx, "Refresh", key)
	q.refresh = true
	s, err := w.client.Refresh(ctx, key)
	w.end(q)
	w.checker.answered(q, s, err)
}

func (w *world) getMany(ctx context.Context, op string, keys ...string) {
	slices.Sort(keys)
	keys = slices.Compact(keys)
	qs := make([]*question, len(keys))
	for i, key := range keys {
		qs[i] = w.question(ctx, op, key)
	}
	found, err := w.client.GetMany(ctx, keys...)
	for _, q := range qs {
		q.ended = time.Now()
	}
	w.checker.took(qs[0])
	w.checker.together(qs, found, err)
}

// invalidate invalidates path. No fetch that has its number already is valid afterwards.
func (w *world) invalidate(path string) {
	r := w.ledger.records[path]
	next := r.marks().next
	w.client.Invalidate(path)
	raise(&r.invalidated, next)
	w.invalidations.Add(1)
}

// back returns why key cannot be read from the first source, or nil.
func (w *world) back(key string) error {
	for _, read := range []func(context.Context, string) (secrets.Secret, error){w.client.Refresh, w.client.Get} {
		s, err := read(context.Background(), key)
		if err == nil && s.Meta().Backend != w.name {
			err = fmt.Errorf("the backend is %q", s.Meta().Backend)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recover checks that everything can be read once the server is healthy, and closes the client.
func (w *world) recover() {
	w.source.calm()
	for _, key := range w.keyNames {
		if w.patience < 0 {
			break
		}
		began, err := time.Now(), w.back(key)
		for err != nil && time.Since(began) < w.patience {
			pause(context.Background(), 10*time.Millisecond)
			err = w.back(key)
		}
		if err != nil {
			w.checker.report(notBack, "%s: %v", key, err)
		}
	}
	if err := w.client.Close(); err != nil {
		w.checker.report(leaked, "Close: %v", err)
	}
	if _, err := w.client.Get(context.Background(), w.keyNames[0]); !errors.Is(err, secrets.ErrClosed) {
		w.checker.report(badError, "Get after Close: %v", err)
	}
	w.source.stop()
	w.checker.judge()
}

package middleware_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// The table has each behavior of a backend with each kind of reader and each state of the cache. A cell is several reads, one after
// another. Their results, their times and the number of calls of the backend must be those of the model.

const quick = 10 * time.Millisecond

// hang is longer than every timeout.
const hang = time.Hour

func down(after time.Duration) behavior { return behavior{after: after, class: secrets.ErrUnavailable} }

// behaviors has the behaviors of the backend from the first read of a cell on. Before, it is fast and has version 1.
var behaviors = []struct {
	name   string
	behave func(call int) behavior
}{
	{"fast", func(int) behavior { return behavior{after: quick, version: 1} }},
	{"slow", func(int) behavior { return behavior{after: 700 * time.Millisecond, version: 1} }},
	{"hangs", func(int) behavior { return behavior{after: hang} }},
	{"fails", func(int) behavior { return down(quick) }},
	{"flaps", func(call int) behavior {
		if call%2 == 1 {
			return down(quick)
		}
		return behavior{after: quick, version: 1}
	}},
	{"dies", func(call int) behavior {
		if call == 1 {
			return behavior{after: hang}
		}
		return down(0)
	}},
	{"denies", func(int) behavior { return behavior{after: quick, class: secrets.ErrPermissionDenied} }},
	{"rotates", func(call int) behavior { return behavior{after: quick, version: 1 + call} }},
}

var readers = []struct {
	reader

	name  string
	reads int
	many  bool // GetMany, with a document that hangs
}{
	{reader{}, "patient", 4, false},
	{reader{deadline: 300 * time.Millisecond}, "300 ms", 6, false},
	{reader{deadline: 50 * time.Millisecond}, "50 ms", 4, false},
	{reader{cancel: 20 * time.Millisecond}, "cancelled", 4, false},
	{reader{fresh: true}, "Refresh", 4, false},
	{reader{fresh: true, deadline: 300 * time.Millisecond}, "Refresh, 300 ms", 4, false},
	{reader{invalidate: true}, "after Invalidate", 4, false},
	{reader{invalidate: true, deadline: 300 * time.Millisecond}, "after Invalidate, 300 ms", 4, false},
	{reader{deadline: 300 * time.Millisecond}, "GetMany with a sick neighbour", 3, true},
}

// memories has the states of the cache: when a value was fetched before the first read, if at all, and its lease.
var memories = []struct {
	name       string
	age, lease time.Duration
}{
	{"cold", 0, 0},
	{"fresh", 10 * time.Second, 0},
	{"due", 85 * time.Second, 0},
	{"expired", 110 * time.Second, 0},
	{"past MaxStale", 160 * time.Second, 0},
	{"leased", 110 * time.Second, 112 * time.Second},
}

// scripted is a backend with a scripted behavior.
type scripted struct {
	mu     sync.Mutex
	lease  time.Duration
	behave map[string]func(call int) behavior
	calls  map[string]int
}

func (s *scripted) fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	s.mu.Lock()
	s.calls[ref.Path]++
	b := s.behave[ref.Path](s.calls[ref.Path])
	s.mu.Unlock()
	meta := secrets.Meta{Version: fmt.Sprint(b.version)}
	if s.lease > 0 {
		meta.ExpiresAt = time.Now().Add(s.lease)
	}
	if b.after > 0 {
		timer := time.NewTimer(b.after)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return secrets.Secret{}, ctx.Err()
		}
	}
	if b.class != nil {
		return secrets.Secret{}, secrets.NewError(b.class, "as told")
	}
	return secrets.NewSecret(fmt.Sprint(b.version), meta), nil
}

// script changes how s behaves from now on.
func (s *scripted) script(path string, behave func(call int) behavior) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behave[path], s.calls[path] = behave, 0
}

// made returns the number of calls since then.
func (s *scripted) made(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[path]
}

// cell is one cell of the table.
type cell struct{ behavior, reader, memory int }

func (c cell) String() string {
	return behaviors[c.behavior].name + " / " + readers[c.reader].name + " / " + memories[c.memory].name
}

// observation is the result of one read.
type observation struct {
	answer

	took time.Duration
}

func (o observation) String() string {
	what := fmt.Sprint(o.class)
	if o.class == nil {
		what = fmt.Sprintf("v%d stale=%t", o.version, o.stale)
	}
	return fmt.Sprintf("%s after %v", what, o.took)
}

// run makes the reads of c with pauses of gap between them.
func (c cell) run(t *testing.T, gap time.Duration, opts ...secrets.Option) (got []observation, calls int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, m := readers[c.reader], memories[c.memory]
		s := &scripted{lease: m.lease, calls: make(map[string]int), behave: map[string]func(int) behavior{
			"db": behaviors[0].behave, "sick": behaviors[2].behave,
		}}
		client, err := secrets.New(secrets.NewBackend(secrets.Info{Name: "scripted"}, s.fetch), append(opts,
			middleware.Standard(cache.WithTTL(modelTTL), cache.WithMaxStale(modelMaxStale), cache.WithJitter(0)),
			secrets.WithTimeout(modelTimeout))...)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if m.age > 0 {
			if _, err := client.Get(t.Context(), "db"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(m.age - time.Since(began))
		}
		s.script("db", behaviors[c.behavior].behave)
		for range r.reads {
			got = append(got, c.read(client))
			time.Sleep(gap)
		}
		calls = s.made("db")
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return got, calls
}

// read makes one read.
func (c cell) read(client *secrets.Client) observation {
	r := readers[c.reader]
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if r.cancel > 0 {
		time.AfterFunc(r.cancel, cancel)
	}
	if r.deadline > 0 {
		ctx, cancel = context.WithTimeout(ctx, r.deadline)
		defer cancel()
	}
	began := time.Now()
	var s secrets.Secret
	var err error
	switch {
	case r.many:
		var found map[string]secrets.Secret
		found, err = client.GetMany(ctx, "db", "sick")
		if all, ok := errors.AsType[secrets.Errors](err); ok {
			err = nil
			for _, e := range all {
				if e.Key == "db" {
					err = e
				}
			}
		}
		s = found["db"]
	case r.fresh:
		s, err = client.Refresh(ctx, "db")
	default:
		if r.invalidate {
			client.Invalidate("db")
		}
		s, err = client.Get(ctx, "db")
	}
	o := observation{took: time.Since(began)}
	if err != nil {
		o.class = secrets.Class(err)
		return o
	}
	_, _ = fmt.Sscan(s.Reveal(), &o.version) // 0 differs from the model
	o.stale = s.Meta().Stale
	return o
}

// predict returns the prediction of the model for c. It is unclear if it depends on the spread of a back-off.
func (c cell) predict(gap time.Duration) (want []observation, calls int, unclear bool) {
	r, mem := readers[c.reader], memories[c.memory]
	db := &modelDocument{behave: behaviors[0].behave, lease: mem.lease}
	m := &model{documents: map[string]*modelDocument{"db": db, "sick": {behave: behaviors[2].behave}}}
	if mem.age > 0 {
		m.finish(m.start("db", reader{}))
		m.pass(mem.age)
		db.calls = 0
	}
	db.behave = behaviors[c.behavior].behave
	for range r.reads {
		began := m.now
		p := m.start("db", r.reader)
		var o observation
		var at time.Duration
		if !r.many {
			o.answer, at = m.finish(p)
		} else {
			sick := m.start("sick", r.reader)
			if sick.until < p.until {
				m.finish(sick)
				o.answer, at = m.finish(p)
			} else {
				o.answer, _ = m.finish(p)
				_, at = m.finish(sick)
			}
		}
		o.took = at - began
		want = append(want, o)
		m.pass(at + gap)
	}
	return want, db.calls, m.unclear
}

// differs returns how c differs from the model, or "".
func (c cell) differs(t *testing.T, opts ...secrets.Option) string {
	t.Helper()
	for gap := time.Second; gap < 2*time.Second; gap += 70 * time.Millisecond {
		want, wantCalls, unclear := c.predict(gap)
		if unclear {
			continue
		}
		got, calls := c.run(t, gap, opts...)
		var b strings.Builder
		for i := range want {
			if got[i] != want[i] {
				fmt.Fprintf(&b, "\n  read %d: %v; the model: %v", i+1, got[i], want[i])
			}
		}
		if calls != wantCalls {
			fmt.Fprintf(&b, "\n  %d calls; the model: %d", calls, wantCalls)
		}
		return b.String()
	}
	return "\n  the model has no clear answer"
}

func cells() (all []cell) {
	for b := range behaviors {
		for r := range readers {
			for m := range memories {
				all = append(all, cell{b, r, m})
			}
		}
	}
	return all
}

func TestTable(t *testing.T) {
	differ := 0
	for _, c := range cells() {
		if text := c.differs(t); text != "" {
			differ++
			t.Errorf("%v:%s", c, text)
		}
	}
	t.Logf("%d cells, of which %d differ from the model", len(cells()), differ)
}

// Control: the table finds each change of a client's behavior.
func TestTableFindsFaults(t *testing.T) {
	for name, opts := range map[string][]secrets.Option{
		"no stale values in an outage": {secrets.WithCache(cache.New(cache.WithTTL(modelTTL), cache.WithMaxStale(0), cache.WithJitter(0)))},
		"no renewal ahead": {secrets.WithCache(cache.New(cache.WithTTL(modelTTL), cache.WithMaxStale(modelMaxStale),
			cache.WithJitter(0), cache.WithRefreshAhead(0)))},
		"each call twice": {secrets.WithBackendMiddleware(secrets.Intercept(
			func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				_, _ = next.Fetch(ctx, ref)
				return next.Fetch(ctx, ref)
			}))},
		"a millisecond late": {secrets.WithMiddleware(secrets.Intercept(
			func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
				time.Sleep(time.Millisecond)
				return next.Fetch(ctx, ref)
			}))},
	} {
		found := 0
		for _, c := range cells() {
			if c.differs(t, opts...) != "" {
				found++
			}
		}
		if found == 0 {
			t.Errorf("%s: no cell shows it", name)
		}
		t.Logf("%s: %d cells show it", name, found)
	}
}

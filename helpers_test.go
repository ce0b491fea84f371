package secrets_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(crashEnv); mode != "" {
		crash(mode) // this process is the child of TestCrash
		return
	}
	goleak.VerifyTestMain(m)
}

// fake is a backend with the answers of a test. It records its calls.
type fake struct {
	info  secrets.Info
	docs  map[string]string // what Fetch answers, by path, unless fetch is set
	fetch fetchFunc
	close func() error

	calls atomic.Int64
	mu    sync.Mutex
	asked []secrets.Ref
}

type fetchFunc = func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error)

func (f *fake) Info() secrets.Info { return f.info }

func (f *fake) Close() error {
	if f.close == nil {
		return nil
	}
	return f.close()
}

func (f *fake) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	f.calls.Add(1)
	f.mu.Lock()
	f.asked = append(f.asked, ref)
	f.mu.Unlock()
	if f.fetch != nil {
		return f.fetch(ctx, ref)
	}
	if value, ok := f.docs[ref.Path]; ok {
		return secrets.NewSecret(value, secrets.Meta{Version: "v1"}), nil
	}
	return secrets.Secret{}, &secrets.Error{Err: secrets.ErrNotFound}
}

// takeAsked returns the refs that f was called with since the last takeAsked, as sorted texts: the order of a GetMany is random.
func (f *fake) takeAsked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	texts := make([]string, len(f.asked))
	for i, ref := range f.asked {
		texts[i] = ref.String()
	}
	slices.Sort(texts)
	f.asked = nil
	return texts
}

var _ secrets.Backend = (*fake)(nil)

// newFake returns a backend "fake" that holds the pairs of a path and a document.
func newFake(pairs ...string) *fake { return named("fake", pairs...) }

// named is newFake with a name.
func named(name string, pairs ...string) *fake {
	f := &fake{info: secrets.Info{Name: name}, docs: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		f.docs[pairs[i]] = pairs[i+1]
	}
	return f
}

// failing returns a backend "fake" that answers every ref with f.
func failing(f fetchFunc) *fake {
	b := newFake()
	b.fetch = f
	return b
}

// with returns f after change.
func (f *fake) with(change func(f *fake)) *fake {
	change(f)
	return f
}

// resolvedBy returns f with that Info.Resolve.
func (f *fake) resolvedBy(resolve func(secrets.Ref) secrets.Ref) *fake {
	f.info.Resolve = resolve
	return f
}

// open builds a Client and closes it at the end of the test.
func open(t testing.TB, backend secrets.Backend, opts ...secrets.Option) *secrets.Client {
	t.Helper()
	client, err := secrets.New(backend, opts...)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return client
}

// chain is a Fallback of the program. By default it goes on after a not-found.
type chain struct {
	backends []secrets.Backend
	goesOn   []error // classes
	validate func() error

	mu    sync.Mutex
	asked []error // the arguments of GoesOn
}

func (c *chain) Validate() error {
	if c.validate == nil {
		return nil
	}
	return c.validate()
}

func (c *chain) Backends() []secrets.Backend { return c.backends }

func (c *chain) GoesOn(class error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, class)
	if c.goesOn == nil {
		return class == secrets.ErrNotFound
	}
	return slices.Contains(c.goesOn, class)
}

var _ secrets.Fallback = (*chain)(nil)

// to is a fallback to backends after a not-found.
func to(backends ...secrets.Backend) secrets.Option {
	return secrets.WithFallback(&chain{backends: backends})
}

// layer fits into any slot. Functions that are nil do nothing.
type layer struct {
	wrap     func(info secrets.Info, next secrets.Fetcher) secrets.Fetcher // what stands in the slot
	fill     func(next secrets.Fetcher) secrets.Fetcher                    // of a cache: the half that fills
	validate func() error
	forget   func(docs ...secrets.Ref)
	close    func() error // of a part; in the slot of tracing, stop
	observe  func(info secrets.Info, cache secrets.CacheMonitor) error
	handOut  func(info secrets.Info, ref secrets.Ref, s secrets.Secret)
	recall   func(key string) (secrets.Secret, bool)
	memorize func(key string, doc secrets.Ref, field string)
}

// slot puts a function into any slot.
func slot(wrap func(next secrets.Fetcher) secrets.Fetcher) *layer {
	return &layer{wrap: func(_ secrets.Info, next secrets.Fetcher) secrets.Fetcher { return wrap(next) }}
}

// idle is a layer that does nothing.
func idle() *layer { return &layer{} }

func (l *layer) Validate() error {
	if l.validate == nil {
		return nil
	}
	return l.validate()
}

// part returns the part of l around next, or nil if wrap returns nil.
func (l *layer) part(info secrets.Info, next secrets.Fetcher) *part {
	if l.wrap != nil {
		next = l.wrap(info, next)
	}
	if next == nil {
		return nil
	}
	return &part{next, l, info}
}

func (l *layer) NewCache(info secrets.Info, below secrets.Fetcher, share func(secrets.Fetcher) secrets.Fetcher) secrets.Cache {
	if l.fill != nil {
		below = l.fill(below)
	}
	return l.part(info, share(below))
}

func (l *layer) NewDedup(info secrets.Info, next secrets.Fetcher) secrets.Dedup {
	return l.part(info, next)
}

func (l *layer) NewTracing(info secrets.Info, next secrets.Fetcher) secrets.Fetcher {
	return l.part(info, next)
}

func (l *layer) Observe(info secrets.Info, cache secrets.CacheMonitor) (stop func(), err error) {
	if l.observe != nil {
		err = l.observe(info, cache)
	}
	if l.close != nil {
		stop = func() { _ = l.close() }
	}
	return stop, err
}

func (l *layer) NewRedaction(info secrets.Info, next secrets.Fetcher) secrets.Redaction {
	return l.part(info, next)
}

var (
	_ secrets.CacheLayer     = (*layer)(nil)
	_ secrets.DedupLayer     = (*layer)(nil)
	_ secrets.TracingLayer   = (*layer)(nil)
	_ secrets.RedactionLayer = (*layer)(nil)
)

// part is a layer around one backend.
type part struct {
	secrets.Fetcher

	of   *layer
	info secrets.Info
}

func (p *part) Invalidate(docs ...secrets.Ref) {
	if p.of.forget != nil {
		p.of.forget(docs...)
	}
}

func (p *part) Close() error {
	if p.of.close == nil {
		return nil
	}
	return p.of.close()
}

func (p *part) HandedOut(ref secrets.Ref, s secrets.Secret) {
	if p.of.handOut != nil {
		p.of.handOut(p.info, ref, s)
	}
}

func (p *part) Recall(key string) (secrets.Secret, bool) {
	if p.of.recall == nil {
		return secrets.Secret{}, false
	}
	return p.of.recall(key)
}

func (p *part) RecallMany(keys []string, found map[string]secrets.Secret) bool {
	all := true
	for _, key := range keys {
		s, known := p.Recall(key)
		found[key] = s
		all = all && known && !s.IsZero()
	}
	return all
}

func (p *part) Memorize(key string, doc secrets.Ref, field string) {
	if p.of.memorize != nil {
		p.of.memorize(key, doc, field)
	}
}

func (*part) Peek(secrets.Ref) (secrets.Result, bool) { return secrets.Result{}, false }
func (*part) RenewAt(secrets.Ref) (time.Time, bool)   { return time.Time{}, false }
func (*part) CacheStats() secrets.CacheStats          { return secrets.CacheStats{} }
func (*part) BackingOff() int                         { return 0 }
func (*part) Outage() bool                            { return false }
func (*part) CountHits()                              {}

var (
	_ secrets.Cache     = (*part)(nil)
	_ secrets.Redaction = (*part)(nil)
)

// pass returns a Middleware that does nothing.
func pass() secrets.Middleware {
	return secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
		return next.Fetch(ctx, ref)
	})
}

// instead returns a Middleware that answers with f, and never calls the layer below.
func instead(f fetchFunc) secrets.Middleware {
	return secrets.Intercept(func(ctx context.Context, ref secrets.Ref, _ secrets.Fetcher) (secrets.Secret, error) {
		return f(ctx, ref)
	})
}

// wrapFunc is a Middleware of one function.
type wrapFunc func(next secrets.Fetcher) secrets.Fetcher

func (f wrapFunc) Wrap(next secrets.Fetcher) secrets.Fetcher { return f(next) }

// trail records the steps of calls.
type trail struct {
	mu    sync.Mutex
	steps []string
}

func (t *trail) add(step string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = append(t.steps, step)
}

// take returns the steps since the last take or count, as one text.
func (t *trail) take() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	steps := strings.Join(t.steps, " ")
	t.steps = nil
	return steps
}

// count returns the number of each step since the last take or count: the order of the steps of a GetMany is random.
func (t *trail) count() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := make(map[string]int)
	for _, step := range t.steps {
		n[step]++
	}
	t.steps = nil
	return n
}

// middleware returns a Middleware that records under name.
func (t *trail) middleware(name string) secrets.Middleware {
	return secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
		t.add(name)
		return next.Fetch(ctx, ref)
	})
}

// slot returns a layer that records under name and the name of the backend.
func (t *trail) slot(name string) *layer {
	return &layer{wrap: func(info secrets.Info, next secrets.Fetcher) secrets.Fetcher {
		return t.middleware(name + "@" + info.Name).Wrap(next)
	}}
}

// cache returns a cache whose two halves record, as does its Invalidate.
func (t *trail) cache() *layer {
	l := slot(t.middleware("read").Wrap)
	l.fill = t.middleware("fill").Wrap
	l.forget = func(docs ...secrets.Ref) { t.add(fmt.Sprint("forget ", docs)) }
	return l
}

// closing returns a layer that records its Close.
func (t *trail) closing(name string) *layer { return t.closingWith(name, nil) }

// closingWith is closing with a function of the test.
func (t *trail) closingWith(name string, f func() error) *layer {
	return &layer{close: t.closer(name, f)}
}

// backend returns a backend that records its Close.
func (t *trail) backend(name string, f func() error) *fake {
	return named(name).with(func(b *fake) { b.close = t.closer(name, f) })
}

func (t *trail) closer(name string, f func() error) func() error {
	return func() error {
		t.add(name)
		if f == nil {
			return nil
		}
		return f()
	}
}

// text shows s and err for a failed assertion, values included: it is for made-up values only.
func text(s secrets.Secret, err error) string { return fmt.Sprintf("(%q, %v)", s.Reveal(), err) }

// brief cuts a long text for a test's log.
func brief(s string) string {
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

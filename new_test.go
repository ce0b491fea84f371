package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

// odd is a backend or layer that is wrong in the ways that its fields say.
type odd struct {
	*fake
	name     func() string
	validate func() error
	wrap     func(secrets.Fetcher) secrets.Fetcher
	local    func() bool
}

func (o *odd) Name() string                                    { return o.name() }
func (o *odd) Validate() error                                 { return o.validate() }
func (o *odd) Wrap(next secrets.Fetcher) secrets.Fetcher       { return o.wrap(next) }
func (o *odd) Local() bool                                     { return o.local() }
func (o *odd) Backends() []secrets.Backend                     { return []secrets.Backend{o} }
func (o *odd) Chain(sources []secrets.Fetcher) secrets.Fetcher { return o.wrap(sources[0]) }

// newOdd returns one with no fault, which counts as I/O what reaches it.
func newOdd(name string) *odd {
	return &odd{
		fake: newFake(), name: func() string { return name }, validate: func() error { return nil },
		wrap: func(next secrets.Fetcher) secrets.Fetcher { return next }, local: func() bool { return false },
	}
}

func (o *odd) with(change func(*odd)) *odd {
	change(o)
	return o
}

func pass() secrets.Middleware {
	return secrets.MiddlewareFunc(func(next secrets.Fetcher) secrets.Fetcher { return next })
}

func TestNewReportsFaults(t *testing.T) {
	invalid := func(text string) func(*odd) {
		return func(o *odd) { o.validate = func() error { return errors.New(text) } }
	}
	panicking := func(o *odd) { o.validate = func() error { panic(canary) } }
	badWrap := func(o *odd) { o.wrap = func(secrets.Fetcher) secrets.Fetcher { panic(canary) } }
	noWrap := func(o *odd) { o.wrap = func(secrets.Fetcher) secrets.Fetcher { return nil } }
	typedNil := func(o *odd) { o.wrap = func(secrets.Fetcher) secrets.Fetcher { return (*fake)(nil) } }
	good := func() *odd { return newOdd("good") }
	layer := func(change func(*odd)) secrets.Middleware { return newOdd("layer").with(change) }
	to := func(backends ...secrets.Backend) secrets.Option {
		return secrets.WithFallback(&chain{backends: backends})
	}
	var (
		nilBackend  *odd
		nilLayer    *odd
		nilFunc     secrets.MiddlewareFunc
		nilFallback *chain
	)
	type opts = []secrets.Option
	for name, tc := range map[string]struct {
		backend secrets.Backend
		opts    opts
		want    []string // one text of each fault
	}{
		"nil backend":       {nil, nil, []string{"backend 1 is nil"}},
		"typed nil backend": {nilBackend, nil, []string{"backend 1 is nil"}},
		"empty name":        {newOdd(""), nil, []string{"backend 1 has an empty name"}},
		"invalid backend":   {good().with(invalid("bad TTL")), nil, []string{"bad TTL"}},
		"panicking Name": {good().with(func(o *odd) { o.name = func() string { panic(canary) } }), nil,
			[]string{"backend 1: Name: a panic with a string"}},
		"panicking Validate": {good().with(panicking), nil, []string{"backend 1: Validate: a panic with a string"}},
		"panicking Local": {good().with(func(o *odd) { o.local = func() bool { panic(io.EOF) } }), nil,
			[]string{"Local: a panic with a *errors.errorString"}},
		"nil option":              {good(), opts{nil}, []string{"option 1 is nil"}},
		"nil option among others": {good(), opts{secrets.WithTimeout(time.Second), nil, nil}, []string{"option 2 is nil", "option 3 is nil"}},
		"no timeout":              {good(), opts{secrets.WithTimeout(0)}, []string{"WithTimeout: 0s is not more than 0"}},
		"negative timeout":        {good(), opts{secrets.WithTimeout(-1)}, []string{"WithTimeout: -1ns is not more than 0"}},
		"last timeout counts": {good(), opts{secrets.WithTimeout(time.Second), secrets.WithTimeout(-time.Second)},
			[]string{"WithTimeout: -1s is not"}},
		"nil middleware": {good(), opts{secrets.WithMiddleware(nil)}, []string{"WithMiddleware: a nil Middleware"}},
		"nil middleware among others": {good(), opts{secrets.WithMiddleware(pass(), nil, pass(), nilFunc)},
			[]string{"WithMiddleware: a nil", "WithMiddleware: a nil"}},
		"typed nil middleware":   {good(), opts{secrets.WithMiddleware(nilLayer)}, []string{"WithMiddleware: a nil Middleware"}},
		"nil hook":               {good(), opts{secrets.WithMiddleware(secrets.Intercept(nil))}, []string{"WithMiddleware: a nil Middleware"}},
		"nil backend middleware": {good(), opts{secrets.WithBackendMiddleware(nil)}, []string{"WithBackendMiddleware: a nil Middleware"}},
		"nil cache":              {good(), opts{secrets.WithCache(nil)}, []string{"WithCache: a nil Middleware"}},
		"nil dedup":              {good(), opts{secrets.WithDedup(nil)}, []string{"WithDedup: a nil Middleware"}},
		"nil tracing":            {good(), opts{secrets.WithTracing(nil)}, []string{"WithTracing: a nil Middleware"}},
		"nil redaction":          {good(), opts{secrets.WithRedaction(nilFunc)}, []string{"WithRedaction: a nil Middleware"}},
		"cache twice":            {good(), opts{secrets.WithCache(pass()), secrets.WithCache(pass())}, []string{"WithCache is given twice"}},
		"dedup twice":            {good(), opts{secrets.WithDedup(pass()), secrets.WithDedup(pass())}, []string{"WithDedup is given twice"}},
		"tracing twice": {good(), opts{secrets.WithTracing(pass()), secrets.WithTracing(pass())},
			[]string{"WithTracing is given twice"}},
		"redaction three times": {good(), opts{secrets.WithRedaction(pass()), secrets.WithRedaction(pass()), secrets.WithRedaction(pass())},
			[]string{"WithRedaction is given twice", "WithRedaction is given twice"}},
		"invalid cache": {good(), opts{secrets.WithCache(layer(invalid("no size")))}, []string{"no size"}},
		"joined faults of a layer": {
			good(), opts{secrets.WithDedup(layer(func(o *odd) { o.validate = func() error { return errors.Join(io.EOF, io.ErrNoProgress) } }))},
			[]string{"EOF", "multiple Read calls return no data or error"},
		},
		"invalid middleware":         {good(), opts{secrets.WithMiddleware(layer(invalid("a")), layer(invalid("b")))}, []string{"a", "b"}},
		"invalid backend middleware": {good(), opts{secrets.WithBackendMiddleware(layer(invalid("a")))}, []string{"a"}},
		"panicking layer": {good(), opts{secrets.WithTracing(layer(panicking))},
			[]string{"WithTracing: Validate: a panic with a string"}},
		"panicking Wrap": {good(), opts{secrets.WithMiddleware(layer(badWrap))}, []string{"WithMiddleware: Wrap: a panic with a string"}},
		"panicking Wraps": {
			good(), opts{
				secrets.WithCache(layer(badWrap)), secrets.WithDedup(layer(badWrap)), secrets.WithTracing(layer(badWrap)),
				secrets.WithRedaction(layer(badWrap)), secrets.WithBackendMiddleware(layer(badWrap)), secrets.WithMiddleware(layer(badWrap)),
			},
			[]string{"WithBackendMiddleware: Wrap", "WithRedaction: Wrap", "WithTracing: Wrap", "WithDedup: Wrap", "WithCache: Wrap",
				"WithMiddleware: Wrap"},
		},
		"Wrap to nothing": {
			good(), opts{secrets.WithCache(layer(noWrap)), secrets.WithMiddleware(layer(noWrap)), secrets.WithBackendMiddleware(layer(typedNil))},
			[]string{"WithBackendMiddleware: a layer returned a nil Fetcher", "WithCache: a layer returned a nil",
				"WithMiddleware: a layer returned a nil"},
		},
		"Fill to nothing": {good(), opts{secrets.WithCache(fillFunc(func(secrets.Fetcher) secrets.Fetcher { return nil }))},
			[]string{"WithCache: a layer returned a nil"}},
		"panicking Fill": {good(), opts{secrets.WithCache(fillFunc(func(secrets.Fetcher) secrets.Fetcher { panic(canary) }))},
			[]string{"WithCache: Wrap: a panic"}},
		"nil fallback":        {good(), opts{secrets.WithFallback(nil)}, []string{"WithFallback: a nil Fallback"}},
		"typed nil fallback":  {good(), opts{secrets.WithFallback(nilFallback)}, []string{"WithFallback: a nil Fallback"}},
		"fallback twice":      {good(), opts{to(newOdd("b")), to(newOdd("c"))}, []string{"WithFallback is given twice"}},
		"fallback to nothing": {good(), opts{to()}, []string{"WithFallback: no backend to fall back to"}},
		"fallback to nil":     {good(), opts{to(nil, newOdd("b"), nilBackend)}, []string{"backend 2 is nil", "backend 4 is nil"}},
		"fallback of the same name": {good(), opts{to(newOdd("good"))},
			[]string{`two backends have the name "good"; name one with its WithName`}},
		"fallbacks of the same name": {good(), opts{to(newOdd("b"), newOdd("b"), newOdd("b"))}, []string{`the name "b"`, `the name "b"`}},
		"fallback without a name":    {good(), opts{to(newOdd(""), newOdd("b"))}, []string{"backend 2 has an empty name"}},
		"invalid fallback backend":   {good(), opts{to(newOdd("b").with(invalid("no mount")))}, []string{"no mount"}},
		"fallback Chain to nothing": {good(), opts{secrets.WithFallback(newOdd("b").with(noWrap))},
			[]string{"WithFallback: a layer returned a nil Fetcher"}},
		"fallback Chain panics": {good(), opts{secrets.WithFallback(newOdd("b").with(badWrap))},
			[]string{"WithFallback: Wrap: a panic with a string"}},
		"fallback Backends panics": {good(), opts{secrets.WithFallback(panickingFallback{})},
			[]string{"WithFallback: Backends: a panic with a string"}},
		"invalid fallback": {good(), opts{secrets.WithFallback(newOdd("b").with(invalid("x")))},
			[]string{"x", "x"}}, // as Fallback and as Backend
		"layers among the defaults": {good(), opts{secrets.WithDefaults(secrets.WithMiddleware(pass()))}, []string{"WithDefaults: takes slots"}},
		"backend layers in defaults": {good(), opts{secrets.WithDefaults(secrets.WithBackendMiddleware(pass()))},
			[]string{"WithDefaults: takes slots"}},
		"defaults in defaults": {good(), opts{secrets.WithDefaults(secrets.WithDefaults(secrets.WithTimeout(1)))},
			[]string{"WithDefaults: takes slots"}},
		"nil default": {good(), opts{secrets.WithDefaults(nil, secrets.WithTimeout(1))}, []string{"option 1 is nil"}},
		"slot twice in defaults": {good(), opts{secrets.WithDefaults(secrets.WithCache(pass()), secrets.WithCache(pass()))},
			[]string{"WithCache is given twice"}},
		"defaults twice": {good(),
			opts{secrets.WithDefaults(secrets.WithCache(pass())), secrets.WithDefaults(secrets.WithCache(pass()))},
			[]string{"WithCache is given twice"}},
		"invalid default":            {good(), opts{secrets.WithDefaults(secrets.WithCache(layer(invalid("a"))))}, []string{"a"}},
		"default timeout":            {good(), opts{secrets.WithDefaults(secrets.WithTimeout(-1))}, []string{"WithTimeout: -1ns"}},
		"nil fallback in defaults":   {good(), opts{secrets.WithDefaults(secrets.WithFallback(nil))}, []string{"WithFallback: a nil Fallback"}},
		"empty fallback in defaults": {good(), opts{secrets.WithDefaults(to())}, []string{"WithFallback: no backend"}},
		"everything at once": {
			newOdd("").with(invalid("fault of the backend")),
			opts{
				nil, secrets.WithTimeout(-1), secrets.WithCache(nil), secrets.WithCache(pass()), secrets.WithMiddleware(nil, layer(panicking)),
				to(nil, newOdd("b"), newOdd("b")), secrets.WithDefaults(secrets.WithTracing(nil)),
			},
			[]string{
				"option 1", "WithTimeout", "WithCache: a nil", "WithCache is given twice", "WithMiddleware: a nil", "WithMiddleware: Validate",
				"backend 2 is nil", `the name "b"`, "WithTracing: a nil", "backend 1 has an empty name", "fault of the backend",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			client, err := secrets.New(tc.backend, tc.opts...)
			is.True(client == nil)
			is.True(err != nil)
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tc.want) {
				t.Errorf("%d faults, want %d:\n%v", len(lines), len(tc.want), err)
			}
			for _, want := range tc.want {
				found := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, want) })
				if found < 0 {
					t.Fatalf("%q is not in\n%v", want, err)
				}
				lines = slices.Delete(lines, found, found+1)
			}
			is.Equal(newDetector(canary).find(err.Error()), "") // a panic may quote a value
			if b, ok := tc.backend.(*odd); ok && b != nil {
				is.Equal(b.calls.Load(), int64(0))
			}
		})
	}
}

// fillFunc is a cache whose half that fills is f.
type fillFunc func(secrets.Fetcher) secrets.Fetcher

func (f fillFunc) Wrap(next secrets.Fetcher) secrets.Fetcher { return &fillPart{next, f} }

type fillPart struct {
	secrets.Fetcher
	fill func(secrets.Fetcher) secrets.Fetcher
}

func (p *fillPart) Fill(next secrets.Fetcher) secrets.Fetcher { return p.fill(next) }

type panickingFallback struct{}

func (panickingFallback) Backends() []secrets.Backend             { panic(canary) }
func (panickingFallback) Chain([]secrets.Fetcher) secrets.Fetcher { return nil }

// The control of the test above: the same parts without their faults make a Client.
func TestNewAccepts(t *testing.T) {
	b := newOdd("b")
	for name, opts := range map[string][]secrets.Option{
		"nothing":            nil,
		"no layers":          {secrets.WithMiddleware(), secrets.WithBackendMiddleware(), secrets.WithDefaults()},
		"every slot":         {secrets.WithCache(pass()), secrets.WithDedup(pass()), secrets.WithTracing(pass()), secrets.WithRedaction(pass())},
		"slot and default":   {secrets.WithDefaults(secrets.WithCache(pass())), secrets.WithCache(pass())},
		"timeout twice":      {secrets.WithTimeout(-1), secrets.WithTimeout(time.Second)},
		"timeout of its own": {secrets.WithDefaults(secrets.WithTimeout(-1)), secrets.WithTimeout(time.Hour)},
		"a fallback":         {secrets.WithFallback(b)},
		"its own fallback":   {secrets.WithDefaults(secrets.WithFallback(&chain{})), secrets.WithFallback(b)},
	} {
		t.Run(name, func(t *testing.T) {
			open(t, newOdd("good"), opts...)
		})
	}
}

// trail records what passes where.
type trail struct {
	mu    sync.Mutex
	steps []string
}

func (t *trail) add(step string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = append(t.steps, step)
}

// take returns the steps so far, as one text, and forgets them.
func (t *trail) take() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	steps := strings.Join(t.steps, " ")
	t.steps = nil
	return steps
}

// recorder is a layer, or the part of one, that records each call; a batch with a star and its size.
type recorder struct {
	trail *trail
	name  string
	next  secrets.Fetcher
}

func (r *recorder) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	r.trail.add(r.name)
	return r.next.Fetch(ctx, ref)
}

func (r *recorder) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	r.trail.add(fmt.Sprintf("%s*%d", r.name, len(refs)))
	return r.next.FetchMany(ctx, refs)
}

// layer returns a Middleware that records under name, and the name of the backend below if there is one.
func (t *trail) layer(name string) secrets.Middleware {
	return secrets.MiddlewareFunc(func(next secrets.Fetcher) secrets.Fetcher {
		if n, ok := next.(interface{ Name() string }); ok {
			name := name + "@" + n.Name()
			return &recorder{t, name, next}
		}
		return &recorder{t, name, next}
	})
}

// splitCache is a cache of two halves, and parts that can be told to forget and to close.
type splitCache struct {
	trail *trail
}

func (c splitCache) Wrap(next secrets.Fetcher) secrets.Fetcher {
	return &splitPart{recorder{c.trail, "read", next}}
}

type splitPart struct{ recorder }

func (p *splitPart) Fill(next secrets.Fetcher) secrets.Fetcher {
	if next.(interface{ Name() string }).Name() == "" {
		panic("no name")
	}
	return &recorder{p.trail, "fill", next}
}

func (p *splitPart) Invalidate(refs ...secrets.Ref) { p.trail.add(fmt.Sprint("forget ", refs)) }

func TestOrderOfLayers(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	backend := newFake("a", `{"x":"1"}`, "b", "2")
	opts := []secrets.Option{
		secrets.WithMiddleware(tr.layer("user1"), tr.layer("user2")),
		secrets.WithBackendMiddleware(tr.layer("inner1"), tr.layer("inner2")),
		secrets.WithCache(splitCache{tr}),
		secrets.WithDedup(tr.layer("dedup")),
		secrets.WithTracing(tr.layer("tracing")),
		secrets.WithRedaction(tr.layer("redaction")),
		secrets.WithTimeout(time.Minute),
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		random.Shuffle(len(opts), func(i, j int) { opts[i], opts[j] = opts[j], opts[i] })
		client := open(t, backend, opts...)
		_, err := client.Get(t.Context(), "a#x")
		is.NoErr(err)
		is.Equal(tr.take(), "user1 user2 read dedup@fake fill tracing@fake redaction@fake inner1@fake inner2@fake")
		_, err = client.GetMany(t.Context(), "a#x", "b", "a")
		is.NoErr(err)
		is.Equal(tr.take(), "user1*3 user2*3 read*2 dedup@fake*2 fill*2 tracing@fake*2 redaction@fake*2 inner1@fake*2 inner2@fake*2")
	}
}

// A cache of one piece stands outside dedup whole.
func TestOrderOfAWholeCache(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	// A layer in another slot that happens to have a method Fill is not asked for it.
	dedup := secrets.MiddlewareFunc(func(next secrets.Fetcher) secrets.Fetcher {
		return &splitPart{recorder{tr, "dedup", next}}
	})
	client := open(t, newFake("a", "1"), secrets.WithDedup(dedup), secrets.WithCache(tr.layer("cache")))
	_, err := client.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(tr.take(), "cache@fake dedup")
	client = open(t, newFake("a", "1"), secrets.WithDedup(dedup))
	_, err = client.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(tr.take(), "dedup")
	// A cache of two halves without dedup has both.
	client = open(t, newFake("a", "1"), secrets.WithCache(splitCache{tr}), secrets.WithTracing(tr.layer("tracing")))
	_, err = client.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(tr.take(), "read fill tracing@fake")
}

func TestOrderOfRepeatedLayers(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	client := open(t, newFake("a", "1"),
		secrets.WithMiddleware(tr.layer("1"), tr.layer("2")), secrets.WithBackendMiddleware(tr.layer("5")),
		secrets.WithMiddleware(tr.layer("3")), secrets.WithBackendMiddleware(tr.layer("6"), tr.layer("7")), secrets.WithMiddleware(tr.layer("4")))
	_, err := client.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(tr.take(), "1 2 3 4 5@fake 6@fake 7@fake")
}

// Each backend of a chain has layers of its own, with its name; the fallback stands above them.
func TestOrderWithFallback(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	first, second := newFake(), newFake("a", "1")
	second.name = "second"
	var names []string
	client := open(t, first,
		secrets.WithMiddleware(tr.layer("user")),
		secrets.WithFallback(&chain{backends: []secrets.Backend{second}, wrap: func(sources []secrets.Fetcher) secrets.Fetcher {
			for _, s := range sources {
				names = append(names, s.(interface{ Name() string }).Name())
			}
			return &recorder{tr, "fallback", (&chain{}).Chain(sources)}
		}}),
		secrets.WithCache(tr.layer("cache")), secrets.WithBackendMiddleware(tr.layer("inner")))
	is.Equal(names, []string{"fake", "second"})
	s, err := client.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(s.Meta().Backend, "second")
	is.Equal(tr.take(), "user fallback cache@fake inner@fake cache@second inner@second")
}

type localBackend struct {
	*fake
	local bool
}

func (l localBackend) Local() bool { return l.local }

// What is at hand and always current has neither cache nor dedup, and all the other layers.
func TestLocalBackend(t *testing.T) {
	for local, want := range map[bool]string{
		true:  "user tracing@fake redaction@fake inner@fake",
		false: "user read dedup@fake fill tracing@fake redaction@fake inner@fake",
	} {
		is := is.New(t)
		tr := &trail{}
		client := open(t, localBackend{newFake("a", "1"), local},
			secrets.WithMiddleware(tr.layer("user")), secrets.WithCache(splitCache{tr}), secrets.WithDedup(tr.layer("dedup")),
			secrets.WithTracing(tr.layer("tracing")), secrets.WithRedaction(tr.layer("redaction")), secrets.WithBackendMiddleware(tr.layer("inner")))
		_, err := client.Get(t.Context(), "a")
		is.NoErr(err)
		is.Equal(tr.take(), want)
	}
}

// Defaults hold for what the other options leave open, wherever they stand.
func TestDefaults(t *testing.T) {
	tr := &trail{}
	defaults := secrets.WithDefaults(
		secrets.WithCache(tr.layer("default-cache")), secrets.WithDedup(tr.layer("default-dedup")),
		secrets.WithTracing(tr.layer("default-tracing")), secrets.WithRedaction(tr.layer("default-redaction")))
	for _, tc := range []struct {
		name string
		opts []secrets.Option
		want string
	}{
		{"alone", nil, "default-cache default-dedup default-tracing default-redaction"},
		{"cache", []secrets.Option{secrets.WithCache(tr.layer("cache"))}, "cache default-dedup default-tracing default-redaction"},
		{"dedup", []secrets.Option{secrets.WithDedup(tr.layer("dedup"))}, "default-cache dedup default-tracing default-redaction"},
		{"tracing", []secrets.Option{secrets.WithTracing(tr.layer("tracing"))}, "default-cache default-dedup tracing default-redaction"},
		{"redaction", []secrets.Option{secrets.WithRedaction(tr.layer("redaction"))}, "default-cache default-dedup default-tracing redaction"},
	} {
		for _, opts := range [][]secrets.Option{append(slices.Clone(tc.opts), defaults), append([]secrets.Option{defaults}, tc.opts...)} {
			t.Run(tc.name, func(t *testing.T) {
				is := is.New(t)
				client := open(t, newFake("a", "1"), opts...)
				_, err := client.Get(t.Context(), "a")
				is.NoErr(err)
				is.Equal(strings.ReplaceAll(tr.take(), "@fake", ""), tc.want)
			})
		}
	}
}

func TestDefaultFallback(t *testing.T) {
	is := is.New(t)
	fallbackTo := func(name string) secrets.Option {
		b := newFake("a", "1")
		b.name = name
		return secrets.WithFallback(&chain{backends: []secrets.Backend{b}})
	}
	client := open(t, newFake(), secrets.WithDefaults(fallbackTo("default")))
	s, err := client.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(s.Meta().Backend, "default")
	client = open(t, newFake(), secrets.WithDefaults(fallbackTo("default")), fallbackTo("own"))
	s, err = client.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(s.Meta().Backend, "own")
}

// If New fails, the backends and layers are still the caller's; what Wrap made of them is nobody's, and ends.
func TestNewThatFailsClosesWhatItBuilt(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	backend := &closer{fetcher: newFake(), trail: tr, name: "backend"}
	nothing := secrets.MiddlewareFunc(func(secrets.Fetcher) secrets.Fetcher { return nil })
	_, err := secrets.New(backend,
		secrets.WithCache(closingLayer(tr, "cache")), secrets.WithRedaction(closingLayer(tr, "redaction")), secrets.WithTracing(nothing),
		secrets.WithMiddleware(nothing))
	is.True(err != nil)
	is.Equal(tr.take(), "cache redaction")
}

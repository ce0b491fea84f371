package secrets_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/middleware/tracing"
)

// typed nils are not nil to ==.
var (
	nilBackend  *fake
	nilLayer    *layer
	nilFunc     wrapFunc
	nilFallback *chain
)

func TestNewReportsFaults(t *testing.T) {
	invalid := func(text string) *layer { return &layer{validate: func() error { return errors.New(text) }} }
	panicking := &layer{validate: func() error { panic(canary) }}
	breaks := func(secrets.Fetcher) secrets.Fetcher { panic(canary) }
	none := func(secrets.Fetcher) secrets.Fetcher { return nil }
	typedNil := func(secrets.Fetcher) secrets.Fetcher { return nilBackend }
	observing := func(f func() error) *layer {
		return &layer{observe: func(secrets.Info, secrets.CacheMonitor) error { return f() }}
	}
	shares := func(n int) *shareCache { return &shareCache{idle(), n} }
	faulty := func(name, text string) *fake {
		return named(name).with(func(b *fake) { b.info.Fault = errors.New(text) })
	}
	good := func() *fake { return named("good") }
	type opts = []secrets.Option
	for name, tc := range map[string]struct {
		backend secrets.Backend
		opts    opts
		want    []string // one text of each fault
	}{
		"nil backend":                   {nil, nil, []string{"backend 1 is nil"}},
		"typed nil backend":             {nilBackend, nil, []string{"backend 1 is nil"}},
		"empty name":                    {named(""), nil, []string{"backend 1 has an empty name"}},
		"faulty backend":                {faulty("good", "bad TTL"), nil, []string{"bad TTL"}},
		"faulty backend without a name": {faulty("", "bad TTL"), nil, []string{"bad TTL", "backend 1 has an empty name"}},
		"joined faults of a backend": {named("good").with(func(b *fake) { b.info.Fault = errors.Join(io.EOF, io.ErrNoProgress) }), nil,
			[]string{"EOF", "multiple Read calls return no data or error"}},
		"nil function of NewBackend": {secrets.NewBackend(secrets.Info{Name: "b"}, nil), nil, []string{"secrets: NewBackend: a nil function"}},
		"panicking Info":             {panickingInfo{named("b")}, nil, []string{"backend 1: Info: a panic with a string"}},
		"panicking OnChange": {named("b").with(func(b *fake) { b.info.OnChange = func(func(...secrets.Ref)) { panic(io.EOF) } }), nil,
			[]string{"backend b: OnChange: a panic with a *errors.errorString"}},
		"nil option":              {good(), opts{nil}, []string{"option 1 is nil"}},
		"nil option among others": {good(), opts{secrets.WithTimeout(time.Second), nil, nil}, []string{"option 2 is nil", "option 3 is nil"}},
		"no timeout":              {good(), opts{secrets.WithTimeout(0)}, []string{"WithTimeout: 0s is not more than 0"}},
		"negative timeout":        {good(), opts{secrets.WithTimeout(-1)}, []string{"WithTimeout: -1ns is not more than 0"}},
		"timeout without a unit": {good(), opts{secrets.WithTimeout(5)},
			[]string{"secrets: WithTimeout: 5ns; did you mean 5*time.Second?"}},
		"default timeout without a unit": {good(), opts{secrets.WithDefaults(secrets.WithTimeout(5))},
			[]string{"secrets: WithTimeout: 5ns; did you mean 5*time.Second?"}},
		"timeout below a millisecond": {good(), opts{secrets.WithTimeout(time.Millisecond - 1)},
			[]string{"secrets: WithTimeout: 999.999µs is less than 1ms"}},
		"last timeout counts": {good(), opts{secrets.WithTimeout(time.Second), secrets.WithTimeout(-time.Second)},
			[]string{"WithTimeout: -1s is not"}},
		"nil middleware": {good(), opts{secrets.WithMiddleware(nil)}, []string{"WithMiddleware: a nil Middleware"}},
		"nil middleware among others": {good(), opts{secrets.WithMiddleware(pass(), nil, pass(), nilFunc)},
			[]string{"WithMiddleware: a nil", "WithMiddleware: a nil"}},
		"typed nil middleware":   {good(), opts{secrets.WithMiddleware(nilFunc)}, []string{"WithMiddleware: a nil Middleware"}},
		"nil hook":               {good(), opts{secrets.WithMiddleware(secrets.Intercept(nil))}, []string{"WithMiddleware: a nil Middleware"}},
		"nil backend middleware": {good(), opts{secrets.WithBackendMiddleware(nil)}, []string{"WithBackendMiddleware: a nil Middleware"}},
		"nil cache":              {good(), opts{secrets.WithCache(nil)}, []string{"WithCache: nil"}},
		"nil dedup":              {good(), opts{secrets.WithDedup(nil)}, []string{"WithDedup: nil"}},
		"nil tracing":            {good(), opts{secrets.WithTracing(nil)}, []string{"WithTracing: nil"}},
		"nil redaction":          {good(), opts{secrets.WithRedaction(nilLayer)}, []string{"WithRedaction: nil"}},
		"cache twice":            {good(), opts{secrets.WithCache(idle()), secrets.WithCache(idle())}, []string{"WithCache is given twice"}},
		"dedup twice":            {good(), opts{secrets.WithDedup(idle()), secrets.WithDedup(idle())}, []string{"WithDedup is given twice"}},
		"tracing twice": {good(), opts{secrets.WithTracing(idle()), secrets.WithTracing(idle())},
			[]string{"WithTracing is given twice"}},
		"redaction three times": {good(), opts{secrets.WithRedaction(idle()), secrets.WithRedaction(idle()), secrets.WithRedaction(idle())},
			[]string{"WithRedaction is given twice", "WithRedaction is given twice"}},
		"invalid cache":     {good(), opts{secrets.WithCache(invalid("no size"))}, []string{"no size"}},
		"invalid dedup":     {good(), opts{secrets.WithDedup(invalid("a"))}, []string{"a"}},
		"invalid redaction": {good(), opts{secrets.WithRedaction(invalid("a"))}, []string{"a"}},
		"joined faults of a layer": {
			good(), opts{secrets.WithTracing(&layer{validate: func() error { return errors.Join(io.EOF, io.ErrNoProgress) }})},
			[]string{"EOF", "multiple Read calls return no data or error"},
		},
		"panicking layer": {good(), opts{secrets.WithTracing(panicking)}, []string{"WithTracing: Validate: a panic with a string"}},
		"panicking Wrap": {good(), opts{secrets.WithMiddleware(wrapFunc(breaks))},
			[]string{"WithMiddleware: Wrap: a panic with a string"}},
		"everything panics": {
			good(), opts{
				secrets.WithCache(slot(breaks)), secrets.WithDedup(slot(breaks)), secrets.WithTracing(slot(breaks)),
				secrets.WithRedaction(slot(breaks)), secrets.WithBackendMiddleware(wrapFunc(breaks)), secrets.WithMiddleware(wrapFunc(breaks)),
			},
			[]string{"WithBackendMiddleware: Wrap: a panic", "WithRedaction: NewRedaction: a panic", "WithTracing: NewTracing: a panic",
				"WithDedup: NewDedup: a panic", "WithCache: NewCache: a panic", "WithMiddleware: Wrap: a panic"},
		},
		"everything makes nothing": {
			good(), opts{
				secrets.WithCache(slot(none)), secrets.WithDedup(slot(none)), secrets.WithTracing(slot(none)),
				secrets.WithRedaction(slot(none)), secrets.WithBackendMiddleware(wrapFunc(none)), secrets.WithMiddleware(wrapFunc(none)),
			},
			[]string{"WithBackendMiddleware: Wrap returned nil", "WithRedaction: NewRedaction returned nil",
				"WithTracing: NewTracing returned nil", "WithDedup: NewDedup returned nil", "WithCache: NewCache returned nil",
				"WithMiddleware: Wrap returned nil"},
		},
		"Wrap to typed nils": {
			good(), opts{secrets.WithMiddleware(wrapFunc(typedNil)), secrets.WithBackendMiddleware(pass(), wrapFunc(typedNil))},
			[]string{"WithBackendMiddleware: Wrap returned nil", "WithMiddleware: Wrap returned nil"},
		},
		"cache that does not share": {good(), opts{secrets.WithCache(shares(0))}, []string{"WithCache: NewCache called share 0 times, not once"}},
		"cache that shares twice": {good(), opts{secrets.WithCache(shares(2)), secrets.WithDedup(idle())},
			[]string{"WithCache: NewCache called share 2 times, not once"}},
		"panicking fill of a cache": {good(), opts{secrets.WithCache(&layer{fill: breaks})},
			[]string{"WithCache: NewCache: a panic with a string"}},
		"failing Observe": {good(), opts{secrets.WithTracing(observing(func() error { return io.EOF })), secrets.WithCache(idle())},
			[]string{"EOF"}},
		"panicking Observe": {good(), opts{secrets.WithTracing(observing(func() error { panic(canary) })), secrets.WithCache(idle())},
			[]string{"WithTracing: Observe: a panic with a string"}},
		"zero cache":          {good(), opts{secrets.WithCache(&cache.Cache{})}, []string{"a zero Cache"}},
		"zero dedup":          {good(), opts{secrets.WithDedup(&dedup.Dedup{})}, []string{"a zero Dedup"}},
		"zero tracing":        {good(), opts{secrets.WithTracing(&tracing.Tracing{})}, []string{"a zero "}},
		"zero redaction":      {good(), opts{secrets.WithRedaction(&redact.Redactor{})}, []string{"a zero "}},
		"zero fallback":       {good(), opts{secrets.WithFallback(&fallback.Fallback{})}, []string{"a zero ", "no backend to fall back to"}},
		"nil fallback":        {good(), opts{secrets.WithFallback(nil)}, []string{"WithFallback: nil"}},
		"typed nil fallback":  {good(), opts{secrets.WithFallback(nilFallback)}, []string{"WithFallback: nil"}},
		"fallback twice":      {good(), opts{to(named("b")), to(named("c"))}, []string{"WithFallback is given twice"}},
		"fallback to nothing": {good(), opts{to()}, []string{"WithFallback: no backend to fall back to"}},
		"fallback to nil":     {good(), opts{to(nil, named("b"), nilBackend)}, []string{"backend 2 is nil", "backend 4 is nil"}},
		"fallback of the same name": {good(), opts{to(named("good"))},
			[]string{`two backends have the name "good"; name one with its WithName`}},
		"fallbacks of the same name": {good(), opts{to(named("b"), named("b"), named("b"))}, []string{`the name "b"`, `the name "b"`}},
		"fallback without a name":    {good(), opts{to(named(""), named("b"))}, []string{"backend 2 has an empty name"}},
		"faulty fallback backend":    {good(), opts{to(faulty("b", "no mount"))}, []string{"no mount"}},
		"faulty backends without names": {good(), opts{to(faulty("", "no mount"), faulty("", "no role"))},
			[]string{"no mount", "no role", "backend 2 has an empty name", "backend 3 has an empty name"}},
		"fallback Backends panics": {good(), opts{secrets.WithFallback(panickingFallback{})},
			[]string{"WithFallback: Backends: a panic with a string"}},
		"fallback GoesOn panics": {good(), opts{secrets.WithFallback(panickingFallback{backends: []secrets.Backend{named("b")}})},
			slices.Repeat([]string{"WithFallback: GoesOn: a panic with a string"}, 5)},
		"invalid fallback": {good(), opts{secrets.WithFallback(&chain{
			backends: []secrets.Backend{faulty("b", "no mount")}, validate: func() error { return io.EOF }})}, []string{"EOF", "no mount"}},
		"layers among the defaults": {good(), opts{secrets.WithDefaults(secrets.WithMiddleware(pass()))}, []string{"WithDefaults: takes slots"}},
		"backend layers in defaults": {good(), opts{secrets.WithDefaults(secrets.WithBackendMiddleware(pass()))},
			[]string{"WithDefaults: takes slots"}},
		"defaults in defaults": {good(), opts{secrets.WithDefaults(secrets.WithDefaults(secrets.WithTimeout(1)))},
			[]string{"WithDefaults: takes slots"}},
		"nil default": {good(), opts{secrets.WithDefaults(nil, secrets.WithTimeout(time.Second))}, []string{"option 1 is nil"}},
		"slot twice in defaults": {good(), opts{secrets.WithDefaults(secrets.WithCache(idle()), secrets.WithCache(idle()))},
			[]string{"WithCache is given twice"}},
		"defaults twice": {good(),
			opts{secrets.WithDefaults(secrets.WithCache(idle())), secrets.WithDefaults(secrets.WithCache(idle()))},
			[]string{"secrets: middleware.Standard, or another WithDefaults, is given twice: with WithCache"}},
		"defaults twice, with the slot": {good(), opts{secrets.WithCache(idle()), secrets.WithDefaults(secrets.WithCache(idle())),
			secrets.WithDefaults(secrets.WithCache(idle()))}, []string{"is given twice: with WithCache"}},
		"invalid default":            {good(), opts{secrets.WithDefaults(secrets.WithCache(invalid("a")))}, []string{"a"}},
		"default timeout":            {good(), opts{secrets.WithDefaults(secrets.WithTimeout(-1))}, []string{"WithTimeout: -1ns"}},
		"nil fallback in defaults":   {good(), opts{secrets.WithDefaults(secrets.WithFallback(nil))}, []string{"WithFallback: nil"}},
		"empty fallback in defaults": {good(), opts{secrets.WithDefaults(to())}, []string{"WithFallback: no backend"}},
		"everything at once": {
			faulty("", "fault of the backend"),
			opts{
				nil, secrets.WithTimeout(-1), secrets.WithCache(nil), secrets.WithCache(idle()), secrets.WithMiddleware(nil, pass()),
				secrets.WithDedup(panicking), to(nil, named("b"), named("b")), secrets.WithDefaults(secrets.WithTracing(nil)),
			},
			[]string{
				"option 1", "WithTimeout", "WithCache: nil", "WithCache is given twice", "WithMiddleware: a nil", "WithDedup: Validate",
				"backend 2 is nil", `the name "b"`, "WithTracing: nil", "backend 1 has an empty name", "fault of the backend",
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
			if b, ok := tc.backend.(*fake); ok && b != nil {
				is.Equal(b.calls.Load(), int64(0))
			}
		})
	}
}

// panickingInfo is a backend whose Info panics.
type panickingInfo struct{ *fake }

func (panickingInfo) Info() secrets.Info { panic(canary) }

// shareCache is a cache that calls share that many times.
type shareCache struct {
	*layer
	times int
}

func (c *shareCache) NewCache(info secrets.Info, below secrets.Fetcher, share func(secrets.Fetcher) secrets.Fetcher) secrets.Cache {
	for range c.times {
		below = share(below)
	}
	return c.part(info, below)
}

// panickingFallback panics in Backends, or, if it has backends, in GoesOn.
type panickingFallback struct{ backends []secrets.Backend }

func (panickingFallback) Validate() error   { return nil }
func (panickingFallback) GoesOn(error) bool { panic(canary) }

func (p panickingFallback) Backends() []secrets.Backend {
	if p.backends == nil {
		panic(canary)
	}
	return p.backends
}

// The control of the test above: the same parts without their faults make a Client.
func TestNewAccepts(t *testing.T) {
	another := func() secrets.Option { return to(named("b")) }
	for name, opts := range map[string][]secrets.Option{
		"nothing":    nil,
		"no layers":  {secrets.WithMiddleware(), secrets.WithBackendMiddleware(), secrets.WithDefaults()},
		"every slot": {secrets.WithCache(idle()), secrets.WithDedup(idle()), secrets.WithTracing(idle()), secrets.WithRedaction(idle())},
		"every layer": {
			middleware.Standard(), secrets.WithTracing(tracing.New(noop.NewTracerProvider())), secrets.WithFallback(fallback.To(named("b"))),
		},
		"a cache that shares once":             {secrets.WithCache(&shareCache{idle(), 1})},
		"slot and default":                     {secrets.WithDefaults(secrets.WithCache(idle())), secrets.WithCache(idle())},
		"timeout without a unit, then another": {secrets.WithTimeout(5), secrets.WithTimeout(5 * time.Second)},
		"timeout twice":                        {secrets.WithTimeout(-1), secrets.WithTimeout(time.Second)},
		"timeout of its own":                   {secrets.WithDefaults(secrets.WithTimeout(-1)), secrets.WithTimeout(time.Hour)},
		"a fallback":                           {another()},
		"its own fallback":                     {secrets.WithDefaults(secrets.WithFallback(&chain{})), another()},
	} {
		t.Run(name, func(t *testing.T) {
			open(t, named("good"), opts...)
		})
	}
}

// The timeout bounds Close too; in a bubble, Close is never late.
func TestNewAcceptsTheShortestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { open(t, named("good"), secrets.WithTimeout(time.Millisecond)) })
}

func TestOrderOfLayers(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	backend := newFake("a", `{"x":"1"}`, "b", "2")
	opts := []secrets.Option{
		secrets.WithMiddleware(tr.middleware("user1"), tr.middleware("user2")),
		secrets.WithBackendMiddleware(tr.middleware("inner1"), tr.middleware("inner2")),
		secrets.WithCache(tr.cache()),
		secrets.WithDedup(tr.slot("dedup")),
		secrets.WithTracing(tr.slot("tracing")),
		secrets.WithRedaction(tr.slot("redaction")),
		secrets.WithTimeout(time.Minute),
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		random.Shuffle(len(opts), func(i, j int) { opts[i], opts[j] = opts[j], opts[i] })
		client := open(t, backend, opts...)
		_, err := client.Get(t.Context(), "a#x")
		is.NoErr(err)
		is.Equal(tr.take(), "user1 user2 read dedup@fake fill tracing@fake redaction@fake inner1 inner2")
		_, err = client.GetMany(t.Context(), "a#x", "b", "a")
		is.NoErr(err)
		is.Equal(tr.count(), map[string]int{ // each key by itself, each document once
			"user1": 3, "user2": 3, "read": 2, "dedup@fake": 2, "fill": 2, "tracing@fake": 2, "redaction@fake": 2, "inner1": 2, "inner2": 2,
		})
	}
}

// A cache of one piece stands outside dedup whole.
func TestOrderOfAWholeCache(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	client := open(t, newFake("a", "1"), secrets.WithDedup(tr.slot("dedup")), secrets.WithCache(tr.slot("cache")))
	_, err := client.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(tr.take(), "cache@fake dedup@fake")
	client = open(t, newFake("a", "1"), secrets.WithDedup(tr.slot("dedup")))
	_, err = client.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(tr.take(), "dedup@fake")
	// A cache of two halves without dedup has both.
	client = open(t, newFake("a", "1"), secrets.WithCache(tr.cache()), secrets.WithTracing(tr.slot("tracing")))
	_, err = client.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(tr.take(), "read fill tracing@fake")
}

func TestOrderOfRepeatedLayers(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	client := open(t, newFake("a", "1"),
		secrets.WithMiddleware(tr.middleware("1"), tr.middleware("2")), secrets.WithBackendMiddleware(tr.middleware("5")),
		secrets.WithMiddleware(tr.middleware("3")), secrets.WithBackendMiddleware(tr.middleware("6"), tr.middleware("7")),
		secrets.WithMiddleware(tr.middleware("4")))
	_, err := client.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(tr.take(), "1 2 3 4 5 6 7")
}

// Each backend of a chain has its own layers, with its name, below the fallback.
func TestOrderWithFallback(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	client := open(t, newFake(), secrets.WithMiddleware(tr.middleware("user")), to(named("second", "a", "1")),
		secrets.WithCache(tr.slot("cache")), secrets.WithTracing(tr.slot("tracing")), secrets.WithBackendMiddleware(tr.middleware("inner")))
	s, err := client.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(s.Meta().Backend, "second")
	is.Equal(tr.take(), "user cache@fake tracing@fake inner cache@second tracing@second inner")
}

// A Local backend has all layers except cache and dedup.
func TestLocalBackend(t *testing.T) {
	for isLocal, want := range map[bool]string{
		true:  "user tracing@fake redaction@fake inner",
		false: "user read dedup@fake fill tracing@fake redaction@fake inner",
	} {
		is := is.New(t)
		tr := &trail{}
		backend := newFake("a", "1")
		backend.info.Local = isLocal
		client := open(t, backend,
			secrets.WithMiddleware(tr.middleware("user")), secrets.WithCache(tr.cache()), secrets.WithDedup(tr.slot("dedup")),
			secrets.WithTracing(tr.slot("tracing")), secrets.WithRedaction(tr.slot("redaction")),
			secrets.WithBackendMiddleware(tr.middleware("inner")))
		_, err := client.Get(t.Context(), "a")
		is.NoErr(err)
		is.Equal(tr.take(), want)
	}
}

// Defaults apply where the other options set nothing, in any order.
func TestDefaults(t *testing.T) {
	tr := &trail{}
	defaults := secrets.WithDefaults(
		secrets.WithCache(tr.slot("default-cache")), secrets.WithDedup(tr.slot("default-dedup")),
		secrets.WithTracing(tr.slot("default-tracing")), secrets.WithRedaction(tr.slot("default-redaction")))
	for _, tc := range []struct {
		name string
		opts []secrets.Option
		want string
	}{
		{"alone", nil, "default-cache default-dedup default-tracing default-redaction"},
		{"cache", []secrets.Option{secrets.WithCache(tr.slot("cache"))}, "cache default-dedup default-tracing default-redaction"},
		{"dedup", []secrets.Option{secrets.WithDedup(tr.slot("dedup"))}, "default-cache dedup default-tracing default-redaction"},
		{"tracing", []secrets.Option{secrets.WithTracing(tr.slot("tracing"))}, "default-cache default-dedup tracing default-redaction"},
		{"redaction", []secrets.Option{secrets.WithRedaction(tr.slot("redaction"))}, "default-cache default-dedup default-tracing redaction"},
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
		return to(named(name, "a", "1"))
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

// If New fails, the caller still owns the backends and layers. New closes the parts that the layers have built.
func TestNewThatFailsClosesWhatItBuilt(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	nothing := func(secrets.Fetcher) secrets.Fetcher { return nil }
	_, err := secrets.New(tr.backend("backend", nil),
		secrets.WithCache(tr.closing("cache")), secrets.WithRedaction(tr.closing("redaction")), secrets.WithTracing(slot(nothing)),
		secrets.WithMiddleware(wrapFunc(nothing)))
	is.True(err != nil)
	is.Equal(tr.take(), "cache redaction")
}

package redact_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
)

type (
	valuer   struct{ v func() slog.Value }
	stringer struct{ text string }
	pointed  struct {
		Inner *struct{ Token string } `json:"inner"`
	}
	marshaler struct{ text func() ([]byte, error) }
	jsoner    struct{ text func() string }
	namedText []byte
	named     string
	verbose   struct{ text func() string }
	panicky   struct{ text func() string }
	formatter struct{ text func() string }
)

func (v valuer) LogValue() slog.Value            { return v.v() }
func (s stringer) String() string                { return "stringer of " + s.text }
func (m marshaler) MarshalText() ([]byte, error) { return m.text() }
func (j jsoner) MarshalJSON() ([]byte, error)    { return json.Marshal(j.text()) }
func (v verbose) Error() string                  { return "see the details" }
func (v verbose) Format(f fmt.State, _ rune)     { _, _ = io.WriteString(f, "details: "+v.text()) }
func (p panicky) MarshalText() ([]byte, error)   { panic(p.text()) }
func (p formatter) Format(f fmt.State, _ rune) {
	if !f.Flag('+') {
		_, _ = io.WriteString(f, p.text())
	}
}

// places are all the places of a record where a value can stand.
func places(canary string) map[string]func(*slog.Logger) {
	attr := func(value any) func(*slog.Logger) { return func(l *slog.Logger) { l.Info("m", "k", value) } }
	text := func() string { return canary }
	inner := struct{ Token string }{canary}
	return map[string]func(*slog.Logger){
		"message":                func(l *slog.Logger) { l.Info("paid with " + canary + " now") },
		"escaped in the message": func(l *slog.Logger) { l.Info("to postgres://app:" + url.QueryEscape(canary) + "@db") },
		"string":                 attr(canary),
		"key":                    func(l *slog.Logger) { l.Info("m", canary, 1) },
		"group":                  func(l *slog.Logger) { l.Info("m", slog.Group("g", slog.Group("h", "k", canary))) },
		"inline group":           func(l *slog.Logger) { l.Info("m", slog.Group("", "k", canary)) },
		"name of a group":        func(l *slog.Logger) { l.WithGroup(canary).Info("m", "k", 1) },
		"With":                   func(l *slog.Logger) { l.With("k", canary).Info("m") },
		"With in a group":        func(l *slog.Logger) { l.WithGroup("g").With("k", canary).Info("m") },
		"group in With":          func(l *slog.Logger) { l.With(slog.Group("g", "k", canary)).Info("m") },
		"error":                  attr(errors.New("refused: " + canary)),
		"wrapped error":          attr(fmt.Errorf("pay: %w", errors.New(canary))),
		"error with %+v":         attr(verbose{text}),
		"LogValuer":              attr(valuer{func() slog.Value { return slog.StringValue(canary) }}),
		"LogValuer of a group":   attr(valuer{func() slog.Value { return slog.GroupValue(slog.String("k", canary)) }}),
		"LogValuer of a LogValuer": attr(valuer{func() slog.Value {
			return slog.AnyValue(valuer{func() slog.Value { return slog.AnyValue(errors.New(canary)) }})
		}}),
		"LogValuer that changes": func() func(*slog.Logger) {
			calls := 0
			return attr(valuer{func() slog.Value {
				if calls++; calls == 1 {
					return slog.StringValue("harmless")
				}
				return slog.StringValue(canary)
			}})
		}(),
		"LogValuer that panics": attr(valuer{func() slog.Value { panic(canary) }}),
		"Stringer":              attr(stringer{canary}),
		"struct":                attr(inner),
		"pointer to a struct":   attr(&inner),
		"pointer in a struct":   attr(pointed{&inner}),
		"map":                   attr(map[string]any{"k": []string{canary}}),
		"key of a map":          attr(map[string]int{canary: 1}),
		"bytes":                 attr([]byte(canary)),
		"bytes of a type":       attr(namedText(canary)),
		"bytes in a struct":     attr(struct{ B []byte }{[]byte("x" + canary)}),
		"raw JSON":              attr(json.RawMessage(`{"k":"` + canary + `"}`)),
		"TextMarshaler":         attr(marshaler{func() ([]byte, error) { return []byte(canary), nil }}),
		"TextMarshaler, error":  attr(marshaler{func() ([]byte, error) { return nil, errors.New(canary) }}),
		"json.Marshaler":        attr(jsoner{text}),
		"panic":                 attr(panicky{text}),
		"Formatter":             attr(formatter{text}),
		"URL":                   attr(&url.URL{Scheme: "https", User: url.UserPassword("app", canary), Host: "h"}),
		"secret of the library": attr(secrets.NewSecret(canary, secrets.Meta{})),
	}
}

type opener struct {
	name string
	open func(w io.Writer) slog.Handler
}

func handlers() []opener {
	opts := &slog.HandlerOptions{AddSource: true, Level: slog.LevelDebug}
	return []opener{
		{"text", func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, opts) }},
		{"JSON", func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, opts) }},
	}
}

func TestTheHandlerMasksAValueWhereverItStands(t *testing.T) {
	r := knowing("another-value", canary)
	for _, h := range handlers() {
		shown := 0
		for name, log := range places(canary) {
			t.Run(h.name+"/"+name, func(t *testing.T) {
				is := is.New(t)
				var b bytes.Buffer
				log(slog.New(r.Handler(h.open(&b))))
				secretstest.AssertNoLeak(t, canary, b.String())
				is.True(strings.Contains(b.String(), "handler_test.go")) // the source is left alone

				b.Reset() // the control: a handler that knows nothing
				log(slog.New(knowing().Handler(h.open(&b))))
				if len(secretstest.Leaks(canary, b.String())) > 0 {
					shown++
				}
			})
		}
		is.New(t).True(shown > 25)
	}
}

func TestTheHandlerMasksTheTextOfWhatItIsGiven(t *testing.T) {
	r := knowing(canary)
	for _, c := range []struct{ value, want any }{
		{"with " + canary, "with " + mark},
		{errors.New("refused: " + canary), errors.New("refused: " + mark)},
		{named("with " + canary), "with " + mark},
		{stringer{"of " + canary}, mark},
		{[]byte("of " + canary), mark},
		{map[string]string{"k": canary, "other": "x"}, mark},
	} {
		is := is.New(t)
		k := &keeper{}
		slog.New(r.Handler(k)).Info("m", "k", c.value)
		is.Equal(k.attrs(0)[0].Value.Any(), c.want)
	}
}

// keeper is a Handler that keeps records.
type keeper struct {
	mu      sync.Mutex
	records []slog.Record
}

func (k *keeper) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }
func (k *keeper) WithAttrs([]slog.Attr) slog.Handler               { return k }
func (k *keeper) WithGroup(string) slog.Handler                    { return k }
func (k *keeper) Handle(_ context.Context, r slog.Record) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.records = append(k.records, r.Clone())
	return errors.New("the handler failed")
}

func (k *keeper) attrs(i int) (all []slog.Attr) {
	k.records[i].Attrs(func(a slog.Attr) bool { all = append(all, a); return true })
	return all
}

// What shows no value is handed on as it is, by its kind and as the same value, and so are time, level and place.
func TestWhatShowsNoValueIsHandedOnAsItIs(t *testing.T) {
	is := is.New(t)
	r := knowing(canary)
	k := &keeper{}
	h := r.Handler(k)
	pointer := &struct{ A int }{1}
	fault := errors.New("plain")
	var none *stringer
	given := []slog.Attr{
		slog.Int("int", 1), slog.Bool("bool", true), slog.Float64("float", 1.5), slog.Duration("duration", time.Second),
		slog.Time("time", time.Unix(1, 2)), slog.Uint64("uint", 9), slog.String("string", "s"), slog.Any("nil", nil),
		slog.Group("group", slog.Int("a", 1)), slog.Any("error", fault), slog.Any("pointer", pointer), slog.Any("bytes", []byte("b")),
		slog.Any("source", &slog.Source{File: canary}), slog.Any("nil pointer", none), slog.Any("chan", make(chan int)), {},
		slog.Any("a slice", []int{1}), slog.Any("raw", json.RawMessage(`{}`)), slog.Any("text", named("x")),
	}
	record := slog.NewRecord(time.Unix(5, 6), slog.LevelWarn, "message", 42)
	record.AddAttrs(given...)
	for _, more := range []slog.Attr{{}, slog.String("token", canary)} { // without and with something that is masked
		record := record.Clone()
		record.AddAttrs(more)
		is.Equal(h.Handle(t.Context(), record).Error(), "the handler failed")
		got := k.records[len(k.records)-1]
		is.Equal(got.Time, record.Time)
		is.Equal(got.Level, record.Level)
		is.Equal(got.Message, record.Message)
		is.Equal(got.PC, record.PC)
		for i, a := range k.attrs(len(k.records) - 1)[:len(given)] {
			is.Equal(a.Key, given[i].Key)
			is.Equal(a.Value.Kind(), given[i].Value.Kind())
			is.Equal(fmt.Sprintf("%T", a.Value.Any()), fmt.Sprintf("%T", given[i].Value.Any()))
		}
	}
	is.True(k.attrs(0)[9].Value.Any() == fault)
	is.True(k.attrs(0)[10].Value.Any() == any(pointer))
	is.True(!h.Enabled(t.Context(), slog.LevelDebug))
	is.True(h.Enabled(t.Context(), slog.LevelInfo))
	is.Equal(h.WithAttrs(nil), h)
	is.Equal(h.WithGroup(""), h)
}

// shy is a value that shows less of itself than JSON does, and guarded is one that shows less than %+v does.
type shy struct{ Token, Password string }

func (shy) String() string { return "shy{***}" }

type guarded struct{ token, password string }

// A value in which one is found is replaced whole: its other rendering may show what next would never have shown.
func TestNothingIsShownThatNextWouldNotShow(t *testing.T) {
	const weak = "hunter2"
	for _, known := range []bool{false, true} {
		is := is.New(t)
		r := knowing("another-value")
		if known {
			r = knowing(canary)
		}
		var b bytes.Buffer
		seen := func() string { defer b.Reset(); return b.String() }
		text, json := slog.New(r.Handler(slog.NewTextHandler(&b, nil))), slog.New(r.Handler(slog.NewJSONHandler(&b, nil)))
		text.Info("m", "v", shy{canary, weak})
		is.True(strings.Contains(seen(), "shy{***}"))
		json.Info("m", "v", guarded{canary, weak})
		is.True(strings.Contains(seen(), `"v":{}`))
		json.Info("m", "v", shy{canary, weak}) // the control: JSON does show it
		is.Equal(strings.Contains(seen(), weak), !known)
		text.Info("m", "v", guarded{canary, weak})
		is.Equal(strings.Contains(seen(), weak), !known)
	}
}

type locked struct{ mu *sync.Mutex }

func (l locked) MarshalJSON() ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return []byte("1"), nil
}

// MarshalJSON may wait for a lock that the caller has. It is called for a JSONHandler alone, which does so itself.
func TestMarshalJSONIsNotCalledInVain(t *testing.T) {
	is := is.New(t)
	var b bytes.Buffer
	k := &keeper{}
	l := locked{&sync.Mutex{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.mu.Lock()
		defer l.mu.Unlock()
		slog.New(knowing(canary).Handler(slog.NewTextHandler(&b, nil))).Info("m", "v", l)
		slog.New(knowing(canary).Handler(k)).Info("m", "v", l)
	}()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("it waits for the lock")
	}
	is.True(strings.Contains(b.String(), "v={mu:"))
	is.Equal(k.attrs(0)[0].Value.Any(), mark) // it may show anything
	b.Reset()
	slog.New(knowing(canary).Handler(slog.NewJSONHandler(&b, nil))).Info("m", "v", l)
	is.True(strings.Contains(b.String(), `"v":1`)) // the control
}

type node struct {
	Password string
	Parent   *node
	Children []*node
}

func TestWhatContainsItselfIsMasked(t *testing.T) {
	root := &node{Password: canary}
	root.Children = []*node{{Parent: root}}
	self := map[string]any{}
	self["self"] = self
	large := make([]struct{}, 1<<20) // and it is a part itself
	for _, value := range []any{root, *root, self, large, panicky{func() string { return "x" }}} {
		is := is.New(t)
		k := &keeper{}
		slog.New(knowing(canary).Handler(k)).Info("m", "v", value)
		is.Equal(k.attrs(0)[0].Value.Any(), mark)
		for _, h := range handlers() {
			var b bytes.Buffer
			slog.New(knowing(canary).Handler(h.open(&b))).Info("m", "v", value)
			secretstest.AssertNoLeak(t, canary, b.String())
		}
	}
	var b bytes.Buffer
	slog.New(knowing().Handler(slog.NewTextHandler(&b, nil))).Info("m", "v", root) // the control
	is.New(t).True(len(secretstest.Leaks(canary, b.String())) > 0)
}

// An error keeps its own text under any Handler, and loses its type where one of its texts shows a value.
func TestAnErrorKeepsItsText(t *testing.T) {
	is := is.New(t)
	r, k := knowing(canary), &keeper{}
	slog.New(r.Handler(k)).Info("m", "v", verbose{func() string { return canary }})
	is.Equal(k.attrs(0)[0].Value.Any(), errors.New("see the details"))
	is.Equal(r.Stats().Masked, uint64(1))
	var b bytes.Buffer
	slog.New(r.Handler(slog.NewTextHandler(&b, nil))).Info("m", "v", verbose{func() string { return canary }})
	is.True(strings.Contains(b.String(), "v="+mark)) // next prints another text than Error
	b.Reset()
	slog.New(r.Handler(slog.NewJSONHandler(&b, nil))).Info("m", "v", verbose{func() string { return canary }})
	is.True(strings.Contains(b.String(), `"v":"see the details"`))
}

// A LogValuer, or a method that prints a value, may fetch a secret and show it: also if it is the first one.
func TestWhatALineFetchesIsMaskedInIt(t *testing.T) {
	for name, fetching := range map[string]func(get func() string) any{
		"LogValuer": func(get func() string) any { return valuer{func() slog.Value { return slog.StringValue(get()) }} },
		"in a group": func(get func() string) any {
			return slog.GroupValue(slog.Any("g", valuer{func() slog.Value { return slog.StringValue(get()) }}))
		},
		"TextMarshaler": func(get func() string) any { return marshaler{func() ([]byte, error) { return []byte(get()), nil }} },
	} {
		for _, with := range []bool{false, true} {
			is := is.New(t)
			r := redact.New()
			var b bytes.Buffer
			l := slog.New(r.Handler(slog.NewTextHandler(&b, nil)))
			c := client(t, secretstest.NewBackend(map[string]string{"key": canary}), secrets.WithRedaction(r))
			value := fetching(func() string {
				s, err := c.Get(t.Context(), "key")
				is.NoErr(err)
				return s.Reveal()
			})
			if with {
				l.With("v", value).Info("m")
			} else {
				l.Info("m", "v", value)
			}
			secretstest.AssertNoLeak(t, canary, b.String())
			if !strings.Contains(b.String(), mark) {
				t.Errorf("%s: %s", name, b.String())
			}
		}
	}
}

type endless struct{}

func (e endless) LogValue() slog.Value { return slog.GroupValue(slog.Any("again", e)) }

func TestALogValuerThatHoldsItselfEnds(t *testing.T) {
	var b bytes.Buffer
	slog.New(knowing().Handler(slog.NewTextHandler(&b, nil))).Info("m", "v", endless{})
	is.New(t).True(strings.Contains(b.String(), "again.again="+mark))
}

func TestTheAttributesOfTheCallerAreNotWrittenTo(t *testing.T) {
	is := is.New(t)
	var b bytes.Buffer
	h := knowing(canary).Handler(slog.NewTextHandler(&b, nil))
	attrs := []slog.Attr{slog.String("a", canary), slog.Group("g", slog.String("b", canary))}
	h.WithAttrs(attrs)
	slog.New(h).LogAttrs(t.Context(), slog.LevelInfo, "m", attrs...)
	is.Equal(attrs[0].Value.String(), canary)
	is.Equal(attrs[1].Value.Group()[0].Value.String(), canary)
}

func TestTheHandlerIsAHandler(t *testing.T) {
	var b bytes.Buffer
	r := knowing(canary)
	slogtest.Run(t,
		func(*testing.T) slog.Handler {
			b.Reset()
			return r.Handler(slog.NewJSONHandler(&b, nil))
		},
		func(t *testing.T) map[string]any {
			t.Helper()
			m := make(map[string]any)
			is.New(t).NoErr(json.Unmarshal(b.Bytes(), &m))
			return m
		},
	)
}

// logs returns a logger of r, and what was logged since the last look.
func logs(r *redact.Redactor) (l *slog.Logger, seen func() string) {
	var b bytes.Buffer
	l = slog.New(r.Handler(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.MessageKey {
			return a
		}
		return slog.Attr{}
	}})))
	return l, func() string {
		defer b.Reset()
		return strings.TrimSuffix(strings.Trim(strings.TrimPrefix(b.String(), "msg="), "\n"), "\n")
	}
}

// What a Client hands out is masked: a value, a field, the strings of a document, and nothing that came with them.
func TestWhatAClientHandsOutIsMasked(t *testing.T) {
	is := is.New(t)
	ctx := t.Context()
	r := redact.New()
	l, seen := logs(r)
	b := secretstest.NewBackend(map[string]string{
		"key": canary, "doc": `{"user":"application-1","password":"pass/word-9"}`, "all": `{"token":"token-1234"}`, "many": "value-of-many",
	})
	c := client(t, b, secrets.WithRedaction(r), secrets.WithCache(cache.New()))
	said := func(text string) string { l.Info(text); return seen() }
	all := canary + ",application-1,pass/word-9,token-1234,value-of-many,the-default"
	is.Equal(said(all), all) // the control: nothing was handed out
	_, err := c.Get(ctx, "key")
	is.NoErr(err)
	_, err = c.Get(ctx, "doc#password")
	is.NoErr(err)
	_, err = c.Get(ctx, "all")
	is.NoErr(err)
	_, err = c.GetMany(ctx, "many", "key")
	is.NoErr(err)
	_, err = c.GetOr(ctx, "absent", "the-default")
	is.NoErr(err)
	is.Equal(said(all), mark+",application-1,"+mark+","+mark+","+mark+",the-default")
	is.Equal(r.Stats().Values, 4)

	is.True(redact.Searches(r))
	is.NoErr(c.Close())
	is.True(!redact.Searches(r)) // at once, and not with the next line
	is.Equal(said(all), all)     // it is forgotten
	is.Equal(r.Stats(), redact.Stats{Masked: 4})
}

func TestARotationKeepsThePreviousVersionMasked(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	l, seen := logs(r)
	b := secretstest.NewBackend(nil)
	c := client(t, b, secrets.WithRedaction(r), secrets.WithCache(cache.New()))
	for i := range 100 {
		b.Set("key", fmt.Sprintf("value-%d!", i))
		_, err := c.Refresh(t.Context(), "key")
		is.NoErr(err)
		l.Info(fmt.Sprintf("value-%d!,value-%d!", i, max(0, i-1)))
		is.Equal(seen(), mark+","+mark)
		is.True(r.Stats().Values <= 2)
		is.True(r.Stats().Patterns <= 40*20) // of what was rotated away, little is left
	}
	l.Info("value-1! value-50!")
	is.Equal(seen(), `"value-1! value-50!"`)
}

func TestTheMemoryForMasksIsBounded(t *testing.T) {
	is := is.New(t)
	r := redact.New(redact.WithSize(10))
	l, seen := logs(r)
	layer := tell(r)
	for i := range 200 {
		layer.value(strconv.Itoa(i), fmt.Sprintf("value-%d!", i))
		l.Info("x")
	}
	seen()
	is.Equal(r.Stats().Values, 10)
	for i := 190; i < 200; i++ {
		l.Info(fmt.Sprintf("value-%d!", i))
		is.Equal(seen(), mark)
	}
	l.Info("value-1!")
	is.Equal(seen(), "value-1!")

	// What is far too large is left out, and takes nothing from the others.
	var large strings.Builder
	for i := 0; large.Len() < 9<<20; i++ {
		fmt.Fprintf(&large, "large-%d,", i)
	}
	layer.value("large", large.String())
	layer.value("small", canary)
	l.Info(canary + " value-199!")
	is.Equal(seen(), `"`+mark+" "+mark+`"`)
	is.True(r.Stats().Size < 13*16<<20)
	is.Equal(r.Stats().Skipped, 1)
}

func TestWeakValuesAreSkippedAndCounted(t *testing.T) {
	is := is.New(t)
	weak := []string{"short-1", "letters", "Buchstabenfolge", "пароль", "1234567890123", "", "  short-1  \n", "\n\n\n\n\n\n\n\n\n"}
	r := knowing(weak...)
	is.Equal(r.Stats(), redact.Stats{Values: len(weak), Skipped: len(weak)})
	text := strings.Join(weak, "|")
	is.Equal(streamed(t, r, text), text)

	r = knowing(`{"a":"weak","b":"123456789","c":"strong-1","d":true,"e":["weak-2"]}`, "strong-2")
	is.Equal(r.Stats().Skipped, 3)
	is.Equal(r.Stats().Values, 2)
	is.True(r.Stats().Patterns > 10)
	is.True(r.Stats().Size > 0)
	is.Equal(streamed(t, r, "strong-1 strong-2"), mark+" "+mark)
	is.Equal(r.Stats().Masked, uint64(2))
}

// Without a Handler or Writer, nothing is kept for it; what was fetched before there is one is known all the same.
func TestNothingIsKeptBeforeThereIsAHandler(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	b := secretstest.NewBackend(map[string]string{"key": "first-1-value", "doc": `{"a":"in-doc-1","b":"in-doc-2"}`})
	c := client(t, b, secrets.WithRedaction(r), secrets.WithCache(cache.New()))
	for _, key := range []string{"key", "doc#a"} {
		_, err := c.Get(t.Context(), key)
		is.NoErr(err)
	}
	b.Set("key", canary)
	_, err := c.Refresh(t.Context(), "key")
	is.NoErr(err)
	is.Equal(r.Stats(), redact.Stats{})
	layer := tell(r)
	s := secrets.NewSecret(canary, secrets.Meta{})
	is.Equal(testing.AllocsPerRun(100, func() { layer.HandedOut(secrets.Ref{Path: "key"}, s) }), 0.0)

	l, seen := logs(r)
	l.Info("first-1-value," + canary + ",in-doc-1,in-doc-2")
	is.Equal(seen(), strings.Repeat(mark+",", 3)+mark)
	is.NoErr(c.Close())
	is.Equal(r.Stats().Values, 0)
}

// A hit is no dearer for a Handler: the layers do not learn of it.
func TestAHitDoesNotAllocate(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	r.Handler(slog.DiscardHandler)
	c := client(t, secretstest.NewBackend(map[string]string{"key": canary}), secrets.WithRedaction(r), secrets.WithCache(cache.New()))
	ctx := t.Context()
	get := func() { _, err := c.Get(ctx, "key"); is.NoErr(err) }
	get()
	is.Equal(testing.AllocsPerRun(100, func() { _, _ = c.Get(ctx, "key") }), 0.0)
}

// A record that shows no value costs no memory.
func TestARecordWithoutAValueDoesNotAllocate(t *testing.T) {
	is := is.New(t)
	h := knowing(canary, "another-value").Handler(slog.DiscardHandler)
	record := slog.NewRecord(time.Now(), slog.LevelInfo, "a message of the usual length", 0)
	record.AddAttrs(slog.String("path", "/v1/orders"), slog.Int("status", 200), slog.Duration("took", time.Second))
	ctx := t.Context()
	is.Equal(testing.AllocsPerRun(100, func() { _ = h.Handle(ctx, record) }), 0.0)
}

func TestClientsThatShareARedactorForgetOnlyTheirOwn(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	l, seen := logs(r)
	one, two := tell(r), tell(r)
	one.value("key", "value-of-both")
	two.value("key", "value-of-both")
	one.value("own", "value-of-one-1")
	two.value("own", "value-of-two-2")
	text := "value-of-both,value-of-one-1,value-of-two-2"
	l.Info(text)
	is.Equal(seen(), mark+","+mark+","+mark)
	for range 2 {
		is.NoErr(one.Close())
		l.Info(text)
		is.Equal(seen(), mark+",value-of-one-1,"+mark)
		one.value("late", "value-of-one-1") // a fetch that ends late leaves nothing behind
	}
	is.NoErr(two.Close())
	l.Info(text)
	is.Equal(seen(), text)
}

func TestADumpShowsNothingOfWhatIsMasked(t *testing.T) {
	r := redact.New()
	var b strings.Builder
	w := r.Writer(&b)
	h := r.Handler(slog.NewTextHandler(&strings.Builder{}, nil))
	l := tell(r)
	l.value("key", canary)
	_, _ = io.WriteString(w, canary[:len(canary)-1])
	slog.New(h).Info(canary)
	secretstest.AssertNoLeak(t, canary, r, w, h, l.Redaction)
	secretstest.AssertNoLeak(t, canary[:len(canary)-1], w)
	_ = w.Close()
}

func TestTheHandlerIsSafeForConcurrentUse(t *testing.T) {
	r := redact.New()
	b := secretstest.NewBackend(nil)
	var out bytes.Buffer
	l := slog.New(r.Handler(slog.NewTextHandler(&out, nil)))
	c := client(t, b, secrets.WithRedaction(r), secrets.WithCache(cache.New()))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			key := "key" + strconv.Itoa(g)
			for i := range 60 {
				b.Set(key, fmt.Sprintf("%s-%d-%d", canary, g, i%7))
				s, err := c.Refresh(t.Context(), key)
				if err != nil {
					t.Error(err)
					return
				}
				l.With("with", s.Reveal()).Info("paying with "+s.Reveal(), "k", s.Reveal(), "secret", s)
				r.Stats()
			}
		})
	}
	other := client(t, b, secrets.WithRedaction(r))
	for range 20 {
		wg.Go(func() { _, _ = other.Get(t.Context(), "key0"); r.Writer(io.Discard).Close() })
	}
	wg.Wait()
	secretstest.AssertNoLeak(t, canary, out.String())
}

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

// places has all places of a record that can contain a value.
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
		"key in a group":         func(l *slog.Logger) { l.Info("m", slog.Group("g", slog.Group("h", canary, 1))) },
		"name of a group attr":   func(l *slog.Logger) { l.Info("m", slog.Group(canary, "k", 1)) },
		"inline group":           func(l *slog.Logger) { l.Info("m", slog.Group("", "k", canary)) },
		"name of a group":        func(l *slog.Logger) { l.WithGroup(canary).Info("m", "k", 1) },
		"With":                   func(l *slog.Logger) { l.With("k", canary).Info("m") },
		"With in a group":        func(l *slog.Logger) { l.WithGroup("g").With("k", canary).Info("m") },
		"group in With":          func(l *slog.Logger) { l.With(slog.Group("g", "k", canary)).Info("m") },
		"error":                  attr(errors.New("refused: " + canary)),
		"wrapped error":          attr(fmt.Errorf("pay: %w", errors.New(canary))),
		"joined errors":          attr(errors.Join(errors.New("one"), errors.New(canary))),
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
		"array of bytes":        attr([19]byte([]byte(canary))),
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

// third is a Handler of another module. The Redactor does not know how it prints values.
type third struct{ slog.Handler }

func (h third) WithAttrs(attrs []slog.Attr) slog.Handler { return third{h.Handler.WithAttrs(attrs)} }
func (h third) WithGroup(name string) slog.Handler       { return third{h.Handler.WithGroup(name)} }

func handlers() []opener {
	opts := &slog.HandlerOptions{AddSource: true, Level: slog.LevelDebug}
	return []opener{
		{"text", func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, opts) }},
		{"JSON", func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, opts) }},
		{"another, as text", func(w io.Writer) slog.Handler { return third{slog.NewTextHandler(w, opts)} }},
		{"another, as JSON", func(w io.Writer) slog.Handler { return third{slog.NewJSONHandler(w, opts)} }},
		{"text, twice", func(w io.Writer) slog.Handler { return redact.New().Handler(slog.NewTextHandler(w, opts)) }},
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
				is.True(strings.Contains(b.String(), "handler_test.go")) // the source is not masked

				b.Reset() // control: a handler without values
				log(slog.New(knowing().Handler(h.open(&b))))
				if len(secretstest.Leaks(canary, b.String())) > 0 {
					shown++
				}
			})
		}
		if shown <= 25 {
			t.Errorf("%s: without the value, only %d places show it", h.name, shown)
		}
	}
}

// An attribute without a value keeps its kind and its identity. Time, level and source are unchanged.
func TestAttributesWithoutAValueAreUnchanged(t *testing.T) {
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
		slog.Any("source", &slog.Source{File: "x.go"}), slog.Any("nil pointer", none), slog.Any("chan", make(chan int)), {},
		slog.Any("a slice", []int{1}), slog.Any("raw", json.RawMessage(`{}`)), slog.Any("text", named("x")),
	}
	record := slog.NewRecord(time.Unix(5, 6), slog.LevelWarn, "message", 42)
	record.AddAttrs(given...)
	for _, more := range []slog.Attr{{}, slog.String("token", canary)} { // without and with a masked attribute
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

// A LogValuer, or a method that prints a value, may fetch a secret. Earlier parts of the record may contain it.
func TestAValueThatARecordFetchesIsMaskedInAllOfIt(t *testing.T) {
	for name, fetching := range map[string]func(get func() string) any{
		"LogValuer that shows it": func(get func() string) any { return valuer{func() slog.Value { return slog.StringValue(get()) }} },
		"LogValuer that does not": func(get func() string) any {
			return valuer{func() slog.Value { get(); return slog.StringValue(mark) }}
		},
		"in a group": func(get func() string) any {
			return slog.GroupValue(slog.Any("g", valuer{func() slog.Value { return slog.StringValue(get()) }}))
		},
		"TextMarshaler": func(get func() string) any { return marshaler{func() ([]byte, error) { return []byte(get()), nil }} },
		"error":         func(get func() string) any { return verbose{get} },
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
				l.With("before", canary, "v", value, "behind", canary).Info("m")
			} else {
				l.Info("paid with "+canary, "before", canary, slog.Group("g", "k", canary), "v", value, "behind", canary)
			}
			secretstest.AssertNoLeak(t, canary, b.String())
			is.True(strings.Count(b.String(), mark) >= 2)
			marks := strings.Count(b.String(), mark)
			if name == "LogValuer that does not" {
				marks-- // one mark is its own
			}
			is.Equal(r.Stats().Masked, uint64(marks)) // each counts once
		}
	}
}

// A LogValuer that fetches another secret each time must not block a record forever.
func TestARecordThatFetchesAllTheTimeEnds(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	l, calls := tell(r), 0
	k := &keeper{}
	slog.New(r.Handler(k)).Info("m", "v", valuer{func() slog.Value {
		calls++
		l.value("key", canary+strconv.Itoa(calls))
		return slog.StringValue(canary + strconv.Itoa(calls))
	}})
	is.Equal(k.attrs(0)[0].Value.String(), mark)
	is.True(calls < 10)
}

func TestTheAttributesOfTheCallerAreNotChanged(t *testing.T) {
	is := is.New(t)
	var b bytes.Buffer
	h := knowing(canary).Handler(slog.NewTextHandler(&b, nil))
	attrs := []slog.Attr{slog.String("a", canary), slog.Group("g", slog.String("b", canary)), slog.String(canary, "c")}
	h.WithAttrs(attrs)
	slog.New(h).LogAttrs(t.Context(), slog.LevelInfo, "m", attrs...)
	record := slog.NewRecord(time.Now(), slog.LevelInfo, "m", 0)
	for range 3 { // more than a record has room for without a slice
		record.AddAttrs(attrs...)
	}
	is.NoErr(h.Handle(t.Context(), record))
	record.Attrs(func(a slog.Attr) bool {
		is.True(strings.Contains(a.String(), canary))
		return true
	})
	is.Equal(record.NumAttrs(), 9)
	is.Equal(attrs[0].Value.String(), canary)
	is.Equal(attrs[1].Value.Group()[0].Value.String(), canary)
	is.Equal(attrs[2].Key, canary)
	secretstest.AssertNoLeak(t, canary, b.String())
}

// parseText reads a line of a slog.TextHandler, groups as maps.
func parseText(t *testing.T, line string) map[string]any {
	t.Helper()
	is := is.New(t)
	all := make(map[string]any)
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		key, rest, ok := strings.Cut(line, "=")
		is.True(ok)
		value, rest2, _ := strings.Cut(rest, " ")
		if quoted, err := strconv.QuotedPrefix(rest); err == nil {
			value, rest2 = quoted, rest[len(quoted):]
			value, err = strconv.Unquote(value)
			is.NoErr(err)
		}
		line = rest2
		in, path := all, strings.Split(key, ".")
		for _, group := range path[:len(path)-1] {
			if _, ok := in[group]; !ok {
				in[group] = make(map[string]any)
			}
			in, ok = in[group].(map[string]any)
			is.True(ok)
		}
		in[path[len(path)-1]] = value
	}
	return all
}

func parseJSON(t *testing.T, line string) map[string]any {
	t.Helper()
	m := make(map[string]any)
	is.New(t).NoErr(json.Unmarshal([]byte(line), &m))
	return m
}

func TestTheHandlerIsAHandler(t *testing.T) {
	var b bytes.Buffer
	r := knowing(canary)
	for name, c := range map[string]struct {
		next  slog.Handler
		parse func(t *testing.T, line string) map[string]any
	}{
		"text":    {slog.NewTextHandler(&b, nil), parseText},
		"JSON":    {slog.NewJSONHandler(&b, nil), parseJSON},
		"another": {third{slog.NewJSONHandler(&b, nil)}, parseJSON},
		"twice":   {knowing("another-value").Handler(slog.NewJSONHandler(&b, nil)), parseJSON},
	} {
		t.Run(name, func(t *testing.T) {
			slogtest.Run(t,
				func(*testing.T) slog.Handler {
					b.Reset()
					return r.Handler(c.next)
				},
				func(t *testing.T) map[string]any {
					t.Helper()
					return c.parse(t, b.String())
				},
			)
		})
	}
}

// taking accepts all records, unlike slog.DiscardHandler.
type taking struct{ slog.Handler }

func (taking) Enabled(context.Context, slog.Level) bool  { return true }
func (taking) Handle(context.Context, slog.Record) error { return nil }

func TestARecordWithoutAValueDoesNotAllocate(t *testing.T) {
	is := is.New(t)
	h := knowing(canary, "another-value").Handler(taking{})
	record := slog.NewRecord(time.Now(), slog.LevelInfo, "a message of the usual length", 0)
	record.AddAttrs(slog.String("path", "/v1/orders?a=%41&b=\\u0041"), slog.Int("status", 200), slog.Duration("took", time.Second))
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { _ = h.Handle(ctx, record) }); n > 0 && !raceDetector { // the race detector drops pooled memory
		t.Errorf("%v allocations", n)
	}
	with := slog.NewRecord(time.Now(), slog.LevelInfo, canary, 0) // control
	is.True(testing.AllocsPerRun(100, func() { _ = h.Handle(ctx, with) }) > 0)
}

// A hit is as fast as without a Handler: it does not reach the layer.
func TestAHitDoesNotAllocate(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	r.Handler(slog.DiscardHandler)
	c := client(t, secretstest.NewBackend(map[string]string{"key": canary}), secrets.WithRedaction(r), secrets.WithCache(cache.New()))
	ctx := t.Context()
	_, err := c.Get(ctx, "key")
	is.NoErr(err)
	is.Equal(testing.AllocsPerRun(100, func() { _, _ = c.Get(ctx, "key") }), 0.0)
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
		wg.Go(func() { _, _ = other.Get(t.Context(), "key0"); _ = r.Writer(io.Discard).Close() })
	}
	wg.Wait()
	secretstest.AssertNoLeak(t, canary, out.String())
}

package redact_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

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
	// traced is an error that prints its origin with %+v, as those of pkg/errors do.
	traced struct{ text string }
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

func (e traced) Error() string { return e.text }
func (e traced) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, e.text)
	if f.Flag('+') {
		_, _ = io.WriteString(f, "\nmain.run\n\t/src/main.go:12")
	}
}

func marshals(text string) marshaler {
	return marshaler{func() ([]byte, error) { return []byte(text), nil }}
}

func says(text string) valuer { return valuer{func() slog.Value { return slog.StringValue(text) }} }

// attribute returns the output of next for value as an attribute, through a Handler that masks canary.
func attribute(h func(io.Writer, *slog.HandlerOptions) slog.Handler, value any) string {
	var b bytes.Buffer
	only := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == "v" {
			return a
		}
		return slog.Attr{}
	}}
	slog.New(knowing(canary).Handler(h(&b, only))).Info("m", "v", value)
	return strings.TrimSpace(b.String())
}

func asText(w io.Writer, opts *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(w, opts) }
func asJSON(w io.Writer, opts *slog.HandlerOptions) slog.Handler { return slog.NewJSONHandler(w, opts) }

// A value with a text keeps it, with the mark in place of the secret. All other values are replaced as a whole.
func TestHowAValueIsMasked(t *testing.T) {
	const trace = `\nmain.run\n\t/src/main.go:12`
	link := &url.URL{Scheme: "https", User: url.UserPassword("app", canary), Host: "h"}
	type config struct{ Host, Token string }
	for name, c := range map[string]struct {
		value      any
		text, json string
	}{
		"string":                 {"of " + canary + " now", `v="of [REDACTED] now"`, `{"v":"of [REDACTED] now"}`},
		"named string":           {named("of " + canary), `v="of [REDACTED]"`, `{"v":"of [REDACTED]"}`},
		"error":                  {errors.New("refused: " + canary), `v="refused: [REDACTED]"`, `{"v":"refused: [REDACTED]"}`},
		"error with a trace":     {traced{"refused: " + canary}, `v="refused: [REDACTED]` + trace + `"`, `{"v":"refused: [REDACTED]"}`},
		"wrapped, with a trace":  {fmt.Errorf("pay: %w", traced{canary}), `v="pay: [REDACTED]"`, `{"v":"pay: [REDACTED]"}`},
		"error that says more":   {verbose{func() string { return canary }}, `v="details: [REDACTED]"`, `{"v":"see the details"}`},
		"Stringer":               {stringer{canary}, `v="stringer of [REDACTED]"`, `{"v":{}}`},
		"Stringer, by pointer":   {link, `v=https://app:[REDACTED]@h`, ""},
		"Formatter":              {traced{canary}, `v="[REDACTED]` + trace + `"`, `{"v":"[REDACTED]"}`},
		"TextMarshaler":          {marshals("of " + canary), `v="of [REDACTED]"`, `{"v":"of [REDACTED]"}`},
		"bytes":                  {[]byte("of " + canary), `v="of [REDACTED]"`, `{"v":"[REDACTED]"}`},
		"struct":                 {config{"h", canary}, `v=[REDACTED]`, `{"v":"[REDACTED]"}`},
		"pointer to a struct":    {&config{"h", canary}, `v=[REDACTED]`, `{"v":"[REDACTED]"}`},
		"map":                    {map[string]string{"k": canary, "other": "x"}, `v=[REDACTED]`, `{"v":"[REDACTED]"}`},
		"slice":                  {[]string{"x", canary}, `v=[REDACTED]`, `{"v":"[REDACTED]"}`},
		"json.Marshaler":         {jsoner{func() string { return canary }}, "", `{"v":"[REDACTED]"}`},
		"raw JSON":               {json.RawMessage(`{"k":"` + canary + `"}`), `v="{\"k\":\"[REDACTED]\"}"`, `{"v":"[REDACTED]"}`},
		"LogValuer":              {says("of " + canary), `v="of [REDACTED]"`, `{"v":"of [REDACTED]"}`},
		"LogValuer of a group":   {valuer{func() slog.Value { return slog.GroupValue(slog.String("k", canary)) }}, "", ""},
		"nothing":                {nil, `v=<nil>`, `{"v":null}`},
		"struct without a value": {config{"h", "x"}, `v="{Host:h Token:x}"`, `{"v":{"Host":"h","Token":"x"}}`},
		"address":                {netip.MustParseAddr("192.0.2.1"), `v=192.0.2.1`, `{"v":"192.0.2.1"}`},
	} {
		text, json := attribute(asText, c.value), attribute(asJSON, c.value)
		secretstest.AssertNoLeak(t, canary, text, json)
		if c.text != "" && text != c.text {
			t.Errorf("%s: %s, want %s", name, text, c.text)
		}
		if c.json != "" && json != c.json {
			t.Errorf("%s: %s, want %s", name, json, c.json)
		}
	}
}

// The Redactor does not know which text another Handler prints.
func TestHowAValueIsMaskedForAnotherHandler(t *testing.T) {
	r := knowing(canary)
	for _, c := range []struct{ value, want any }{
		{"with " + canary, "with " + mark},
		{errors.New("refused: " + canary), errors.New("refused: " + mark)},
		{traced{"refused: " + canary}, errors.New("refused: " + mark)},
		{verbose{func() string { return canary }}, errors.New("see the details")}, // next might not print it, which is safe too
		{named("with " + canary), "with " + mark},
		{stringer{canary}, "stringer of " + mark},
		{marshals("of " + canary), "of " + mark},
		{[]byte("of " + canary), mark},
		{map[string]string{"k": canary, "other": "x"}, mark},
		{struct{ Token string }{canary}, mark},
		{jsoner{func() string { return "x" }}, mark}, // it may print anything
	} {
		is := is.New(t)
		k := &keeper{}
		before := r.Stats().Masked
		slog.New(r.Handler(k)).Info("m", "k", c.value)
		is.Equal(k.attrs(0)[0].Value.Any(), c.want)
		is.Equal(r.Stats().Masked, before+1)
	}
}

// shy is a value that prints less than JSON shows, and guarded is one that prints less than %+v shows.
type shy struct{ Token, Password string }

func (shy) String() string { return "shy{***}" }

type guarded struct{ token, password string }

// A value that shows a secret is replaced as a whole: another text of it might show parts that next would not have shown.
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
		json.Info("m", "v", shy{canary, weak}) // control: JSON does show it
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

// MarshalJSON may wait for a lock that the caller holds. It is called only for a JSONHandler, which would call it itself.
func TestMarshalJSONIsCalledOnlyForAJSONHandler(t *testing.T) {
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
	is.Equal(k.attrs(0)[0].Value.Any(), mark) // it may print anything
	b.Reset()
	slog.New(knowing(canary).Handler(slog.NewJSONHandler(&b, nil))).Info("m", "v", l)
	is.True(strings.Contains(b.String(), `"v":1`)) // control
}

// calls counts the methods that are called.
type calls struct{ counts map[string]int }

func (c calls) count(method string) { c.counts[method]++ }

func (c calls) String() string               { c.count("String"); return "x" }
func (c calls) MarshalText() ([]byte, error) { c.count("MarshalText"); return []byte("x"), nil }
func (c calls) MarshalJSON() ([]byte, error) { c.count("MarshalJSON"); return []byte(`"x"`), nil }

func TestNoMethodIsCalledThatNextWouldNotCall(t *testing.T) {
	for name, next := range map[string]func(io.Writer, *slog.HandlerOptions) slog.Handler{"text": asText, "JSON": asJSON} {
		is := is.New(t)
		alone, masked := calls{map[string]int{}}, calls{map[string]int{}}
		slog.New(next(io.Discard, nil)).Info("m", "v", alone)
		slog.New(knowing(canary).Handler(next(io.Discard, nil))).Info("m", "v", masked)
		is.Equal(len(alone.counts), 1)
		for method := range masked.counts {
			if alone.counts[method] == 0 {
				t.Errorf("%s: %s is called", name, method)
			}
		}
	}
}

type node struct {
	Password string
	Parent   *node
	Children []*node
}

func TestAValueThatContainsItselfIsMasked(t *testing.T) {
	root := &node{Password: canary}
	root.Children = []*node{{Parent: root}}
	self := map[string]any{}
	self["self"] = self
	list := make([]any, 1)
	list[0] = list
	large := make([]struct{}, 1<<20) // the slice itself counts too
	for _, value := range []any{root, *root, self, list, large} {
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
	slog.New(knowing().Handler(slog.NewTextHandler(&b, nil))).Info("m", "v", root) // control
	is := is.New(t)
	is.True(len(secretstest.Leaks(canary, b.String())) > 0)
}

type endless struct{}

func (e endless) LogValue() slog.Value { return slog.GroupValue(slog.Any("again", e)) }

func TestALogValuerThatHoldsItselfEnds(t *testing.T) {
	is := is.New(t)
	var b bytes.Buffer
	slog.New(knowing().Handler(slog.NewTextHandler(&b, nil))).Info("m", "v", endless{})
	is.True(strings.Contains(b.String(), "again.again="+mark))
}

// After a panic of a method, the line is written, as with the Handlers of log/slog, and shows no value.
func TestAValueThatPanicsIsMasked(t *testing.T) {
	for _, value := range []any{
		panicky{func() string { return canary }}, valuer{func() slog.Value { panic(canary) }}, formatter{func() string { panic(canary) }},
		marshaler{}, jsoner{}, (*url.URL)(nil), (*traced)(nil), (*stringer)(nil), (*netip.Addr)(nil), verbose{},
	} {
		for _, h := range handlers() {
			is := is.New(t)
			var b bytes.Buffer
			slog.New(knowing(canary).Handler(h.open(&b))).Info("it goes on", "v", value)
			secretstest.AssertNoLeak(t, canary, b.String())
			is.True(strings.Contains(b.String(), "it goes on"))
		}
	}
}

package goldentest

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/seed-5482dd03/secrets/middleware/redact"
)

func writers() []writer { return goWriters() }

// Whatever a writer makes of a value, its place is taken by the mark, and all else stays.
func TestEveryWriterOfEveryValue(t *testing.T) {
	cases, failed := 0, tally{}
	for _, v := range values() {
		r, blind := knowing(v.known), knowing()
		for _, w := range writers() {
			g := printed(t, w, v)
			if lossy[w.name] == v.name {
				continue
			}
			if known(w, v) {
				continue
			}
			cases++
			if got := streamed(t, blind, byLine(g.text)...); got != g.text || g.shown(got) == "" {
				t.Fatalf("%s of %s: the control is %q", w.name, v.name, got)
			}
			got := streamed(t, r, byLine(g.text)...)
			if fault := g.fault(got); fault != "" {
				failed.add(w.name)
				t.Errorf("%s of %s: the output %s\n  %.300q\n  %.300q", w.name, v.name, fault, g.text, got)
			}
		}
	}
	t.Logf("%d outputs; failed: %s", cases, failed)
}

// lossy lists the one value that a writer changes for good.
var lossy = map[string]string{
	"xml text":      "control characters", // U+0008 becomes U+FFFD
	"xml attribute": "control characters",
}

// known reports whether w is known to hide v from a Redactor.
func known(w writer, v value) bool {
	return strings.Contains(v.text, "'") && strings.Contains(w.name, "shell") // 'it'"'"'s'
}

// tally counts by name.
type tally map[string]int

func (t tally) add(name string) { t[name]++ }

func (t tally) String() string {
	total := 0
	for _, n := range t {
		total += n
	}
	return fmt.Sprintf("%d %v", total, map[string]int(t))
}

// A Handler masks the same outputs in the message, in a string and in an error.
func TestEveryWriterOfEveryValueThroughAHandler(t *testing.T) {
	handlers := map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, &slog.HandlerOptions{ReplaceAttr: noTime}) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, &slog.HandlerOptions{ReplaceAttr: noTime}) },
	}
	logs := map[string]func(l *slog.Logger, text string){
		"message": func(l *slog.Logger, text string) { l.Info(text) },
		"string":  func(l *slog.Logger, text string) { l.Info("m", "v", text) },
		"error":   func(l *slog.Logger, text string) { l.Info("m", "err", errors.New(text)) },
		"with":    func(l *slog.Logger, text string) { l.With("v", text).WithGroup("g").Info("m", "w", 1) },
	}
	cases, failed := 0, tally{}
	for _, v := range values() {
		r, blind := knowing(v.known), knowing()
		for _, w := range writers() {
			if lossy[w.name] == v.name || known(w, v) {
				continue
			}
			plain := printed(t, w, v)
			for name, handler := range handlers {
				for kind, log := range logs {
					cases++
					g := plain
					g.text, g.json = through(blind, handler, log, plain.text), name == "json"
					var open bytes.Buffer
					if v.open != "" {
						o := plain
						o.of.text = v.open
						text, err := w.around(before, v.open, after)
						if err != nil {
							t.Fatal(err)
						}
						open.WriteString(through(blind, handler, log, text))
					}
					g.find(t, v.open, open.String())
					if g.shown(g.text) == "" {
						t.Fatalf("%s of %s, %s of %s: the control is %q", w.name, v.name, kind, name, g.text)
					}
					g.head, g.tail = 2*g.head, 2*g.tail // they are escaped once more
					if fault := g.fault(through(r, handler, log, plain.text)); fault != "" {
						failed.add(w.name)
						t.Errorf("%s of %s, %s of %s: the output %s", w.name, v.name, kind, name, fault)
					}
				}
			}
		}
	}
	t.Logf("%d outputs; failed: %s", cases, failed)
}

func noTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// through returns what is logged of text through a handler that r wraps.
func through(
	r *redact.Redactor, handler func(*bytes.Buffer) slog.Handler, log func(*slog.Logger, string), text string,
) string {
	var b bytes.Buffer
	log(slog.New(r.Handler(handler(&b))), text)
	return b.String()
}

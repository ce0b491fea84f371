package goldentest_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/seed-5482dd03/secrets/middleware/redact"
)

// writers returns the writers of all languages.
func writers() []writer { return slices.Concat(goWriters(), dataWriters()) }

// alone returns the writers that take any text and print only the value between the marks, as a whole field, say.
func alone() []writer {
	var all []writer
	for _, w := range goWriters() {
		if !w.bytes {
			all = append(all, writer{name: w.name + ", alone", write: w.write, bytes: true, loose: true})
		}
	}
	return all
}

// In the output of every writer, the mark replaces the value, and all other text stays.
func TestEveryWriterOfEveryValue(t *testing.T) {
	t.Parallel()
	cases, failed := 0, tally{}
	for _, v := range slices.Concat(values(), longKeys(t)) {
		r, blind := knowing(v.known), knowing()
		all := slices.Concat(goWriters(), alone())
		if slices.Contains(values(), v) {
			all = append(all, dataWriters()...)
		}
		for _, w := range all {
			g := printed(t, w, v)
			if lossy(w, v) || known(w, v) {
				continue
			}
			cases++
			if got := streamed(t, blind, byLine(g.text)...); got != g.text || g.shown(got) == "" {
				t.Fatalf("%s of %s: the control is %q", w.name, v.name, got)
			}
			got := streamed(t, r, byLine(g.text)...)
			if fault := g.fault(got); fault != "" {
				failed.fail(t, w.name, "%s of %s: the output %s\n  %.300q\n  %.300q", w.name, v.name, fault, g.text, got)
			}
		}
	}
	t.Logf("%d outputs; failed: %s", cases, failed)
}

// longKeys returns a new private key of more than 1 KiB twice: as it is, and as known from an environment variable in one line.
func longKeys(t *testing.T) []value {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	text := string(pem.EncodeToMemory(block))
	open := strings.Split(text, "\n")
	for i, line := range open {
		if !strings.HasPrefix(line, "-") {
			open[i] = strings.Repeat("x", len(line))
		}
	}
	frame := strings.Join(open, "\n")
	return []value{
		{"RSA key", text, text, frame},
		{"RSA key, known in one line", strings.ReplaceAll(text, "\n", `\n`), text, frame},
	}
}

// lossy reports whether w drops or changes characters of v irreversibly, or cannot be checked.
func lossy(w writer, v value) bool {
	switch strings.TrimSuffix(w.name, ", alone") {
	case "xml text", "xml attribute":
		return v.name == "control characters" // U+0008 becomes U+FFFD
	case "goccy yaml", "pq.QuoteLiteral":
		return v.name == "JSON document" // it is quoted differently than the text that may show
	case "javascript URL.hash":
		return v.name == "control characters" || strings.Contains(v.text, "\n") // it drops tabs and line breaks
	}
	return false
}

// known reports whether a Redactor is known to miss v in the output of w.
func known(w writer, v value) bool {
	switch strings.TrimSuffix(w.name, ", alone") {
	case "shell", "python shlex.quote", "php escapeshellarg":
		return strings.Contains(v.text, "'") // it's becomes 'it'"'"'s' or 'it'\''s'
	case "lines of 76", "lines of 64":
		return len(v.text) > 64 && v.name != "96 random bytes" // a line break inside is no escape, other than in base64
	case "javascript escape":
		return v.name == "beyond Latin-1" // %uXXXX
	case "php htmlentities ENT_HTML5":
		return strings.Contains(v.text, "fj") // &fjlig; stands for two characters
	}
	return false
}

// A Handler masks the same as a Writer, in the message, in a string and in an error.
func TestEveryWriterOfEveryValueThroughAHandler(t *testing.T) {
	t.Parallel()
	handlers := map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler {
			return slog.NewTextHandler(b, timeless)
		},
		"json": func(b *bytes.Buffer) slog.Handler {
			return slog.NewJSONHandler(b, timeless)
		},
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
			if lossy(w, v) || known(w, v) {
				continue
			}
			plain, open := printed(t, w, v), ""
			if v.open != "" {
				open, _ = w.around(before, v.open, after)
			}
			masked := streamed(t, r, plain.text) // checked by the test above
			for name, handler := range handlers {
				for kind, log := range logs {
					cases++
					g := plain
					g.text = through(blind, handler, log, plain.text)
					g.find(t, v.open, through(blind, handler, log, open))
					if g.shown(g.text) == "" {
						t.Fatalf("%s of %s, %s of %s: the control is %q", w.name, v.name, kind, name, g.text)
					}
					got, want := through(r, handler, log, plain.text), through(blind, handler, log, masked)
					switch shown := g.shown(got); {
					case shown != "":
						failed.fail(t, w.name, "%s of %s, %s of %s: the output shows %q", w.name, v.name, kind, name, shown)
					case got != want:
						failed.fail(t, w.name, "%s of %s, %s of %s: the output is\n  %.300q, not\n  %.300q", w.name, v.name, kind, name, got, want)
					}
				}
			}
		}
	}
	t.Logf("%d outputs; failed: %s", cases, failed)
}

// through returns the log line of text through a handler that r wraps.
func through(
	r *redact.Redactor, handler func(*bytes.Buffer) slog.Handler, log func(*slog.Logger, string), text string,
) string {
	var b bytes.Buffer
	log(slog.New(r.Handler(handler(&b))), text)
	return b.String()
}

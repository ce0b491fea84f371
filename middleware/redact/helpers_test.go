package redact_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	mark   = "[REDACTED]"
	canary = "canary-7f3Kq9ZxWv2m"
)

// full reports whether the longest tests run in full: LONG_TESTS=1 go test ./middleware/redact. With the race detector, they would
// take a quarter of an hour.
func full() bool { return os.Getenv("LONG_TESTS") != "" && !raceDetector && !testing.Short() }

func client(t *testing.T, b secrets.Backend, opts ...secrets.Option) *secrets.Client {
	t.Helper()
	c, err := secrets.New(b, opts...)
	is.New(t).NoErr(err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// told is the layer of a Redactor. A test hands values out through it.
type told struct{ secrets.Redaction }

func tell(r *redact.Redactor) told {
	return told{r.NewRedaction(secrets.Info{Name: "fake"}, secretstest.NewBackend(nil))}
}

func (t told) value(path, value string) {
	t.HandedOut(secrets.Ref{Path: path}, secrets.NewSecret(value, secrets.Meta{}))
}

// knowing returns a Redactor whose Client has returned values, each with a key of its own.
func knowing(values ...string) *redact.Redactor {
	r := redact.New()
	l := tell(r)
	for i, v := range values {
		l.value("key"+strconv.Itoa(i), v)
	}
	return r
}

// streamed returns the output of a Writer of r for pieces.
func streamed(t testing.TB, r *redact.Redactor, pieces ...string) string {
	t.Helper()
	var b strings.Builder
	w := r.Writer(&b)
	for _, p := range pieces {
		if n, err := io.WriteString(w, p); n != len(p) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// keeper is a Handler that keeps records. The Redactor does not know how it prints them.
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

// logged returns the output of a Handler of r for text as a message.
func logged(r *redact.Redactor, text string) string {
	k := &keeper{}
	slog.New(r.Handler(k)).Info(text)
	return k.records[0].Message
}

// over returns a new layer above fetch.
func over(fetch func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error)) secrets.Redaction {
	b := secrets.NewBackend(secrets.Info{Name: "b"}, fetch)
	return redact.New().NewRedaction(b.Info(), b)
}

// scrubber returns a func that masks a text as the Detail of an error, for a call that was for documents with these values.
func scrubber(values ...string) func(detail string) string {
	var text string
	answers := make([]secrets.Result, len(values))
	for i, v := range values {
		answers[i].Secret = secrets.NewSecret(v, secrets.Meta{})
	}
	layer := over(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
		call := new(fetchctx.Batch)
		fetchctx.Of(ctx).Origin.Set(call)
		call.End(answers)
		return secrets.Secret{}, &secrets.Error{Err: secrets.ErrUnknown, Detail: text}
	})
	return func(t string) string {
		text = t
		_, err := layer.Fetch(context.Background(), secrets.Ref{Path: "fails"})
		return detail(err)
	}
}

// detail returns the Detail of an error of the library.
func detail(err error) string {
	var e *secrets.Error
	if !errors.As(err, &e) {
		return fmt.Sprintf("not an error of the library: %v", err)
	}
	return e.Detail
}

// outputs returns text as masked by each output, after values were returned.
func outputs(t *testing.T, text string, values ...string) map[string]string {
	t.Helper()
	r, k := knowing(values...), &keeper{}
	slog.New(r.Handler(k)).Info("m", "text", text, "error", errors.New(text))
	return map[string]string{
		"Writer":             streamed(t, r, text),
		"message of a log":   logged(r, text),
		"attribute of a log": k.attrs(0)[0].Value.String(),
		"error in a log":     fmt.Sprint(k.attrs(0)[1].Value.Any()),
		"Detail of an error": scrubber(values...)(text),
	}
}

// left returns the number of bytes that are not masked.
func left(text string) int { return len(strings.ReplaceAll(text, mark, "")) }

func must(text []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(text)
}

// values have no 8 bytes in common with the text around a form.
var values = []string{
	"hunter2-Zx9!",
	"Xq7vPlainAlnum0",
	"with space+plus&amp",
	`quo"te'd\back<s>lash`,
	"p@ss:w/rd?x#y%z=1;2,3$4",
	"pässwörd-日本語-😀-9q",
	"tab\tnew\nline\rCR",
	"ctl\x00\x01\x7fZq8wT",
	"\xff\xfe\x80binary\xc3\x28",
	"Zero\u200bWidth\u2028sep",
	"~tilde~and.dots_-",
	strings.Repeat("long-Value/42 ", 40),
	`日本"語-q9Zw`,
	"Plain0For1Twenty2Byte&then<not>\"any'",
}

// oneSpecial returns values with a single character that some writer escapes.
func oneSpecial() (all []string) {
	for c := rune(1); c < 0x100; c++ {
		all = append(all, "Zq8w"+string(c)+"T5xyz0", string(c)+"Zq8wT5xyz0", "Zq8wT5xyz0"+string(c))
	}
	return all
}

// printed returns s as the writers of the standard library print it.
func printed(s string) map[string]string {
	encode := func(s string) string {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		_ = e.Encode(s)
		return strings.TrimSuffix(b.String(), "\n")
	}
	lower := strings.NewReplacer("%2F", "%2f", "%3A", "%3a", "%3D", "%3d", "%2B", "%2b", "%C3", "%c3", "%0A", "%0a", "%3F", "%3f").Replace
	var x bytes.Buffer
	_ = xml.EscapeText(&x, []byte(s))
	json1 := must(json.Marshal(s))
	user := url.URL{Scheme: "postgres", Host: "db", User: url.UserPassword("app", s)}
	forms := map[string]string{
		"plain":            s,
		"JSON":             encode(s),
		"JSON for HTML":    json1,
		"JSON in JSON":     must(json.Marshal(json1)),
		"%q":               fmt.Sprintf("%q", s),
		"%+q":              fmt.Sprintf("%+q", s),
		"%q in JSON":       encode(fmt.Sprintf("%q", s)),
		"XML":              x.String(),
		"XML by names":     strings.NewReplacer("&#34;", "&quot;", "&#39;", "&apos;").Replace(x.String()),
		"XML, mixed":       strings.NewReplacer("&#34;", "&quot;", "&#39;", "&#x27;").Replace(x.String()),
		"query":            url.QueryEscape(s),
		"query with %20":   strings.ReplaceAll(url.QueryEscape(s), "+", "%20"),
		"path":             url.PathEscape(s),
		"whole path":       (&url.URL{Scheme: "https", Host: "h", Path: "/x/" + s}).String(),
		"fragment":         (&url.URL{Scheme: "https", Host: "h", Fragment: s}).String(),
		"URL with user":    user.String(),
		"%x":               hex.EncodeToString([]byte(s)),
		"%X":               fmt.Sprintf("%X", s),
		"bytes":            fmt.Sprint([]byte(s)),
		"base64":           base64.StdEncoding.EncodeToString([]byte(s)),
		"base64 URL":       base64.URLEncoding.EncodeToString([]byte(s)),
		"base64 raw":       base64.RawStdEncoding.EncodeToString([]byte(s)),
		"base64 user:pass": base64.StdEncoding.EncodeToString([]byte("application:" + s)),
		"base64 shift 1":   base64.StdEncoding.EncodeToString([]byte("u:x:" + s + "\n")),
		"base64 shift 2":   base64.URLEncoding.EncodeToString([]byte("u:" + s + "\x00\xff")),
	}
	for _, name := range []string{"query", "query with %20", "path", "URL with user"} {
		forms[name+" in lower case"] = lower(forms[name])
	}
	return forms
}

// naive is the reference: it searches for every phrase at every position.
func naive(text string, phrases []string) string {
	hidden := make([]bool, len(text))
	for i := range text {
		for _, p := range phrases {
			if strings.HasPrefix(text[i:], p) {
				for k := range p {
					hidden[i+k] = true
				}
			}
		}
	}
	var b strings.Builder
	for i := range text {
		if !hidden[i] {
			b.WriteByte(text[i])
		} else if i == 0 || !hidden[i-1] {
			b.WriteString(mark)
		}
	}
	return b.String()
}

// privateKey returns a text like an RSA key of 4,096 bits in PEM, and one of its lines.
func privateKey(random *rand.Rand) (key, line string) {
	raw := make([]byte, 2350)
	for i := range raw {
		raw[i] = byte(random.Uint32())
	}
	var b strings.Builder
	b.WriteString("-----BEGIN PRIVATE KEY-----\n")
	for part := range slices.Chunk(raw, 48) {
		line = cmp.Or(line, base64.StdEncoding.EncodeToString(part))
		b.WriteString(base64.StdEncoding.EncodeToString(part) + "\n")
	}
	b.WriteString("-----END PRIVATE KEY-----\n")
	return b.String(), line
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

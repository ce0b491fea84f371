package secretstest_test

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// secret has characters that each notation escapes.
const secret = `kQ7"<z&9é/+W3mX%v?`

const harmless = "the request for database#password of team/app failed: permission denied; 12 34 56, 0x7f, aGVsbG8gd29ybGQ= 68656c6c6f"

func TestLeaksFindsEncodings(t *testing.T) {
	join := func(verb, separator string) string {
		var parts []string
		for _, c := range []byte(secret) {
			parts = append(parts, fmt.Sprintf(verb, c))
		}
		return strings.Join(parts, separator)
	}
	asJSON := func(v any) string {
		b, _ := json.Marshal(v)
		return string(b)
	}
	var x bytes.Buffer
	_ = xml.EscapeText(&x, []byte(secret))
	for name, text := range map[string]string{
		"plain": secret,
		"upper": strings.Map(func(r rune) rune {
			if 'a' <= r && r <= 'z' {
				return r - 'a' + 'A'
			}
			return r
		}, secret),
		"hex":                       hex.EncodeToString([]byte(secret)),
		"hex upper":                 fmt.Sprintf("%X", secret),
		"hex with spaces":           fmt.Sprintf("% x", secret),
		"hex with prefixes":         fmt.Sprintf("%# x", secret),
		"Go bytes":                  fmt.Sprintf("%#v", []byte(secret)),
		"hex with colons":           join("%02X", ":"),
		"percent of all bytes":      join("%%%02X", ""),
		"escape of all bytes":       join(`\x%02x`, ""),
		"octal escape of all bytes": join(`\%03o`, ""),
		"decimal bytes":             fmt.Sprint([]byte(secret)),
		"decimal bytes with commas": join("%d", ","),
		"octal bytes":               fmt.Sprintf("%o", []byte(secret)),
		"binary bytes":              fmt.Sprintf("%b", []byte(secret)),
		"runes":                     fmt.Sprint([]rune(secret)),
		"code points":               fmt.Sprintf("%U", []rune(secret)),
		"characters":                fmt.Sprintf("%c", []rune(secret)),
		"quoted characters":         fmt.Sprintf("%q", []rune(secret)),
		"quoted":                    strconv.Quote(secret),
		"quoted to ASCII":           strconv.QuoteToASCII(secret),
		"JSON":                      asJSON(secret),
		"JSON in JSON":              asJSON(asJSON(map[string]string{"a": secret})),
		"XML":                       x.String(),
		"HTML":                      html.EscapeString(secret),
		"query":                     url.QueryEscape(secret),
		"query in lower case":       strings.ToLower(url.QueryEscape(secret)),
		"URL path":                  url.PathEscape(secret),
		"user of a URL":             (&url.URL{Scheme: "https", User: url.UserPassword("app", secret), Host: "host"}).String(),
		"base64":                    base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64 for URLs":           base64.RawURLEncoding.EncodeToString([]byte(secret)),
		"base64 after 1 byte":       base64.StdEncoding.EncodeToString([]byte("x" + secret + "yz")),
		"base64 after 2 bytes":      base64.StdEncoding.EncodeToString([]byte("xy" + secret + "z")),
		"base64 after 4 bytes, URL": base64.URLEncoding.EncodeToString([]byte("user" + secret)),
		"basic auth":                base64.StdEncoding.EncodeToString([]byte("app:" + secret)),
		"the beginning":             secret[:8] + "…",
		"the end":                   "…" + secret[len(secret)-8:],
		"the middle":                secret[5:14],
		"the beginning in hex":      fmt.Sprintf("%x…", secret[:8]),
		"the beginning in base64":   base64.StdEncoding.EncodeToString([]byte(secret))[:16] + "…",
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.True(len(secretstest.Leaks(secret, "before "+text+" after")) > 0)
			is.True(len(secretstest.Leaks(secret, []byte(text))) > 0)
			is.True(len(secretstest.Leaks(secret, errors.New(text))) > 0)
		})
	}
}

func TestLeaksIgnoresHarmlessValues(t *testing.T) {
	is := is.New(t)
	for _, output := range []any{
		"", harmless, nil, 42, []byte(harmless), errors.New(harmless), struct{ a string }{harmless},
		secret[:7], secret[len(secret)-7:], strings.Repeat("-", 100), base32.StdEncoding.EncodeToString([]byte("hello")),
		secrets.NewSecret(secret, secrets.Meta{}),
		&secrets.Error{Backend: "vault", Key: "team/app#password", Err: secrets.ErrNotFound, Detail: "no such field"},
	} {
		is.Equal(len(secretstest.Leaks(secret, output)), 0)
	}
	// Runs with few different bytes are ignored.
	is.Equal(len(secretstest.Leaks("================canary-4711", "a line\n================\n")), 0)
	is.True(len(secretstest.Leaks("================canary-4711", "=canary-")) > 0)
}

type (
	hidden struct {
		value string
	}
	pointed struct{ value *hidden }
	tree    struct {
		Value string
		next  *tree
	}
	usual struct{ value string } // like most redacting types
	noisy struct{ value string } // one method shows its value
)

func (usual) String() string               { return "[REDACTED]" }
func (usual) GoString() string             { return "[REDACTED]" }
func (usual) MarshalText() ([]byte, error) { return []byte("[REDACTED]"), nil }
func (usual) LogValue() slog.Value         { return slog.StringValue("[REDACTED]") }
func (usual) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte("[REDACTED]")) }

func (n noisy) MarshalJSON() ([]byte, error) { return nil, errors.New(n.value) }

type panicky struct{ f func() string }

func (p panicky) String() string { panic(p.f()) }

type closure struct{ f func() string }

func (c closure) LogValue() slog.Value { return slog.StringValue(c.f()) }

type wrapping struct{ errs []error }

func (wrapping) Error() string     { return "several" }
func (w wrapping) Unwrap() []error { return w.errs }

type carrying struct{ body []byte }

func (*carrying) Error() string { return "operation error" }

func TestLeaksLooksIntoValues(t *testing.T) {
	loop := &tree{Value: secret}
	loop.next = loop
	ring := map[string]any{"value": secret}
	ring["ring"] = ring
	recorder := httptest.NewRecorder()
	_, _ = recorder.WriteString(secret)
	ch := make(chan string, 1)
	for name, output := range map[string]any{
		"a named string":                 secrets.Ref{Path: secret},
		"a field":                        hidden{value: secret},
		"a pointer":                      &hidden{value: secret},
		"a pointer in an unexported one": pointed{&hidden{value: secret}},
		"a map":                          map[string]string{"a": secret},
		"the key of a map":               map[string]int{secret: 1},
		"a slice":                        []any{1, secret},
		"an array":                       [1]hidden{{value: secret}},
		"an array of bytes":              [8]byte([]byte(secret)),
		"runes":                          []rune(secret),
		"an interface":                   struct{ v any }{secret},
		"a value that points to itself":  loop,
		"a map that holds itself":        ring,
		"a buffer":                       bytes.NewBufferString(secret),
		"a recorded response":            recorder,
		"a URL":                          &url.URL{Host: "host", RawQuery: "token=" + url.QueryEscape(secret)},
		"an attribute":                   slog.String("a", secret),
		"the error of an encoder":        noisy{secret},
		"the text of a panic":            panicky{func() string { return secret }},
		"a method for logs":              closure{func() string { return secret }},
		"a redacting type by reflection": usual{secret},
		"an error in an error":           fmt.Errorf("outer: %w", &carrying{[]byte(secret)}),
		"an error deep within":           fmt.Errorf("a: %w", fmt.Errorf("b: %w", errors.Join(errors.New("c"), &carrying{[]byte(secret)}))),
		"an error of several":            wrapping{[]error{nil, errors.New("a"), &carrying{[]byte(secret)}}},
		"an Error's detail":              &secrets.Error{Err: secrets.ErrUnavailable, Detail: secret},
		"the cause of an Error": &secrets.Error{Err: secrets.ErrNotFound,
			Causes: []*secrets.Error{{Err: secrets.ErrUnknown, Detail: secret}}},
		"a pointer to a pointer":     new(&hidden{value: secret}),
		"a secret that was revealed": map[string]any{"s": secrets.NewSecret(secret, secrets.Meta{}).Reveal()},
		"a channel beside a value": struct {
			c chan string
			v string
		}{ch, secret},
		"many layers": []any{[]any{[]any{[]any{[]any{[]any{[]any{hidden{value: secret}}}}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			found := secretstest.Leaks(secret, output)
			is.New(t).True(len(found) > 0)
			for _, f := range found {
				is.New(t).True(!strings.Contains(f, secret[:8])) // a report quotes no value
			}
		})
	}
}

func TestLeaksReturnsForOddValues(t *testing.T) {
	var (
		none    *hidden
		noError *carrying
		endless = &unwrapsToItself{}
	)
	for _, output := range []any{none, noError, endless, ring(), func() {}, make(chan int), panicky{}, closure{}, [0]int{},
		map[string]int(nil)} {
		is.New(t).Equal(len(secretstest.Leaks(secret, output)), 0)
	}
}

func ring() []any {
	r := make([]any, 1)
	r[0] = r
	return r
}

type unwrapsToItself struct{}

func (*unwrapsToItself) Error() string   { return "again" }
func (u *unwrapsToItself) Unwrap() error { return u }

// secrets.Secret must not leak from any place of any value.
func TestASecretDoesNotLeak(t *testing.T) {
	s := secrets.NewSecret(secret, secrets.Meta{Backend: "fake"})
	secretstest.AssertNoLeak(t, secret, s, &s, struct{ s secrets.Secret }{s}, struct{ S *secrets.Secret }{&s},
		[]secrets.Secret{s}, map[string]secrets.Secret{"a": s}, secrets.Result{Secret: s}, fmt.Errorf("got %v", s),
		fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s))
}

func TestTheFakeDoesNotLeakInADump(t *testing.T) {
	b := secretstest.NewBackend(map[string]string{"database": secret})
	b.SetVersion("database", "pending", secret)
	client := newClient(t, b)
	get(t, client, "database")
	secretstest.AssertNoLeak(t, secret, b, client)
}

func TestALongSecretIsQuick(t *testing.T) {
	is := is.New(t)
	words := 8192
	if testing.Short() {
		words = 1024
	}
	var long strings.Builder
	for i := range words {
		fmt.Fprintf(&long, "%08x", i*2654435761)
	}
	middle := long.Len() / 2
	is.Equal(len(secretstest.Leaks(long.String(), strings.Repeat(harmless, 1000))), 0)
	is.True(len(secretstest.Leaks(long.String(), "…"+long.String()[middle:middle+100]+"…")) > 0)
}

// recorder is a testing.TB that records what an assertion reports.
type recorder struct {
	testing.TB
	errors []string
	fatal  bool
}

func (*recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	r.fatal = true
	runtime.Goexit()
}

func record(f func(t testing.TB)) *recorder {
	r := &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r
}

func TestAssertNoLeak(t *testing.T) {
	for name, tc := range map[string]struct {
		secret  string
		outputs []any
		errors  int
		fatal   bool
	}{
		"nothing shows":            {secret, []any{harmless, errors.New("a"), nil}, 0, false},
		"one output of two":        {secret, []any{harmless, "x" + secret}, 1, false},
		"both outputs":             {secret, []any{secret, []byte(secret)}, 2, false},
		"no output":                {secret, nil, 1, true},
		"no secret":                {"", []any{"text"}, 1, true},
		"a secret of few bytes":    {"12345", []any{"text"}, 1, true},
		"the shortest secret":      {"x7Kq2z", []any{harmless, struct{ s string }{"y"}}, 0, false},
		"the shortest secret, out": {"x7Kq2z", []any{`{"a":"X7KQ2Z"}`}, 1, false},
		"many ways are summed up":  {secret, []any{&hidden{value: secret}}, 11, false},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			r := record(func(t testing.TB) {
				t.Helper()
				secretstest.AssertNoLeak(t, tc.secret, tc.outputs...)
			})
			is.Equal(len(r.errors), tc.errors)
			is.Equal(r.fatal, tc.fatal)
			for _, e := range r.errors {
				is.True(tc.secret == "" || !strings.Contains(strings.ToLower(e), strings.ToLower(tc.secret)))
			}
		})
	}
}

func TestAShortSecretCountsAsALeak(t *testing.T) {
	is := is.New(t)
	is.True(len(secretstest.Leaks("", harmless)) > 0)
	is.True(len(secretstest.Leaks("12345", harmless)) > 0)
}

func TestLeaksOfBinary(t *testing.T) {
	is := is.New(t)
	binary := string([]byte{0, 0xff, 0xc3, 'A', 0x28, 7, 0x80, 0xfe, 0, 0xbb, 0x1f})
	for _, output := range []any{
		"x" + binary + "y", fmt.Sprintf("%x", binary), fmt.Sprintf("%q", binary), base64.StdEncoding.EncodeToString([]byte("ab" + binary)),
		[]byte(binary), struct{ b []byte }{[]byte(binary)}, fmt.Sprint([]byte(binary)),
	} {
		is.True(len(secretstest.Leaks(binary, output)) > 0)
	}
	is.Equal(len(secretstest.Leaks(binary, strings.Repeat("\x00\xff\ufffd", 100))), 0)
}

func FuzzLeaksFindsWhatIsThere(f *testing.F) {
	f.Add("canary-7f3Kq9", "before", "after", byte(0))
	f.Add("\xff\xfe\x00\x01\x02\x03", "", "", byte(3))
	encodings := []func(string) string{
		func(s string) string { return s },
		func(s string) string { return hex.EncodeToString([]byte(s)) },
		func(s string) string { return fmt.Sprint([]byte(s)) },
		func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		func(s string) string { return base64.URLEncoding.EncodeToString([]byte("1" + s)) },
		func(s string) string { return base64.StdEncoding.EncodeToString([]byte("12" + s + "3")) },
		strconv.Quote, strconv.QuoteToASCII, url.QueryEscape, url.PathEscape, html.EscapeString,
		func(s string) string { return fmt.Sprintf("%# x", s) },
	}
	f.Fuzz(func(t *testing.T, secret, before, after string, n byte) {
		if len(secret) < 6 || len(secret) > 4096 {
			return // too short to search for, or too long for a fast test
		}
		text := before + encodings[int(n)%len(encodings)](secret) + after
		if len(secretstest.Leaks(secret, text)) == 0 {
			t.Errorf("encoding %d of %q is not found", int(n)%len(encodings), secret)
		}
	})
}

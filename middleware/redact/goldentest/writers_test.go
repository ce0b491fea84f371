package goldentest_test

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"html"
	htmltemplate "html/template"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	texttemplate "text/template"

	"al.essio.dev/pkg/shellescape"
	"github.com/BurntSushi/toml"
	goccy "github.com/goccy/go-yaml"
	"github.com/lib/pq"
	"github.com/rs/zerolog"
	"github.com/sirupsen/logrus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"gopkg.in/yaml.v3"
	gorm "gorm.io/gorm/logger"
)

// writer prints a text as a library does.
type writer struct {
	name  string
	write func(text string) (string, error)

	depth int  // number of nested escapes, if more than one
	json  bool // prints JSON
	bytes bool // encodes each byte, such as base64: the marks are outside

	loose bool // prints more than the value between the marks

	// head and tail are how many characters before and after the mark may depend on the value or on the text that was encoded with it. In
	// base64, these are a character with bits of a neighbour, and the padding.
	head, tail int
}

// around returns value between before and after as w prints it.
func (w writer) around(before, value, after string) (string, error) {
	if w.bytes {
		out, err := w.write(value)
		return before + out + after, err
	}
	return w.write(before + value + after)
}

// timeless removes the time from logs.
var timeless = &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}}

// goWriters returns the writers in Go. They are pure functions, and are made once.
var goWriters = sync.OnceValue(func() []writer {
	all := []writer{
		{name: "no escapes", write: pure(func(s string) string { return s })},
		{name: "json", write: func(s string) (string, error) { return toJSON(s, true) }, json: true},
		{name: "json without SetEscapeHTML", write: func(s string) (string, error) { return toJSON(s, false) }, json: true},
		{name: "json in json", write: nested(2, true), depth: 2, json: true},
		{name: "json in json without SetEscapeHTML", write: nested(2, false), depth: 2, json: true},
		{name: "json three deep", write: nested(3, true), depth: 3, json: true},
		{name: "strconv.Quote", write: pure(strconv.Quote)},
		{name: "strconv.QuoteToASCII", write: pure(strconv.QuoteToASCII)},
		{name: "strconv.QuoteToGraphic", write: pure(strconv.QuoteToGraphic)},
		{name: "fmt %q", write: verb("%q")},
		{name: "fmt %+q", write: verb("%+q")},
		{name: "fmt %#q", write: verb("%#q")},
		{name: "fmt %+v of a struct", write: pure(func(s string) string { return fmt.Sprintf("%+v", struct{ V string }{s}) })},
		{name: "fmt %#v of a struct", write: pure(func(s string) string { return fmt.Sprintf("%#v", struct{ V string }{s}) })},
		{name: "slog text", write: logged(func(w io.Writer, s string) { slog.New(slog.NewTextHandler(w, timeless)).Info("m", "v", s) })},
		{name: "slog json", write: logged(func(w io.Writer, s string) {
			slog.New(slog.NewJSONHandler(w, timeless)).Info("m", "v", s)
		}), json: true},
		{name: "zap json", write: logged(func(w io.Writer, s string) { toZap(w, zapcore.NewJSONEncoder, s) }), json: true},
		{name: "zap console", write: logged(func(w io.Writer, s string) { toZap(w, zapcore.NewConsoleEncoder, s) })},
		{name: "zerolog json", write: logged(func(w io.Writer, s string) { toZerolog(w, s) }), json: true},
		{name: "zerolog console", write: logged(func(w io.Writer, s string) {
			toZerolog(zerolog.ConsoleWriter{Out: w, NoColor: true, PartsExclude: []string{zerolog.TimestampFieldName}}, s)
		})},
		{name: "logrus text", write: logged(func(w io.Writer, s string) {
			toLogrus(w, &logrus.TextFormatter{DisableColors: true, DisableTimestamp: true}, s)
		})},
		{name: "logrus json", write: logged(func(w io.Writer, s string) {
			toLogrus(w, &logrus.JSONFormatter{DisableTimestamp: true}, s)
		}), json: true},
		{name: "html.EscapeString", write: pure(html.EscapeString)},
		{name: "xml text", write: func(s string) (string, error) {
			out, err := xml.Marshal(struct {
				XMLName xml.Name `xml:"e"`
				V       string   `xml:",chardata"`
			}{V: s})
			return string(out), err
		}},
		{name: "xml attribute", write: func(s string) (string, error) {
			out, err := xml.Marshal(struct {
				XMLName xml.Name `xml:"e"`
				V       string   `xml:"v,attr"`
			}{V: s})
			return string(out), err
		}},
		{name: "url.QueryEscape", write: pure(url.QueryEscape)},
		{name: "url.PathEscape", write: pure(url.PathEscape)},
		{name: "url.UserPassword", write: pure(func(s string) string {
			return (&url.URL{Scheme: "amqp", Host: "mq:5672", User: url.UserPassword("svc", s)}).String()
		})},
		{name: "url.URL.Path", write: pure(func(s string) string { return (&url.URL{Scheme: "http", Host: "h", Path: "/" + s}).String() })},
		{name: "url.URL.Fragment", write: pure(func(s string) string { return (&url.URL{Path: "/", Fragment: s}).String() })},
		{name: "url.Values", write: pure(func(s string) string { return url.Values{"a": {"1"}, "v": {s}, "w": {"2"}}.Encode() })},
		{name: "csv", write: logged(func(w io.Writer, s string) {
			c := csv.NewWriter(w)
			_ = c.Write([]string{"a", s, "b"})
			c.Flush()
		})},
		{name: "sql", write: pure(func(s string) string { return "SELECT '" + strings.ReplaceAll(s, "'", "''") + "'" })},
		{name: "pq.QuoteLiteral", write: pure(pq.QuoteLiteral)},
		{name: "gorm log", write: pure(func(s string) string { return gorm.ExplainSQL("SELECT a FROM t WHERE v = ?", nil, "'", s) })},
		{name: "shell", write: pure(shellescape.Quote)},
		{name: "yaml", write: func(s string) (string, error) {
			out, err := yaml.Marshal(map[string]string{"v": s})
			return string(out), err
		}},
		{name: "goccy yaml", write: func(s string) (string, error) {
			out, err := goccy.Marshal(map[string]string{"v": s})
			return string(out), err
		}},
		{name: "toml", write: func(s string) (string, error) {
			out, err := toml.Marshal(map[string]string{"v": s})
			return string(out), err
		}},
	}
	contexts := map[string]string{
		"text":               `<p>{{.}}</p>`,
		"attribute":          `<a title="{{.}}">`,
		"unquoted attribute": `<a title={{.}}>`,
		"JS value":           `<script>f({{.}})</script>`,
		"JS in quotes":       `<script>f("{{.}}")</script>`,
		"JS in single":       `<script>f('{{.}}')</script>`,
		"JS in backquotes":   "<script>f(`{{.}}`)</script>",
		"JS in an attribute": `<a onclick="f({{.}})">`,
		"URL query":          `<a href="/?q={{.}}">`,
		"URL path":           `<a href="/p/{{.}}">`,
		"JSON in a script":   `<script type="application/json">{"v":{{.}}}</script>`,
	}
	for _, context := range slices.Sorted(maps.Keys(contexts)) {
		parsed := htmltemplate.Must(htmltemplate.New("").Parse(contexts[context]))
		depth := 1
		if context == "JS in an attribute" {
			depth = 2
		}
		all = append(all, writer{name: "html/template " + context, depth: depth, write: func(s string) (string, error) {
			var b strings.Builder
			err := parsed.Execute(&b, s)
			return b.String(), err
		}})
	}
	for _, function := range []string{"html", "js", "urlquery"} {
		parsed := texttemplate.Must(texttemplate.New("").Parse("f {{" + function + " .}} g"))
		all = append(all, writer{name: "text/template " + function, write: func(s string) (string, error) {
			var b strings.Builder
			err := parsed.Execute(&b, s)
			return b.String(), err
		}})
	}
	return append(all, byteWriters()...)
})

// byteWriters returns the writers that encode each byte.
func byteWriters() []writer {
	// After a mark in base64: a character with bits of the value, one without, and the padding.
	const behind = 4
	all := []writer{
		{name: "base64", write: in64(base64.StdEncoding), tail: behind},
		{name: "base64 raw", write: in64(base64.RawStdEncoding), tail: behind},
		{name: "base64 URL", write: in64(base64.URLEncoding), tail: behind},
		{name: "base64 raw URL", write: in64(base64.RawURLEncoding), tail: behind},
		{name: "base64 of a basic auth", write: pure(func(s string) string {
			return base64.StdEncoding.EncodeToString([]byte("app:" + s))
		}), head: 6, tail: behind},
		{name: "base64 at 2", write: pure(func(s string) string {
			return base64.StdEncoding.EncodeToString([]byte("a:" + s + "\n"))
		}), head: 3, tail: behind},
		{name: "base64 at 3", write: pure(func(s string) string {
			return base64.StdEncoding.EncodeToString([]byte("ab:" + s + "\r\n"))
		}), head: 4, tail: behind + 4},
		{name: "lines of 76", write: pure(func(s string) string { return inLines(s, 76, "\r\n") })},
		{name: "lines of 64", write: pure(func(s string) string { return inLines(s, 64, "\n") })},
		{name: "base64 in lines of 76", write: pure(func(s string) string {
			return inLines(base64.StdEncoding.EncodeToString([]byte(s)), 76, "\r\n")
		}), tail: behind},
		{name: "base64 in lines of 64", write: pure(func(s string) string {
			return inLines(base64.StdEncoding.EncodeToString([]byte(s)), 64, "\n")
		}), tail: behind},
		{name: "pem", write: pure(func(s string) string {
			return string(pem.EncodeToMemory(&pem.Block{Type: "SECRET", Bytes: []byte(s)}))
		}), head: len("-----BEGIN SECRET-----\n"), tail: behind + len("\n-----END SECRET-----\n")},
		{name: "hex", write: pure(func(s string) string { return hex.EncodeToString([]byte(s)) })},
		{name: "fmt %x", write: verb("%x")},
		{name: "fmt %X", write: verb("%X")},
		{name: "fmt %v of bytes", write: pure(func(s string) string { return fmt.Sprintf("%v", []byte(s)) }), head: 1, tail: 1},
		{name: "fmt %d of bytes", write: pure(func(s string) string { return fmt.Sprintf("%d", []byte(s)) }), head: 1, tail: 1},
		{name: "json of an array of bytes", write: func(s string) (string, error) {
			numbers := make([]int, len(s))
			for i := range numbers {
				numbers[i] = int(s[i])
			}
			out, err := json.Marshal(numbers)
			return string(out), err
		}, head: 1, tail: 1},
		{name: "json of bytes", write: func(s string) (string, error) {
			out, err := json.Marshal([]byte(s))
			return string(out), err
		}, head: 1, tail: behind + 1},
	}
	for i := range all {
		all[i].bytes = true
	}
	return all
}

// levels returns how many escapes w puts around a text.
func (w writer) levels() int { return max(1, w.depth) }

func pure(f func(string) string) func(string) (string, error) {
	return func(s string) (string, error) { return f(s), nil }
}

func in64(e *base64.Encoding) func(string) (string, error) {
	return func(s string) (string, error) { return e.EncodeToString([]byte(s)), nil }
}

func verb(format string) func(string) (string, error) {
	return func(s string) (string, error) { return fmt.Sprintf(format, s), nil }
}

func logged(f func(w io.Writer, s string)) func(string) (string, error) {
	return func(s string) (string, error) {
		var b strings.Builder
		f(&b, s)
		return b.String(), nil
	}
}

// inLines cuts text into lines of width characters.
func inLines(text string, width int, end string) string {
	var b strings.Builder
	for len(text) > width {
		b.WriteString(text[:width] + end)
		text = text[width:]
	}
	return b.String() + text
}

func toJSON(s string, escapeHTML bool) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escapeHTML)
	err := e.Encode(map[string]string{"a": "1", "v": s, "w": "2"})
	return strings.TrimSuffix(b.String(), "\n"), err
}

func nested(depth int, escapeHTML bool) func(string) (string, error) {
	return func(s string) (string, error) {
		var err error
		for range depth {
			if s, err = toJSON(s, escapeHTML); err != nil {
				return "", err
			}
		}
		return s, nil
	}
}

func toZap(w io.Writer, encoder func(zapcore.EncoderConfig) zapcore.Encoder, s string) {
	config := zap.NewProductionEncoderConfig()
	config.TimeKey = ""
	core := zapcore.NewCore(encoder(config), zapcore.AddSync(w), zap.InfoLevel)
	zap.New(core).Info("m", zap.String("v", s), zap.Int("w", 2))
}

func toZerolog(w io.Writer, s string) {
	l := zerolog.New(w)
	l.Info().Str("v", s).Int("w", 2).Msg("m")
}

func toLogrus(w io.Writer, formatter logrus.Formatter, s string) {
	l := logrus.New()
	l.Out, l.Formatter = w, formatter
	l.WithField("v", s).Info("m")
}

package secrets_test

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/csv"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"expvar"
	"fmt"
	"go/ast"
	htmltemplate "html/template"
	"log"
	"log/slog"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"github.com/matryer/is"
	"gopkg.in/yaml.v3"

	"github.com/seed-5482dd03/secrets"
)

// canary is the value that must not leak. It begins with more than a window of plain letters: so an escaped copy
// is found too, and has a character for each kind of escaping after that.
const canary = `Zq7xWv9KtB2"p<3&y/Tn+5R %'\é`

// window is how many bytes of the canary in a row are a leak.
const window = 8

// detector finds a value in an output, whole or in windows, in the forms that formatting and encoding give it.
type detector struct {
	forms map[string]string // a lower-case form to its name
}

func newDetector(value string) *detector {
	d := &detector{forms: map[string]string{}}
	d.add("whole value", value)
	for i := 0; i+window <= len(value); i++ {
		d.add("window", value[i:i+window])
	}
	return d
}

func (d *detector) add(what, s string) {
	put := func(form, text string) {
		if len(text) >= window {
			d.forms[strings.ToLower(text)] = what + " as " + form
		}
	}
	put("itself", s)
	put("hex", hex.EncodeToString([]byte(s)))
	put("query escape", url.QueryEscape(s))
	put("path escape", url.PathEscape(s))
	put("Go string", strings.Trim(strconv.Quote(s), `"`))
	put("ASCII string", strings.Trim(strconv.QuoteToASCII(s), `"`))
	put("HTML", htmltemplate.HTMLEscapeString(s))
	put("JavaScript", htmltemplate.JSEscapeString(s))
	if text, err := json.Marshal(s); err == nil {
		put("JSON", strings.Trim(string(text), `"`))
	}
	var x bytes.Buffer
	if xml.EscapeText(&x, []byte(s)) == nil {
		put("XML", x.String())
	}
	// What stands before the value moves it against the groups of three bytes that base64 encodes: three alignments,
	// without the characters that depend on a neighbour.
	for before := range 3 {
		padded := append(make([]byte, before), s...)
		from, to := (before*8+5)/6, len(padded)*8/6
		for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			put(name, enc.EncodeToString(padded)[from:to])
		}
	}
	for _, verb := range []string{"%d", "%x", "0x%x", "%#02x", "%#o", "%o", "0o%o", "%b", "U+%04X", "%c", "%q"} {
		for _, separator := range []string{" ", ", ", ","} {
			parts := make([]string, len(s))
			for i := range len(s) {
				parts[i] = fmt.Sprintf(verb, s[i])
			}
			put(verb+" list", strings.Join(parts, separator))
		}
	}
}

// find returns the form in which output holds the value, or "".
func (d *detector) find(output string) string {
	output = strings.ToLower(output)
	for form, name := range d.forms {
		if strings.Contains(output, form) {
			return name
		}
	}
	return ""
}

// sink is one way in which a value gets out of a program.
type sink struct {
	name string
	show func(v any) string
}

// format calls fmt with a format that go vet cannot see, as a logging wrapper does.
func format(verb string) sink {
	return sink{"fmt " + verb, func(v any) string { return fmt.Sprintf(verb, v) }}
}

func wrap(verb string) sink {
	return sink{"Errorf " + verb, func(v any) string {
		err := fmt.Errorf(verb, v)
		return fmt.Sprintf("%v %+v %#v %v", err, err, err, errors.Unwrap(err))
	}}
}

func orError(text []byte, err error) string { return fmt.Sprintf("%s %v %+v", text, err, err) }

func logged(name string, handler func(*bytes.Buffer) slog.Handler, write func(*slog.Logger, any)) sink {
	return sink{"slog " + name, func(v any) string {
		var b bytes.Buffer
		write(slog.New(handler(&b)), v)
		return b.String()
	}}
}

func textHandler(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) }
func jsonHandler(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) }

func textTemplate(source string) sink {
	t := template.Must(template.New("t").Parse(source))
	return sink{"text/template " + source, func(v any) string {
		var b bytes.Buffer
		err := t.Execute(&b, v)
		return orError(b.Bytes(), err)
	}}
}

func htmlTemplate(source string) sink {
	t := htmltemplate.Must(htmltemplate.New("t").Parse(source))
	return sink{"html/template " + source, func(v any) string {
		var b bytes.Buffer
		err := t.Execute(&b, v)
		return orError(b.Bytes(), err)
	}}
}

func sinks() []sink {
	var all []sink
	for _, verb := range []string{
		"%v", "%+v", "%#v", "%s", "%q", "%+q", "%#q", "%x", "%X", "% x", "%#x", "%# X", "%d", "%+d", "%o", "%O", "%b", "%c", "%U", "%#U",
		"%e", "%E", "%f", "%F", "%g", "%G", "%t", "%p", "%T", "%w", "%80v", "%-80s", "%.9s", "%!", "%z",
	} {
		all = append(all, format(verb))
	}
	return append(all,
		wrap("%w"), wrap("%v"), wrap("%+v"), wrap("%q"),
		sink{"Print", func(v any) string { return fmt.Sprint(v) }},
		sink{"Print of two", func(v any) string { return fmt.Sprint(v, v) }},
		sink{"Println", func(v any) string { return fmt.Sprintln("value:", v) }},
		sink{"Append", func(v any) string { return string(fmt.Appendf(nil, "%v", v)) }},
		sink{"log.Printf", func(v any) string {
			var b bytes.Buffer
			log.New(&b, "", 0).Printf("%v %+v", v, v)
			return b.String()
		}},
		sink{"log.Panic", func(v any) (text string) {
			var b bytes.Buffer
			defer func() { text = fmt.Sprint(b.String(), recover()) }()
			log.New(&b, "", 0).Panic(v)
			return ""
		}},
		sink{"panic, recovered", func(v any) (text string) {
			defer func() { text = fmt.Sprintf("panic: %v", recover()) }()
			panic(v)
		}},
		sink{"errors.Join of a text", func(v any) string { return fmt.Sprint(errors.Join(fmt.Errorf("%v", v), errors.New("x"))) }},
		sink{"a diff of a test", func(v any) string { return fmt.Sprintf("got %v, want %#v", v, []any{v}) }},
		sink{"json", func(v any) string { return orError(json.Marshal(v)) }},
		sink{"json indented", func(v any) string { return orError(json.MarshalIndent(v, "", " ")) }},
		sink{"json in a map", func(v any) string { return orError(json.Marshal(map[string]any{"v": v})) }},
		sink{"json in a list", func(v any) string { return orError(json.Marshal([]any{v, &v})) }},
		sink{"json unescaped", func(v any) string {
			var b bytes.Buffer
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			err := e.Encode(v)
			return orError(b.Bytes(), err)
		}},
		sink{"xml", func(v any) string { return orError(xml.Marshal(v)) }},
		sink{"xml element", func(v any) string {
			return orError(xml.Marshal(struct {
				XMLName xml.Name `xml:"x"`
				V       any      `xml:"v"`
			}{V: v}))
		}},
		sink{"xml attribute", func(v any) string {
			return orError(xml.Marshal(struct {
				XMLName xml.Name `xml:"x"`
				V       any      `xml:"v,attr"`
			}{V: v}))
		}},
		sink{"gob", func(v any) string {
			var b bytes.Buffer
			err := gob.NewEncoder(&b).Encode(v)
			return orError(b.Bytes(), err)
		}},
		sink{"yaml", func(v any) (text string) {
			defer func() { // it panics for what it cannot encode
				if p := recover(); p != nil {
					text = fmt.Sprint(p)
				}
			}()
			return orError(yaml.Marshal(v))
		}},
		sink{"yaml in a map", func(v any) (text string) {
			defer func() {
				if p := recover(); p != nil {
					text = fmt.Sprint(p)
				}
			}()
			return orError(yaml.Marshal(map[string]any{"v": v}))
		}},
		sink{"asn1", func(v any) string { return orError(asn1.Marshal(v)) }},
		sink{"encoding/binary", func(v any) string { return orError(binary.Append(nil, binary.LittleEndian, v)) }},
		sink{"csv", func(v any) string {
			var b bytes.Buffer
			w := csv.NewWriter(&b)
			err := w.Write([]string{fmt.Sprint(v), fmt.Sprintf("%+v", v)})
			w.Flush()
			return orError(b.Bytes(), err)
		}},
		sink{"TextMarshaler", func(v any) string {
			if m, ok := v.(encoding.TextMarshaler); ok {
				return orError(m.MarshalText())
			}
			return ""
		}},
		sink{"BinaryMarshaler", func(v any) string {
			if m, ok := v.(encoding.BinaryMarshaler); ok {
				return orError(m.MarshalBinary())
			}
			return ""
		}},
		textTemplate(`{{.}}`), textTemplate(`{{printf "%+v %#v" . .}}`), textTemplate(`{{print .}}{{html .}}{{js .}}{{urlquery .}}`),
		textTemplate(`{{.S}}`),
		htmlTemplate(`<p>{{.}}</p>`), htmlTemplate(`<a title="{{.}}" href="/?q={{.}}">`), htmlTemplate(`<script>var v = {{.}}</script>`),
		logged("text", textHandler, func(l *slog.Logger, v any) { l.Info("m", "v", v) }),
		logged("json", jsonHandler, func(l *slog.Logger, v any) { l.Info("m", "v", v) }),
		logged("text group", textHandler, func(l *slog.Logger, v any) { l.WithGroup("g").Info("m", slog.Group("h", "v", v)) }),
		logged("json group", jsonHandler, func(l *slog.Logger, v any) { l.WithGroup("g").Info("m", slog.Group("h", "v", v)) }),
		logged("text With", textHandler, func(l *slog.Logger, v any) { l.With("v", v).Info("m") }),
		logged("json With", jsonHandler, func(l *slog.Logger, v any) { l.With("v", v).Info("m") }),
		logged("text Any", textHandler, func(l *slog.Logger, v any) { l.LogAttrs(context.Background(), slog.LevelError, "m", slog.Any("v", v)) }),
		logged("json Any", jsonHandler, func(l *slog.Logger, v any) { l.LogAttrs(context.Background(), slog.LevelError, "m", slog.Any("v", v)) }),
		logged("json in a list", jsonHandler, func(l *slog.Logger, v any) { l.Info("m", "v", []any{v}) }),
		logged("message", textHandler, func(l *slog.Logger, v any) { l.Info(fmt.Sprintf("%+v", v)) }),
		logged("missing key", textHandler, func(l *slog.Logger, v any) { l.Info("m", v) }), // the mistake is the case
		sink{"expvar", func(v any) string { return expvar.Func(func() any { return v }).String() }},
		sink{"sql parameter", func(v any) string {
			value, err := driver.DefaultParameterConverter.ConvertValue(v)
			return fmt.Sprintf("%v %v", value, err)
		}},
		sink{"sql not null", func(v any) string {
			value, err := driver.NotNull{Converter: driver.String}.ConvertValue(v)
			return fmt.Sprintf("%v %v", value, err)
		}},
		sink{"go/ast dump", func(v any) string {
			var b bytes.Buffer
			err := ast.Fprint(&b, nil, v, nil)
			return orError(b.Bytes(), err)
		}},
		sink{"reflection", func(v any) string { return dump(v, false) }},
		sink{"reflection, texts only", func(v any) string { return dump(v, true) }},
	)
}

// dump shows v as the dumpers of the field do with their method calls switched off: it follows pointers, interfaces, maps
// and unexported fields.
func dump(v any, textsOnly bool) string {
	var b strings.Builder
	seen := map[uintptr]bool{}
	var walk func(v reflect.Value, depth int)
	walk = func(v reflect.Value, depth int) {
		if depth > 20 || !v.IsValid() {
			return
		}
		if !textsOnly {
			b.WriteString(v.Type().String() + " ")
		}
		switch v.Kind() {
		case reflect.String:
			b.WriteString(strconv.Quote(v.String()) + "\n")
		case reflect.Pointer:
			if v.IsNil() || seen[v.Pointer()] {
				return
			}
			seen[v.Pointer()] = true
			walk(v.Elem(), depth+1)
		case reflect.Interface:
			walk(v.Elem(), depth+1)
		case reflect.Struct:
			for i := range v.NumField() {
				b.WriteString(v.Type().Field(i).Name + ": ")
				walk(v.Field(i), depth+1)
			}
		case reflect.Slice, reflect.Array:
			if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
				fmt.Fprintf(&b, "%q ", v.Bytes())
			}
			for i := range v.Len() {
				walk(v.Index(i), depth+1)
			}
		case reflect.Map:
			for iter := v.MapRange(); iter.Next(); {
				walk(iter.Key(), depth+1)
				walk(iter.Value(), depth+1)
			}
		case reflect.Func, reflect.Chan, reflect.UnsafePointer:
			fmt.Fprintf(&b, "%#x ", v.Pointer())
		case reflect.Bool:
			fmt.Fprint(&b, v.Bool(), " ")
		case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
			fmt.Fprint(&b, v.Int(), " ")
		case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
			fmt.Fprint(&b, v.Uint(), " ")
		default:
			b.WriteString(v.Kind().String())
		}
	}
	walk(reflect.ValueOf(v), 0)
	return b.String()
}

// The holders of a value. Most redacting types leak as an unexported field, whose methods fmt cannot call.
type (
	exported[T any]      struct{ S T }
	unexported[T any]    struct{ s T }
	pointerField[T any]  struct{ S *T }
	hiddenPointer[T any] struct{ s *T }
	hiddenAny            struct{ v any }
	nested[T any]        struct {
		Name  string
		Inner []unexported[T]
		more  map[string]*unexported[T]
	}
	// failure is an error type as applications write them: an *Error of the Client, and what was at hand.
	failure[T any] struct {
		*secretsError
		with T
	}
	secretsError    = secrets.Error // a field named Error would hide the method
	listNode[T any] struct {
		s    T
		next *listNode[T]
	}
)

type contextKey struct{}

// shape is a way to hold a value of type T.
type shape[T any] struct {
	name string
	of   func(v T) any
}

func shapes[T any](embed func(T) any) []shape[T] {
	return append(embeddings(embed), []shape[T]{
		{"direct", func(v T) any { return v }},
		{"pointer", func(v T) any { return &v }},
		{"pointer to pointer", func(v T) any { p := &v; return &p }},
		{"exported field", func(v T) any { return exported[T]{v} }},
		{"pointer to exported field", func(v T) any { return &exported[T]{v} }},
		{"unexported field", func(v T) any { return unexported[T]{v} }},
		{"pointer to unexported field", func(v T) any { return &unexported[T]{v} }},
		{"pointer field", func(v T) any { return pointerField[T]{&v} }},
		{"unexported pointer field", func(v T) any { return hiddenPointer[T]{&v} }},
		{"unexported any field", func(v T) any { return hiddenAny{v} }},
		{"unexported any field, pointer", func(v T) any { return &hiddenAny{&v} }},
		{"slice", func(v T) any { return []T{v, v} }},
		{"array", func(v T) any { return [1]T{v} }},
		{"slice of pointers", func(v T) any { return []*T{&v} }},
		{"map value", func(v T) any { return map[string]T{"k": v} }},
		{"list of any", func(v T) any { return []any{1, v, &v} }},
		{"map of any", func(v T) any { return map[string]any{"k": v, "l": unexported[T]{v}} }},
		{"nested", func(v T) any {
			return nested[T]{"n", []unexported[T]{{v}}, map[string]*unexported[T]{"m": {v}}}
		}},
		{"linked list", func(v T) any { return &listNode[T]{v, &listNode[T]{s: v}} }},
		{"text of an error", func(v T) any { return fmt.Errorf("dial %v", unexported[T]{v}) }},
		{"error type", func(v T) any {
			return &failure[T]{&secrets.Error{Backend: "b", Key: "k", Err: secrets.ErrNotFound}, v}
		}},
		{"channel", func(v T) any { c := make(chan T, 1); c <- v; return c }},
		{"function", func(v T) any { return func() T { return v } }},
		{"context", func(v T) any { return context.WithValue(context.Background(), contextKey{}, v) }},
		{"slog value", func(v T) any { return slog.GroupValue(slog.Any("k", v), slog.Any("l", unexported[T]{v})) }},
	}...)
}

// embeddings are the shapes that embed makes.
func embeddings[T any](embed func(T) any) []shape[T] {
	return []shape[T]{
		{"embedded", embed},
		{"pointer to embedded", func(v T) any { e := embed(v); return &e }},
	}
}

// leaks runs every sink over value in shapes, calls report for each leak, and returns the number of leaks and of checks.
func leaks[T any](value T, shapes []shape[T], report func(sink, shape, how, output string)) (leaked, checks int) {
	d, sinks := newDetector(canary), sinks()
	found := map[string]string{} // an output to what the detector said of it
	for _, sh := range shapes {
		for _, si := range sinks {
			output := show(si, sh.of(value))
			checks++
			how, known := found[output]
			if !known {
				how = d.find(output)
				found[output] = how
			}
			if how != "" {
				leaked++
				report(si.name, sh.name, how, output)
			}
		}
	}
	return leaked, checks
}

// show calls the sink. The value of a panic is output too.
func show(s sink, v any) (output string) {
	defer func() {
		if p := recover(); p != nil {
			output = fmt.Sprintf("panic: %v", p)
		}
	}()
	return s.show(v)
}

// secretsOfAllKinds returns a Secret with the canary from each place that makes one.
func secretsOfAllKinds(t *testing.T) map[string]secrets.Secret {
	t.Helper()
	is := is.New(t)
	doc, err := json.Marshal(map[string]any{"password": canary, "list": []string{canary}})
	is.NoErr(err)
	client := open(t, newFake("plain", canary, "doc", string(doc)))
	all := map[string]secrets.Secret{
		"NewSecret":           secrets.NewSecret(canary, secrets.Meta{}),
		"NewSecret with Meta": secrets.NewSecret(canary, secrets.Meta{Backend: "b", Version: "v"}),
	}
	get := func(how string, s secrets.Secret, err error) {
		is.NoErr(err)
		all[how] = s
	}
	s, err := client.Get(t.Context(), "plain")
	get("Get", s, err)
	s, err = client.Get(t.Context(), "doc")
	get("Get of a document", s, err)
	s, err = client.Get(t.Context(), "doc#password")
	get("Get of a field", s, err)
	s, err = all["Get of a document"].Field("list")
	get("Field", s, err)
	s, err = all["Get of a document"].Field("password")
	get("Field of a document", s, err)
	var decoded struct{ Password, List secrets.Secret }
	err = all["Get of a document"].JSON(&decoded)
	get("JSON into a Secret", decoded.Password, err)
	get("JSON of a list into a Secret", decoded.List, err)
	s, err = client.GetOr(t.Context(), "none", canary)
	get("GetOr", s, err)
	s, err = client.Refresh(t.Context(), "plain")
	get("Refresh", s, err)
	many, err := client.GetMany(t.Context(), "plain")
	get("GetMany", many["plain"], err)
	for how, s := range all {
		if newDetector(canary).find(s.Reveal()) == "" {
			t.Fatalf("%s: the Secret does not hold the canary", how)
		}
	}
	return all
}

// aliased embeds a Secret under an unexported name: fmt finds its promoted methods, and reflection a field that it must
// not call.
type (
	secretAlias = secrets.Secret
	embedded    struct{ secrets.Secret }
	aliased     struct{ secretAlias }
	twice       struct {
		embedded
		other secrets.Secret
	}
)

func TestSecretLeaksNowhere(t *testing.T) {
	total := 0
	all := slices.Concat(
		shapes(func(s secrets.Secret) any { return embedded{s} }),
		embeddings(func(s secrets.Secret) any { return aliased{s} }),
		embeddings(func(s secrets.Secret) any { return twice{embedded{s}, s} }),
		embeddings(func(s secrets.Secret) any { return secrets.Result{Secret: s, Err: secrets.ErrNotFound} }),
	)
	for how, s := range secretsOfAllKinds(t) {
		_, checks := leaks(s, all, func(sink, shape, how2, output string) {
			t.Errorf("%s, %s of %s: the %s in %q", how, sink, shape, how2, brief(output))
		})
		total += checks
	}
	t.Logf("%d sinks × %d shapes, %d checks, on the Secret of every kind", len(sinks()), len(all), total)
	if len(sinks()) < 45 || len(shapes[string](nil)) < 13 {
		t.Error("the matrix has shrunk")
	}
}

// The types below are how redaction is usually written. The matrix must find the holes in each, or it proves nothing.
type (
	namedString  string
	usualSecret  struct{ value string }
	carefulInner struct{ value string }
	// careful has every method, and hides its value behind a pointer only.
	careful struct{ inner *carefulInner }
)

func (namedString) String() string { return "[REDACTED]" }

func (usualSecret) String() string               { return "[REDACTED]" }
func (usualSecret) MarshalJSON() ([]byte, error) { return []byte(`"[REDACTED]"`), nil }
func (usualSecret) LogValue() slog.Value         { return slog.StringValue("[REDACTED]") }

func (careful) Format(f fmt.State, _ rune)     { _, _ = f.Write([]byte("[REDACTED]")) }
func (careful) String() string                 { return "[REDACTED]" }
func (careful) GoString() string               { return "[REDACTED]" }
func (careful) MarshalText() ([]byte, error)   { return []byte("[REDACTED]"), nil }
func (careful) MarshalBinary() ([]byte, error) { return []byte("[REDACTED]"), nil }
func (careful) LogValue() slog.Value           { return slog.StringValue("[REDACTED]") }
func (careful) Value() (driver.Value, error)   { return nil, errors.New("no") }

func TestLeakMatrixFindsWeakTypes(t *testing.T) {
	none := func(string, string, string, string) {}
	for _, tc := range []struct {
		name string
		run  func() (leaked, checks int)
		want int // at least so many leaks
	}{
		{"string", func() (int, int) {
			return leaks(canary, shapes(func(s string) any { return struct{ string }{s} }), none)
		}, 1000},
		{"bytes", func() (int, int) {
			return leaks([]byte(canary), shapes(func(b []byte) any { return exported[[]byte]{b} }), none)
		}, 600},
		{"string type with String", func() (int, int) {
			return leaks(namedString(canary), shapes(func(s namedString) any { return struct{ namedString }{s} }), none)
		}, 300},
		{"struct with String, MarshalJSON, LogValue", func() (int, int) {
			return leaks(usualSecret{canary}, shapes(func(s usualSecret) any { return struct{ usualSecret }{s} }), none)
		}, 200},
		{"pointer with every method", func() (int, int) {
			return leaks(careful{&carefulInner{canary}}, shapes(func(s careful) any { return struct{ careful }{s} }), none)
		}, 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			leaked, checks := tc.run()
			t.Logf("%d of %d checks leak", leaked, checks)
			if leaked < tc.want {
				t.Errorf("the matrix finds %d leaks, want at least %d", leaked, tc.want)
			}
		})
	}
}

// Every sink and every shape must be able to leak. Otherwise a row of the matrix checks nothing.
func TestEverySinkAndShapeCanLeak(t *testing.T) {
	found := map[string]bool{}
	note := func(sink, shape, _, _ string) { found[sink], found[shape] = true, true }
	leaks(canary, shapes(func(s string) any { return struct{ string }{s} }), note)
	leaks(marshaler(canary), shapes(func(s marshaler) any { return struct{ marshaler }{s} }), note)
	leaks([]byte(canary), shapes(func(b []byte) any { return exported[[]byte]{b} }), note)
	// These show types and addresses alone, whatever they are given; they stand in the matrix because a type with a
	// method Format can break that.
	harmless := []string{"fmt %T", "fmt %p", "function", "channel"}
	for _, s := range sinks() {
		if !found[s.name] && !slices.Contains(harmless, s.name) {
			t.Errorf("the sink %s never leaks", s.name)
		}
	}
	for _, s := range shapes[string](nil) {
		if !found[s.name] && !slices.Contains(harmless, s.name) {
			t.Errorf("the shape %s never leaks", s.name)
		}
	}
}

// marshaler returns its value as bytes.
type marshaler string

func (m marshaler) MarshalText() ([]byte, error)   { return []byte(m), nil }
func (m marshaler) MarshalBinary() ([]byte, error) { return []byte(m), nil }

func TestDetector(t *testing.T) {
	is := is.New(t)
	d := newDetector(canary)
	part := canary[1 : 1+window]
	for name, output := range map[string]string{
		"plain":            "x" + canary + "x",
		"part":             "x" + part + "x",
		"upper":            strings.ToUpper(part),
		"hex":              hex.EncodeToString([]byte(part)),
		"upper hex":        fmt.Sprintf("%X", part),
		"spaced hex":       fmt.Sprintf("% x", part),
		"Go bytes":         fmt.Sprintf("%#v", []byte(part)),
		"decimal":          fmt.Sprint([]byte(part)),
		"octal":            fmt.Sprintf("%o", []byte(part)),
		"binary":           fmt.Sprintf("%b", []byte(part)),
		"code points":      fmt.Sprintf("%U", []byte(part)),
		"base64":           base64.StdEncoding.EncodeToString([]byte(part)),
		"base64 after one": base64.StdEncoding.EncodeToString([]byte("," + part + ",")),
		"base64 after two": base64.URLEncoding.EncodeToString([]byte(",," + part + ",")),
		"query":            url.QueryEscape(canary),
		"json of the end":  `\"p\u003c3\u0026y/Tn`,
		"xml of the end":   `&#34;p&lt;3&amp;y/Tn`,
		"quoted":           strconv.QuoteToASCII(canary),
	} {
		if d.find(output) == "" {
			t.Errorf("%s is not found in %q", name, output)
		}
	}
	is.Equal(d.find("[REDACTED] 0xc000012345 secrets.Secret"), "")
	is.Equal(d.find(canary[:window-1]), "") // less than a window is no leak
}

// What the redacting methods return is fixed: programs and their logs rely on it.
func TestSecretRedaction(t *testing.T) {
	s := secrets.NewSecret(canary, secrets.Meta{})
	for _, tc := range []struct {
		name string
		got  func() string
		want string
	}{
		{"String", s.String, "[REDACTED]"},
		{"GoString", s.GoString, "[REDACTED]"},
		{"Sprintf", func() string { return fmt.Sprintf("%s|%q|%#v|%x|%10d", s, s, s, s, s) }, strings.Repeat("[REDACTED]|", 4) + "[REDACTED]"},
		{"in a struct", func() string { return fmt.Sprintf("%+v", exported[secrets.Secret]{s}) }, "{S:[REDACTED]}"},
		{"json", func() string { return orError(json.Marshal(s)) }, `"[REDACTED]" <nil> <nil>`},
		{"json zero", func() string { return orError(json.Marshal(secrets.Secret{})) }, `"[REDACTED]" <nil> <nil>`},
		{"xml", func() string { return orError(xml.Marshal(s)) }, `<Secret>[REDACTED]</Secret> <nil> <nil>`},
		{"xml attr", func() string {
			return orError(xml.Marshal(struct {
				XMLName xml.Name       `xml:"x"`
				S       secrets.Secret `xml:"s,attr"`
			}{S: s}))
		}, `<x s="[REDACTED]"></x> <nil> <nil>`},
		{"yaml", func() string { return orError(yaml.Marshal(map[string]any{"s": s})) }, "s: '[REDACTED]'\n <nil> <nil>"},
		{"text", func() string { return orError(s.MarshalText()) }, "[REDACTED] <nil> <nil>"},
		{"binary", func() string { return orError(s.MarshalBinary()) }, "[REDACTED] <nil> <nil>"},
		{"gob", func() string { return orError(s.GobEncode()) }, "[REDACTED] <nil> <nil>"},
		{"slog", func() string { return s.LogValue().String() }, "[REDACTED]"},
		{"sql", func() string {
			_, err := driver.DefaultParameterConverter.ConvertValue(s)
			return err.Error()
		}, "secrets: a Secret is not a SQL value; pass Reveal() if that is what you mean"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(tc.got(), tc.want)
		})
	}
}

func TestSecretValue(t *testing.T) {
	is := is.New(t)
	meta := secrets.Meta{Backend: "b", Version: "7", Stale: true}
	s := secrets.NewSecret(canary, meta)
	is.Equal(s.Reveal(), canary)
	is.Equal(s.Meta(), meta)
	is.True(!s.IsZero())
	s.Bytes()[0] = '!' // a copy
	is.Equal(string(s.Bytes()), canary)

	var zero secrets.Secret
	is.Equal(zero.Reveal(), "")
	is.Equal(zero.Bytes(), nil)
	is.Equal(zero.Meta(), secrets.Meta{})
	is.True(zero.IsZero())
	is.Equal(zero.String(), "[REDACTED]")

	empty := secrets.NewSecret("", meta)
	is.True(!empty.IsZero()) // an empty value is a value
	is.True(empty.Equal(secrets.NewSecret("", secrets.Meta{})))
	is.True(!empty.Equal(zero) && !zero.Equal(empty))
	is.True(zero.Equal(secrets.Secret{}))
	is.True(s.Equal(secrets.NewSecret(canary, secrets.Meta{}))) // whatever the Meta
	is.True(!s.Equal(secrets.NewSecret(canary+" ", meta)))
	is.True(!reflect.TypeFor[secrets.Secret]().Comparable()) // == would not be constant time
}

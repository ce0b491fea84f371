package secrets_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

var fields = `{
  "user": "alice", "password": "p\u00e4ss\"w\\o\/rd\b\f\n\r\t",
  "port": 5432, "big": 12345678901234567890, "one": 1.0, "exp": 1e3, "minus": -0, "tiny": 1E-400,
"pi": 3.14159265358979323846264338327950288,
  "yes": true, "no": false, "none": null, "empty": "",
  "object": { "b" : 1,  "a":[ 1 , 2 ]}, "list": [ 10, "eleven", null, {"x":[ [7] ]} ],
  "a.b": "exact", "a": {"b": "nested", "c.d": "not reached", "c": {"d": "deep", "": "empty name"}},
  "x.y": null, "x": {"y": "hidden by null"},
  "q": {"0": "key zero", "-1": "key minus one", "01": "key 01"},
  "": "no name", ".": "dot", "Case": "upper", "case": "lower",
  "\u0075nicode": "escaped key", "clef": "\ud834\udd1e", "raw": "𝄞é", "nul": "\u0000", "fffd": "\ufffd",
  "a/b#c?d": "hostile key", "é": "é", "e\u0301": "decomposed",
  "nested json": "{\"k\":\"v\"}", "huge": "` + hugeText + `", "spaces": "  x  "
}`

var hugeText = strings.Repeat("0123456789abcdef", 4096)

func TestField(t *testing.T) {
	s := secrets.NewSecret(fields, secrets.Meta{Backend: "b", Version: "7"})
	found := map[string]string{
		"user": "alice", "password": "päss\"w\\o/rd\b\f\n\r\t",
		"port": "5432", "big": "12345678901234567890", "one": "1.0", "exp": "1e3", "minus": "-0", "tiny": "1E-400",
		"pi":  "3.14159265358979323846264338327950288",
		"yes": "true", "no": "false", "empty": "",
		"object": `{ "b" : 1,  "a":[ 1 , 2 ]}`, "object.a": "[ 1 , 2 ]", "object.a.1": "2",
		"list": `[ 10, "eleven", null, {"x":[ [7] ]} ]`, "list.0": "10", "list.1": "eleven", "list.3.x": "[ [7] ]",
		"list.3.x.0.0": "7",
		"a.b":          "exact", "a.c.d": "deep", "a.c.": "empty name",
		"a":   `{"b": "nested", "c.d": "not reached", "c": {"d": "deep", "": "empty name"}}`,
		"q.0": "key zero", "q.-1": "key minus one", "q.01": "key 01", // of an object, any text is a key
		"": "no name", ".": "dot", "Case": "upper", "case": "lower",
		"unicode": "escaped key", "clef": "𝄞", "raw": "𝄞é", "nul": "\x00", "fffd": "\ufffd",
		"a/b#c?d": "hostile key", "é": "é", "e\u0301": "decomposed",
		"nested json": `{"k":"v"}`, "huge": hugeText, "spaces": "  x  ",
	}
	for name, want := range found {
		t.Run("found "+name, func(t *testing.T) {
			is := is.New(t)
			got, err := s.Field(name)
			is.NoErr(err)
			is.Equal(brief(got.Reveal()), brief(want))
			is.True(got.Reveal() == want)
			is.Equal(got.Meta(), s.Meta()) // the Meta is that of the document
		})
	}
	for name, detail := range map[string]string{
		"missing": "the document has no field missing; it has 35 others",
		"USER":    "the document has no field USER; did you mean user?", "CASE": "",
		"none": "the field none is null", "list.2": "the field list.2 is null", "x.y": "the field x.y is null",
		"list.4": "", "list.-1": "", "list.01": "", "list.+1": "", "list.1e0": "", "list.0x1": "", "list.1_0": "", "list. 1": "", "list.": "",
		"list.99999999999999999999": "", "list.9223372036854775807": "", "list.length": "", "list.#": "",
		"user.0": "", "user.length": "", "port.0": "", "yes.x": "", "none.x": "", "nested json.k": "",
		"a..b": "", "a.": "", ".a": "", "..": "", "a.b.c": "", "a.c.d.e": "", "object.": "", "a\x00b": "",
		strings.Repeat("x.", 5000): "", "bad\xff": "", "line\nbreak": `the document has no field "line\nbreak"; it has 35 others`,
	} {
		t.Run("missing "+brief(name), func(t *testing.T) {
			is := is.New(t)
			got, err := s.Field(name)
			is.True(got.IsZero())
			var e *secrets.Error
			is.True(errors.As(err, &e))
			is.Equal(e.Err, secrets.ErrFieldNotFound)
			is.True(errors.Is(err, secrets.ErrNotFound))
			is.Equal(e.Backend, "b")
			if detail != "" {
				is.Equal(e.Detail, detail)
			}
			checkPrintable(t, err.Error())
			is.Equal(newDetector("alice-and-more").find(err.Error()), "")
		})
	}
}

// deep returns a document of n nested objects.
func deep(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }

func TestFieldRefusesDocuments(t *testing.T) {
	const (
		notUTF8   = "not valid UTF-8"
		notJSON   = "not JSON, or not JSON alone"
		notObject = "not a JSON object"
		twice     = "the same key twice in one object"
		half      = "half of a surrogate pair"
		tooDeep   = "nested more than 10000 levels deep"
	)
	bad := map[string]string{
		"": notJSON, " ": notJSON, "\n\t ": notJSON,
		"\ufeff{}": "a byte order mark", "\xff\xfe{\x00}\x00": "in UTF-16", "\xfe\xff\x00{\x00}": "in UTF-16",
		"\x00": notJSON, "\v{}": notJSON,
		"hunter2": notJSON, "p=a;q=b": notJSON, "-----BEGIN KEY-----": notJSON, "{a:1}": notJSON, "{'a':1}": notJSON, `{"a":1,}`: notJSON,
		`{"a":1`: notJSON, `{"a"}`: notJSON, `{"a":}`: notJSON, `{,}`: notJSON, `[1,]`: notJSON, `{"a":01}`: notJSON, `{"a":+1}`: notJSON,
		`{"a":.5}`: notJSON, `{"a":NaN}`: notJSON, `{"a":1} {"a":2}`: notJSON, `{"a":1}x`: notJSON, `{"a":1}]`: notJSON, "{\"a\":1}\x00": notJSON,
		`{"a":"` + "\n" + `"}`: notJSON, `{"a":"\x41"}`: notJSON, `{"a":"\u12"}`: notJSON, `{"a":"\`: notJSON, `// x` + "\n{}": notJSON,
		`{"a":tru}`:  notJSON,
		deep(10_001): tooDeep, strings.Repeat("[", 100_000): tooDeep, `{"a":["\\\"",` + deep(9_999) + "]}": tooDeep,
		strings.Repeat("[", 10_000): notJSON, strings.Repeat("]", 20_000): notJSON,
		`"a"`: notObject, "1": notObject, "null": notObject, "true": notObject, "[]": notObject, `[{"a":1}]`: notObject, ` "a" `: notObject,
		`{"a":1,"a":2}`: twice, `{"a":1,"b":2,"a":1}`: twice, `{"a":1,"\u0061":2}`: twice, `{"\u0061":1,"a":2}`: twice,
		`{"x":{"a":1,"a":2}}`:                   twice,
		`{"x":[1,{"y":[{"a":1,"b":2,"a":3}]}]}`: twice, `{"":1,"":2}`: twice, `{"\ud834\udd1e":1,"𝄞":2}`: twice, `{"\/":1,"/":2}`: twice,
		`{"a":"\ud834"}`: half, `{"a":"\udd1e"}`: half, `{"a":"\udd1e\ud834"}`: half, `{"a":"\ud834x"}`: half, `{"a":"\ud834\n"}`: half,
		`{"a":"\ud834\u0041"}`: half, `{"a":"\ud834\ud834\udd1e"}`: half, `{"\ud834":1}`: half, `{"x":[{"\udd1e":1}]}`: half,
		`{"a":"\uD834"}`:        half,
		`{"a":"\ud834\\udd1e"}`: half, `{"b":["\udfff"]}`: half,
		"{\"a\":\"\xff\"}": notUTF8, "{\"\xff\":1}": notUTF8, "\xff": notUTF8, "{}\xc3": notUTF8, "{\"a\":\"\xed\xa0\x80\"}": notUTF8,
	}
	for doc, want := range bad {
		t.Run(brief(doc), func(t *testing.T) {
			is := is.New(t)
			s := secrets.NewSecret(doc, secrets.Meta{Backend: "b"})
			got, err := s.Field("a")
			is.True(got.IsZero())
			var e *secrets.Error
			is.True(errors.As(err, &e))
			is.Equal(e.Err, secrets.ErrMalformed)
			is.Equal(e.Backend, "b")
			if !strings.Contains(e.Detail, want) {
				t.Errorf("%q, want %q", e.Detail, want)
			}
			if want != notObject {
				var v any
				is.True(errors.Is(s.JSON(&v), secrets.ErrMalformed)) // JSON refuses the same documents
			}
		})
	}
}

func TestFieldAcceptsOddDocuments(t *testing.T) {
	for doc, want := range map[string]string{
		"\r\n\t {\"a\" : 1 } \n": "1", `{"a":{}}`: "{}", `{"a":[]}`: "[]", `{"a":[[[]]]}`: "[[[]]]", `{"b":[],"a":"x"}`: "x",
		`{"b":{},"a":"x"}`:          "x",
		`{"b":[1,2,{"a":3}],"a":4}`: "4", `{"b":"}","a":"]"}`: "]", `{"b":"\"","a":"\\"}`: `\`, `{"\\":"x","a":"\\\""}`: `\"`,
		`{"A":1,"a":2}`:                   "2",
		`{"b":{"a":1},"c":{"a":1},"a":2}`: "2", `{"b":[{"a":1},{"a":1}],"a":2}`: "2", // the same key in different objects
		`{"a":-1.5E+10}`: "-1.5E+10", `{"a":"\\ud834"}`: `\ud834`, `{"a":"\ud834\udd1e\ud834\udd1e"}`: "𝄞𝄞", `{"a":"\uD834\uDD1E"}`: "𝄞",
		`{"a":"\ud834\udd1e"}`: "𝄞", deep(10_000): deep(9_999), "{\"a\":\"\u2028\x7f\"}": "\u2028\x7f", `{"a":0}`: "0",
		`{"b":"` + strings.Repeat(`[\"`, 10_001) + `","a":1}`:      "1",
		`{"b":[[]` + strings.Repeat(`,{},[]`, 10_001) + `],"a":1}`: "1", // many, not deep
	} {
		t.Run(brief(doc), func(t *testing.T) {
			is := is.New(t)
			got, err := secrets.NewSecret(doc, secrets.Meta{}).Field("a")
			is.NoErr(err)
			is.True(got.Reveal() == want)
		})
	}
}

// Field handles deep and large documents.
func TestFieldDeepAndHuge(t *testing.T) {
	is := is.New(t)
	got, err := secrets.NewSecret(deep(2000), secrets.Meta{}).Field(strings.TrimSuffix(strings.Repeat("a.", 2000), "."))
	is.NoErr(err)
	is.Equal(got.Reveal(), "1")

	var b strings.Builder
	b.WriteString("{")
	for i := range 20_000 {
		fmt.Fprintf(&b, `"key%d":"%s",`, i, hugeText[:50])
	}
	b.WriteString(`"last":"x"}`)
	got, err = secrets.NewSecret(b.String(), secrets.Meta{}).Field("last")
	is.NoErr(err)
	is.Equal(got.Reveal(), "x")
}

func TestFieldOfNothing(t *testing.T) {
	is := is.New(t)
	_, err := secrets.Secret{}.Field("a")
	is.True(errors.Is(err, secrets.ErrMalformed))
	is.Equal(err.Error(), "secrets: malformed: the document is not JSON, or not JSON alone")
	var v any
	is.True(errors.Is(secrets.Secret{}.JSON(&v), secrets.ErrMalformed))
}

// telltale is a type whose errors quote the value, as those of most decoders do.
type telltale struct{}

func (*telltale) UnmarshalJSON(text []byte) error { return fmt.Errorf("cannot read %s", text) }

type telltaleText struct{}

func (*telltaleText) UnmarshalText(text []byte) error { return &quoting{text: string(text)} }

// quoting is an error with the value in a field that its text does not show.
type quoting struct{ text string }

func (*quoting) Error() string { return "bad" }

func TestJSONQuotesNothing(t *testing.T) {
	d := newDetector(canary)
	quoted, err := json.Marshal(canary)
	if err != nil {
		t.Fatal(err)
	}
	word := string(quoted)
	number := "98765432109876543210"
	var (
		i      int
		f      float64
		s      string
		flag   bool
		at     time.Time
		bytes  []byte
		list   [1]int
		num    json.Number
		custom telltale
		text   telltaleText
		object struct {
			Port int `json:"port"`
		}
		unsettable map[telltaleKey]int
		closed     io.Reader
		nothing    *int
	)
	for _, tc := range []struct {
		name, doc string
		into      any
		plain     string // the error of encoding/json, which the control must catch: "leaks" or ""
	}{
		{"word into int", word, &i, ""},
		{"number overflow", number, &i, "leaks"},
		{"number into string", number, &s, ""},
		{"float overflow", "1e999", &f, ""},
		{"word into bool", word, &flag, ""},
		{"time", word, &at, "leaks"},
		{"base64", word, &bytes, ""},
		{"list", `{"a":1}`, &list, ""},
		{"number of a word", word, &num, "leaks"},
		{"UnmarshalJSON", word, &custom, "leaks"},
		{"UnmarshalText", word, &text, "leaks"},
		{"field", `{"port":` + word + `}`, &object, ""},
		{"map key", `{` + word + `:1}`, &unsettable, "leaks"},
		{"interface", word, &closed, ""},
		{"nil", word, nil, ""},
		{"nil pointer", word, nothing, ""},
		{"value", word, s, ""},
		{"map value", word, map[string]int(nil), ""},
		{"channel", word, make(chan int), ""},
		{"broken", "[" + word, &i, ""},
		{"trailing", word + word, &s, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := is.New(t)
			dn := newDetector(number)
			err := secrets.NewSecret(tc.doc, secrets.Meta{Backend: "b"}).JSON(tc.into)
			var e *secrets.Error
			is.True(errors.As(err, &e))
			is.Equal(e.Err, secrets.ErrMalformed)
			is.Equal(e.Backend, "b")
			for _, dd := range []*detector{d, dn} {
				is.Equal(dd.find(fmt.Sprintf("%v %+v %#v", err, err, err)+dump(err, false)), "")
			}
			foreign := json.Unmarshal([]byte(tc.doc), tc.into)
			is.True(foreign != nil)
			shown := fmt.Sprintf("%v", foreign) + dump(foreign, false)
			if tc.plain != "" && d.find(shown) == "" && dn.find(shown) == "" {
				t.Errorf("the control %v does not quote the value", foreign)
			}
		})
	}
}

type telltaleKey string

func (*telltaleKey) UnmarshalText(text []byte) error { return errors.New(string(text)) }

func TestJSON(t *testing.T) {
	is := is.New(t)
	var v struct {
		User string
		Port int
		Big  json.Number
	}
	s := secrets.NewSecret(`{"user":"alice","port":5432,"big":12345678901234567890}`, secrets.Meta{})
	is.NoErr(s.JSON(&v))
	is.Equal(v.User, "alice")
	is.Equal(v.Port, 5432)
	is.Equal(v.Big.String(), "12345678901234567890")
	var list []string
	is.NoErr(secrets.NewSecret(`["a","b"]`, secrets.Meta{}).JSON(&list)) // any value, not objects alone
	is.Equal(list, []string{"a", "b"})
	err := secrets.NewSecret(`{"port":"x"}`, secrets.Meta{Backend: "vault"}).JSON(&v)
	is.Equal(err.Error(), "secrets: vault: malformed: the field Port is a string, but the Go type is int")
}

// FuzzField compares Field with encoding/json, which is right unless it changes something silently.
func FuzzField(f *testing.F) {
	for _, doc := range []string{
		fields[:200] + `"x":1}`, `{"a":"b"}`, `{"a":1,"a":2}`, `{"a":"\ud834"}`, `{"a":"\ud834\udd1e"}`, `{"a":{"b":[1,"x"]}}`,
		`{"a.b":1,"a":{"b":2}}`,
		`[1]`, `null`, "", "{\"a\":\"\xff\"}", `{"a":1}x`, `{"\u0061":"\n"}`, deep(50), `{"":""}`, `{"a":-0.0e+1}`,
	} {
		for _, name := range []string{"a", "a.b", "a.b.1", "", ".", "a.0"} {
			f.Add(doc, name)
		}
	}
	f.Fuzz(func(t *testing.T, doc, name string) {
		got, err := secrets.NewSecret(doc, secrets.Meta{}).Field(name)
		if err != nil {
			if !got.IsZero() {
				t.Fatal("a Secret beside an error")
			}
			class := secrets.Class(err)
			if class != secrets.ErrMalformed && class != secrets.ErrFieldNotFound {
				t.Fatalf("class %v", class)
			}
			checkPrintable(t, err.Error())
			// The text of the error holds nothing of the document but the name of the field.
			if long := strings.Trim(doc, "{}[]\": "); len(long) >= 24 && !strings.Contains(name, long) && strings.Contains(err.Error(), long) {
				t.Fatalf("%v quotes %q", err, doc)
			}
		}
		want, class := oracle(doc, name)
		if secrets.Class(err) != class || err == nil && got.Reveal() != want {
			t.Fatalf("Field(%q) of %q: %s, want %q, %v", name, doc, text(got, err), want, class)
		}
	})
}

// oracle is Field by the token stream of encoding/json. It returns the class of the error.
func oracle(doc, name string) (string, error) {
	if !utf8.ValidString(doc) || !json.Valid([]byte(doc)) || changedSilently(doc) {
		return "", secrets.ErrMalformed
	}
	var top map[string]json.RawMessage
	if json.Unmarshal([]byte(doc), &top) != nil || top == nil {
		return "", secrets.ErrMalformed
	}
	raw, ok := top[name]
	if !ok {
		raw = json.RawMessage(doc)
		for step := range strings.SplitSeq(name, ".") {
			raw, ok = oracleStep(raw, step)
			if !ok {
				return "", secrets.ErrFieldNotFound
			}
		}
	}
	raw = bytes.TrimSpace(raw)
	var s *string
	switch {
	case string(raw) == "null":
		return "", secrets.ErrFieldNotFound
	case json.Unmarshal(raw, &s) == nil:
		return *s, nil
	default:
		return string(raw), nil
	}
}

func oracleStep(raw json.RawMessage, step string) (json.RawMessage, bool) {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) == nil {
		member, ok := object[step]
		return member, ok
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return nil, false
	}
	for i, element := range list {
		if strconv.Itoa(i) == step {
			return element, true
		}
	}
	return nil, false
}

// changedSilently reports whether encoding/json would lose something of the valid document doc: a duplicate key, or half of
// a surrogate pair. It finds the first by counting the keys of the token stream against those of the decoded maps, and the
// second by the replacement characters that no source text explains.
func changedSilently(doc string) bool {
	d := json.NewDecoder(strings.NewReader(doc))
	d.UseNumber()
	tokens, replaced := 0, 0
	for {
		token, err := d.Token()
		if err != nil {
			break
		}
		tokens++
		if s, ok := token.(string); ok {
			replaced += strings.Count(s, "\ufffd")
		}
	}
	lower := strings.ToLower(doc)
	own := strings.Count(doc, "\ufffd")
	for i := 0; i+6 <= len(lower); i++ {
		if lower[i] != '\\' {
			continue
		}
		if lower[i:i+6] == `\ufffd` {
			own++
		}
		i++ // what is escaped begins no escape of its own
	}
	if replaced != own {
		return true
	}
	var v any
	d = json.NewDecoder(strings.NewReader(doc))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return true
	}
	return countTokens(reflect.ValueOf(v)) != tokens
}

func countTokens(v reflect.Value) int {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	n := 1
	switch v.Kind() {
	case reflect.Map:
		n = 2
		for iter := v.MapRange(); iter.Next(); {
			n += 1 + countTokens(iter.Value())
		}
	case reflect.Slice:
		n = 2
		for i := range v.Len() {
			n += countTokens(v.Index(i))
		}
	}
	return n
}

// The error for a mistyped field lists the fields, and no values.
func TestFieldNotFoundNamesTheFields(t *testing.T) {
	many := make(map[string]string)
	for i := range 800 {
		many[fmt.Sprint("field-", i)] = "canary"
	}
	large, err := json.Marshal(many)
	is.New(t).NoErr(err)
	for name, tc := range map[string]struct{ doc, field, want string }{
		"of several":        {`{"user":"canary","password":"canary","a\nb":1}`, "pass", "its fields are \"a\\nb\", password, user"},
		"of one":            {`{"value":"canary"}`, "password", "its one field is value"},
		"of none":           {`{}`, "password", "it has none"},
		"in another case":   {`{"Password":"canary","user":1}`, "password", "did you mean Password?"},
		"in another style":  {`{"db_password":"canary","user":1}`, "dbPassword", "did you mean db_password?"},
		"of two that match": {`{"DB_password":"canary","DB-PASSWORD":1}`, "db.password", "did you mean DB-PASSWORD?"},
		"of many":           {string(large), "field", "it has 800 others"},
		"of many, near one": {string(large), "Field_77", "did you mean field-77?"},
		"in an object":      {`{"db":{"user":"canary"}}`, "db.password", "its one field is db"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			_, err := secrets.NewSecret(tc.doc, secrets.Meta{}).Field(tc.field)
			is.Equal(err.Error(), "secrets: field not found: the document has no field "+tc.field+"; "+tc.want)
		})
	}
}

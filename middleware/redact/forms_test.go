package redact_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
)

const mark = "[REDACTED]"

// scrubber returns what a layer that has seen values makes of the Detail of an error.
func scrubber(values ...string) func(detail string) string {
	var detail string
	layer := over(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		if i, err := strconv.Atoi(ref.Path); err == nil {
			return secrets.NewSecret(values[i], secrets.Meta{}), nil
		}
		return secrets.Secret{}, &secrets.Error{Err: secrets.ErrUnknown, Detail: detail}
	})
	for i := range values {
		_, _ = layer.Fetch(context.Background(), secrets.Ref{Path: strconv.Itoa(i)})
	}
	return func(text string) string {
		detail = text
		_, err := layer.Fetch(context.Background(), secrets.Ref{Path: "fails"})
		return err.(*secrets.Error).Detail
	}
}

var percent = regexp.MustCompile(`%[0-9A-F]{2}`)

// printed returns s in the forms in which libraries print it. It is made of the standard library alone.
func printed(s string) map[string]string {
	encode := func(html bool) string {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(html)
		_ = e.Encode(s)
		return strings.TrimSpace(b.String())
	}
	lower := func(s string) string { return percent.ReplaceAllStringFunc(s, strings.ToLower) }
	var x bytes.Buffer
	_ = xml.EscapeText(&x, []byte(s))
	named := strings.NewReplacer("&#34;", "&quot;", "&#39;", "&apos;").Replace(x.String())
	user := url.URL{Scheme: "postgres", Host: "db", User: url.UserPassword("app", s)}
	forms := map[string]string{
		"plain":            s,
		"JSON":             encode(false),
		"JSON for HTML":    encode(true),
		"%q":               fmt.Sprintf("%q", s),
		"%+q":              fmt.Sprintf("%+q", s),
		"XML":              x.String(),
		"XML by names":     named,
		"query":            url.QueryEscape(s),
		"query with %20":   strings.ReplaceAll(url.QueryEscape(s), "+", "%20"),
		"path":             url.PathEscape(s),
		"whole path":       (&url.URL{Scheme: "https", Host: "h", Path: "/x/" + s}).String(),
		"fragment":         (&url.URL{Scheme: "https", Host: "h", Fragment: s}).String(),
		"XML, mixed":       strings.NewReplacer("&#34;", "&quot;", "&#39;", "&#x27;").Replace(x.String()),
		"JSON in JSON":     string(must(json.Marshal(string(must(json.Marshal(s)))))),
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
	var quoted bytes.Buffer
	e := json.NewEncoder(&quoted)
	e.SetEscapeHTML(false)
	_ = e.Encode(fmt.Sprintf("%q", s))
	forms["%q in JSON"] = quoted.String()
	for _, name := range []string{"query", "query with %20", "path", "URL with user"} {
		forms[name+" in lower case"] = lower(forms[name])
	}
	return forms
}

func must(text []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return text
}

// The values show no 8 bytes that the frame of a form might have.
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
	"----",
	"~tilde~and.dots_-",
	"aaaaaaaaaaaa",
	strings.Repeat("long-Value/42 ", 40),
	`日本"語-q9Zw`,                             // its fourth byte is within a rune
	"Plain0For1Twenty2Byte&then<not>\"any'", // escaped far from where it begins
}

// one returns values with a single character that some form escapes.
func one() []string {
	var all []string
	for c := rune(1); c < 0x100; c++ {
		all = append(all, "Zq8"+string(c)+"wT5x", string(c)+"Zq8wT5x", "Zq8wT5x"+string(c))
	}
	return all
}

func TestEveryPrintedFormOfAValueIsHidden(t *testing.T) {
	for _, value := range slices.Concat(values, one()) {
		scrub, blind := scrubber("another value", value, "and one more"), scrubber("another value")
		for name, form := range printed(value) {
			is := is.New(t)
			detail := "the server said «" + form + "» to us"
			got := scrub(detail)
			is.True(strings.HasPrefix(got, "the server said «"))
			is.True(strings.HasSuffix(got, "» to us"))
			is.True(strings.Contains(got, mark))
			if !slices.Contains(values, value) || len(value) < 8 {
				continue // for the sake of time
			}
			if leaks := secretstest.Leaks(value, got); len(leaks) > 0 {
				t.Errorf("%q as %s: %s: %v", value, name, got, leaks)
			}
			// The control: who has not seen the value cannot hide it.
			is.Equal(blind(detail), detail)
		}
	}
}

// In prose of any alignment, a form is replaced as a whole and nothing beside it.
// An array of bytes is a list in JSON.
func TestAListOfBytesIsHidden(t *testing.T) {
	for _, value := range []string{"hunter2-Zx9!", "pässwörd-日本語-😀-9q"} {
		is := is.New(t)
		list := fmt.Sprintf("[%s]", strings.ReplaceAll(strings.Trim(fmt.Sprint([]byte(value)), "[]"), " ", ","))
		is.Equal(scrubber(value)(list), "["+mark+"]")
		is.Equal(streamed(t, knowing(value), list), "["+mark+"]")
		is.Equal(scrubber("another value")(list), list) // the control
	}
}

func TestAFormIsReplacedExactly(t *testing.T) {
	for _, value := range slices.Concat(values, one()) {
		scrub := scrubber(value)
		for _, name := range []string{"plain", "XML", "XML by names", "query", "query with %20", "path", "%x", "%X"} {
			form := printed(value)[name]
			is.New(t).Equal(scrub("«"+form+"» and «"+form+form+"»"), "«"+mark+"» and «"+mark+"»")
		}
		for _, name := range []string{"JSON", "JSON for HTML", "%q", "%+q"} {
			is.New(t).Equal(scrub("in "+printed(value)[name]+"."), `in "`+mark+`".`)
		}
	}
}

func TestThePartsOfADocumentAreHidden(t *testing.T) {
	document := `{
		"user": "application",
		"password": "p\u0061ss\/word",
		"port": 5432123456789012345,
		"pin": 123,
		"on": true, "off": false, "none": null,
		"nested": {"list": [["deep-Down-1"], {"key-name-x": "deep-Down-2"}], "rate": -1.5e10},
		"inner": "{\"token\":\"inner-Token\",\"again\":\"[\\\"inner-Twice\\\"]\"}",
		"lines": "first-Line\nsecond-Line\r\n  third-Line  "
	}`
	scrub := scrubber(document)
	for detail, want := range map[string]string{
		"as application at 5432123456789012345":        "as [REDACTED] at [REDACTED]",
		"meant: pass/word, written: p\\u0061ss\\/word": "meant: [REDACTED], written: [REDACTED]",
		"deep-Down-1, deep-Down-2, -1.5e10":            "[REDACTED], [REDACTED], [REDACTED]",
		"inner-Token and inner-Twice":                  "[REDACTED] and [REDACTED]",
		"first-Line or second-Line or third-Line":      "[REDACTED] or [REDACTED] or [REDACTED]",
		"ZGVlcC1Eb3duLTE=, deep%2DDown":                "[REDACTED]=, deep%2DDown",
		// Not secret: keys, what has no meaning of its own, and what is too short.
		"user, password and key-name-x of nested": "user, password and key-name-x of nested",
		"true, false, null, 123":                  "true, false, null, 123",
		document:                                  mark,
		strings.TrimSpace(document):               mark,
	} {
		is.New(t).Equal(scrub(detail), want)
	}
}

// What is no valid JSON may still be a secret.
func TestABrokenDocumentIsHiddenAsFarAsItGoes(t *testing.T) {
	for document, want := range map[string]string{
		`{"a":"value-one","b":"value-two"`:             mark + " " + mark,
		`{"a":"value-one"}{"b":"value-two"}`:           mark + " " + mark,
		`{"a":"value-one","a":"value-two"}`:            mark + " " + mark,
		`["value-one", "value-two", "unfinished`:       mark + " " + mark,
		` "value-one" "value-two"`:                     mark + " " + mark,
		`{"a":"value-one", oh "value-two"}`:            mark + " value-two",
		"value-one\nvalue-two":                         mark + " " + mark,
		"PASSWORD=value-one\nvalue-two\n":              "value-one " + mark,
		strings.Repeat(`[`, 20_000) + `"value-one"`:    mark + " value-two",
		`{"a":{"b":["value-one"}],"value-two":"other"`: mark + " value-two",
	} {
		is.New(t).Equal(scrubber(document)("value-one value-two"), want)
	}
}

func TestTheLinesOfAKeyAreHidden(t *testing.T) {
	is := is.New(t)
	key := "-----BEGIN PRIVATE KEY-----\r\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\r\nBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\r\n" +
		"-----END PRIVATE KEY-----\r\n"
	scrub := scrubber(key)
	is.Equal(scrub("at MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"), "at "+mark)
	is.Equal(scrub("at BKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj,"), "at "+mark+",")
	is.Equal(scrub(strings.ReplaceAll(key, "\r\n", " ")), mark+" "+mark+" "+mark+" "+mark+" ")
	is.Equal(scrub(key), mark)
	is.Equal(scrub(strings.TrimSpace(key)), mark)
}

func TestOverlappingValuesLeaveNoRest(t *testing.T) {
	for _, c := range []struct {
		values       []string
		detail, want string
	}{
		{[]string{"abcd", "abcdefgh"}, "x abcdefgh y abcd z", "x [REDACTED] y [REDACTED] z"},
		{[]string{"abcdefgh", "abcd"}, "x abcdefgh y abcd z", "x [REDACTED] y [REDACTED] z"},
		{[]string{"abcd", "cdef"}, "xabcdefx", "x[REDACTED]x"},
		{[]string{"cdef", "abcd"}, "xabcdefx", "x[REDACTED]x"},
		{[]string{"abcd", "efgh"}, "xabcdefghx", "x[REDACTED]x"}, // side by side
		{[]string{"efgh", "abcdefghijkl"}, "abcdefghijkl", "[REDACTED]"},
		{[]string{"aaaa"}, "baaaaaaab", "b[REDACTED]b"}, // overlaps itself
		{[]string{"abab"}, "xabababax", "x[REDACTED]ax"},
		{[]string{"abcabcab"}, "abcabcabcabcab", "[REDACTED]"},
		{[]string{"abaab"}, "abaabaab", "[REDACTED]"}, // found only by who goes on within a match
		{[]string{"REDACTED"}, "a REDACTED b", "a [REDACTED] b"},
		{[]string{"[REDACTED]"}, "a [REDACTED] b", "a [REDACTED] b"},
		{[]string{"abcd"}, "", ""},
		{[]string{"abcd"}, "abc", "abc"},
		{[]string{"abcd"}, "abcd", "[REDACTED]"},
	} {
		is.New(t).Equal(scrubber(c.values...)(c.detail), c.want)
	}
	t.Run("control: a strings.Replacer leaves rests", func(t *testing.T) {
		is := is.New(t)
		is.Equal(strings.NewReplacer("abcd", mark, "cdef", mark).Replace("abcdef"), mark+"ef")
		is.Equal(strings.NewReplacer("abaab", mark).Replace("abaabaab"), mark+"aab")
	})
}

// Under 4 bytes, a value is left alone, and so are its forms, however long.
func TestShortValuesAreLeftAlone(t *testing.T) {
	for _, value := range []string{"", "a", "ab", "abc", "\"\"\"", "\x00", "日", "&&&", `{"port":"80"}`, "[1,22,333]", "a\nb\nc"} {
		pieces := []string{value, "80", "333", "a"}
		if len(value) >= 4 {
			pieces = pieces[1:]
		}
		for _, piece := range pieces {
			for _, form := range printed(piece) {
				detail := "the server said " + form + " and closed the connection"
				is.New(t).Equal(scrubber(value)(detail), detail)
			}
		}
	}
	is.New(t).Equal(scrubber("abcd")("the abcd"), "the "+mark)
}

// naive is the reference for mask: it looks for every phrase at every place.
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

// misses compares scrub with the reference on random texts over two letters, where phrases overlap all the time.
func misses(sets int, scrub func(phrases []string) func(string) string) (tried, wrong int) {
	const texts = 20
	random := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "ab"[random.IntN(2)]
		}
		return string(b)
	}
	for range sets {
		phrases := make([]string, 1+random.IntN(4))
		for i := range phrases {
			phrases[i] = word(4 + random.IntN(9))
		}
		s := scrub(phrases)
		for range texts {
			text := word(random.IntN(64))
			if s(text) != naive(text, phrases) {
				wrong++
			}
			tried++
		}
	}
	return tried, wrong
}

func TestMaskAgreesWithTheReference(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	sets := 6_000
	if !full() {
		sets = 1_000
	}
	tried, wrong := misses(sets, func(phrases []string) func(string) string { return scrubber(phrases...) })
	is.Equal(wrong, 0)
	is.Equal(tried, 20*sets)
	t.Run("control: a strings.Replacer", func(t *testing.T) {
		_, wrong := misses(sets, func(phrases []string) func(string) string {
			var pairs []string
			for _, p := range slices.SortedFunc(slices.Values(phrases), func(a, b string) int { return len(b) - len(a) }) {
				pairs = append(pairs, p, mark)
			}
			return strings.NewReplacer(pairs...).Replace
		})
		is.New(t).True(wrong > 1000)
	})
}

// The characters of a base64 text that a value alone decides are those which stay when all around the value changes.
func TestTheCoreOfBase64IsExact(t *testing.T) {
	is := is.New(t)
	random := rand.New(rand.NewPCG(3, 4))
	for length := 1; length <= 24; length++ {
		value := make([]byte, length)
		for before := range 7 {
			for behind := range 5 {
				for i := range value {
					value[i] = byte(random.Uint32())
				}
				encode := func(fill byte) string {
					around := func(n int) []byte { return bytes.Repeat([]byte{fill}, n) }
					return base64.RawStdEncoding.EncodeToString(slices.Concat(around(before), value, around(behind)))
				}
				// All bits around the value are once 0 and once 1. Of the value itself, each bit is changed in turn.
				zeros, ones := encode(0), encode(0xff)
				depends := make([]bool, len(zeros))
				for bit := range length * 8 {
					value[bit/8] ^= 1 << (bit % 8)
					changed := encode(0)
					value[bit/8] ^= 1 << (bit % 8)
					for i := range zeros {
						depends[i] = depends[i] || changed[i] != zeros[i]
					}
				}
				var want strings.Builder
				for i := range zeros {
					// Without bytes behind, the last character has padding bits, which are not of the value.
					padded := behind == 0 && i == len(zeros)-1 && (before+length)%3 != 0
					if depends[i] && zeros[i] == ones[i] && !padded {
						want.WriteByte(zeros[i])
					}
				}
				core := redact.Base64Core(base64.RawStdEncoding, string(value), before%3)
				is.Equal(core, want.String())
				is.True(strings.Contains(zeros, core))
			}
		}
	}
}

// embeddings puts random values into random surroundings, encodes that, and counts the values of which scrub leaves a
// character that they alone decide.
func embeddings(n int, scrub func(value string) func(string) string) (tried, missed int) {
	random := rand.New(rand.NewPCG(5, 6))
	filled := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return string(b)
	}
	encodings := []*base64.Encoding{
		base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding,
	}
	for range n {
		before, value, behind := filled(random.IntN(30)), filled(4+random.IntN(40)), filled(random.IntN(30))
		text := encodings[random.IntN(len(encodings))].EncodeToString([]byte(before + value + behind))
		from, to := (len(before)*8+5)/6, (len(before)+len(value))*8/6
		got := scrub(value)("in: " + text + " :out")
		// The character behind may go too: at the end of the text the value decides it but for padding bits.
		rest := text[to:]
		if got != "in: "+text[:from]+mark+rest+" :out" && (rest == "" || got != "in: "+text[:from]+mark+rest[1:]+" :out") {
			missed++
		}
		tried++
	}
	return tried, missed
}

func TestNoValueWithinBase64IsMissed(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	n := 20_000
	if !full() {
		n = 2_000
	}
	tried, missed := embeddings(n, func(value string) func(string) string { return scrubber(value) })
	is.Equal(missed, 0)
	is.Equal(tried, n)
	t.Run("control: who knows one alignment", func(t *testing.T) {
		_, missed := embeddings(n, func(value string) func(string) string {
			return strings.NewReplacer(base64.StdEncoding.EncodeToString([]byte(value)), mark).Replace
		})
		is.New(t).True(missed > n/2)
	})
}

func FuzzScrub(f *testing.F) {
	for i, value := range values {
		f.Add(value, "before ", " behind", uint8(i))
		f.Add(`{"a":"`+value+`","b":[1234,"`+value, value[:len(value)/2], value[len(value)/2:], uint8(7*i))
	}
	f.Add("{\"\":\"\\ud800\"}", "", "", uint8(0))
	f.Add("[\"\\\"[\\\\\\\"]\"", "[", "]", uint8(3))
	f.Fuzz(func(t *testing.T, value, before, behind string, form uint8) {
		if len(value) < 4 || len(value) > 1<<10 {
			return // left alone, or slow
		}
		forms := printed(value)
		names := make([]string, 0, len(forms))
		for name := range forms {
			names = append(names, name)
		}
		slices.Sort(names)
		name := names[int(form)%len(names)]
		// Between these, no value can begin or end.
		const left, right = "⟦", "⟧"
		if strings.ContainsAny(value+before+behind, left+right) {
			return // the frame is not clear
		}
		got := scrubber(value)(before + left + forms[name] + right + behind)
		if !strings.Contains(got, mark) {
			t.Errorf("%q as %s is not hidden in %q", value, name, got)
		}
		if name == "plain" && !strings.Contains(got, left+mark+right) {
			t.Errorf("%q leaves a rest in %q", value, got)
		}
		if strings.Contains(strings.ReplaceAll(got, mark, left), value) { // a mark may spell the end of a value
			t.Errorf("%q is in %q", value, got)
		}
	})
}

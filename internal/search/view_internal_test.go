package search

import (
	"strings"
	"testing"

	"github.com/matryer/is"
)

// canonicalForm returns the canonical form of text in the view with this first level.
func canonicalForm(first syntax, text string) string {
	v := view{first: first}
	v.decode([]byte(text), 0, true)
	return string(v.text)
}

func TestCanonicalForms(t *testing.T) {
	line, digest := strings.Repeat("ABcd0123+/", 4), strings.Repeat("0123456789abcdef", 4)
	for _, c := range []struct{ text, backslash, others string }{
		{"plain", "plain", "plain"},
		{`ab\/cd`, "ab/cd", "ab/cd"},
		{`a\\u002Bb`, "a+b", "a+b"},
		{`P%40ss`, "P@ss", "P@ss"},
		{`P%2540ss`, "P@ss", "P@ss"},
		{`a&amp;lt;b`, "a<b", "a<b"},
		{`a&#92;u002bb`, "a+b", "a+b"},
		{`\\%31`, "1", "1"},
		{`a\\n`, "a\n", "a\n"},
		{`a\\\\n`, "a\n", "a\n"},
		{`100% of a&b`, "100% of a&b", "100% of a&b"},
		{`it''s`, "it's", "it's"},
		{`""""`, `"`, `"`},
		{`'"'`, `'"'`, `'"'`},
		{"a\r\nb", "a\nb", "a\nb"},
		{"a\rb\r", "a\rb\r", "a\rb\r"},
		{`a\r\nb%0D%0Ac`, "a\nb\nc", "a\nb\nc"},
		{"a\nb", "a\nb", "a\nb"},
		{line + "\n" + line, line + line, line + line},
		{line + "\r\n" + line, line + line, line + line},
		{line + `\n` + line, line + line, line + line},
		{line + "%0A" + line, line + line, line + line},
		{line + "\n", line + "\n", line + "\n"},
		{digest + "\na", digest + "\na", digest + "\na"},
		{line + "\n ", line + "\n ", line + "\n "},
		{line + "\n\n" + line, line + "\n\n" + line, line + "\n\n" + line},
		{line[1:] + "\n" + line, line[1:] + "\n" + line, line[1:] + "\n" + line},
		{`ends in \`, "ends in ", "ends in "},
		{`ends in %4`, "ends in %4", "ends in %4"},
		{strings.Repeat(`\`, 32) + "n", "\n", "n"}, // six levels, and five
		{"%25" + strings.Repeat("25", 5) + "41", "%2541", "%41"},
		{strings.Repeat("&", 100) + "amp;", strings.Repeat("&", 100), strings.Repeat("&", 100)},
	} {
		t.Run(c.text, func(t *testing.T) {
			is := is.New(t)
			is.Equal(canonicalForm(backslash, c.text), c.backslash)
			is.Equal(canonicalForm(percent|entity, c.text), c.others)
		})
	}
}

// One view cannot undo both: in mixtures, \\ and \%31 would be undone at different levels.
func TestEachViewHasItsOwnOrderOfLevels(t *testing.T) {
	is := is.New(t)
	is.Equal(canonicalForm(backslash, `\\x%34%31`), "A")
	is.Equal(canonicalForm(percent|entity, `\\x%34%31`), "A")
	is.Equal(canonicalForm(backslash, `%\x34\x31`), "A")
	is.Equal(canonicalForm(percent|entity, `%\x34\x31`), "A")
}

// Each byte has the span of its whole escape.
func TestSourcesOfAView(t *testing.T) {
	is := is.New(t)
	v := view{first: backslash}
	text := `a\\u002Bé\\\"''%C3%A9`
	is.Equal(v.decode([]byte(text), 0, true), len(text))
	var pieces []string
	for i := range v.text {
		s := v.sources[i]
		if i == 0 || s != v.sources[i-1] {
			pieces = append(pieces, text[s.from:max(s.from, s.to)])
		}
	}
	is.Equal(strings.Join(pieces, " "), "a \\\\u002B \xc3 \xa9 \\\\\\\" '' %C3 %A9")
	from, to := around(v.sources, 3)
	is.Equal(text[from:to], `\\u002B`)
	from, to = around(v.sources, 1)
	is.Equal([2]int{from, to}, [2]int{1, 1}) // between two
	from, to = around(v.outer, 2)
	is.Equal(text[from:to], `\\`)
	from, to = around(v.outer, 3)
	is.Equal([2]int{from, to}, [2]int{3, 3}) // what a level produces is not an escape of the source
}

// An incomplete escape is left for the next piece of the text.
func TestAViewEndsBeforeAnOpenEscape(t *testing.T) {
	for text, want := range map[string]string{
		`abc\`:         "abc",
		`abc%4`:        "abc",
		`abc&am`:       "abc",
		`abc\\u00`:     "abc",
		`abc%26am`:     "abc",
		`abc&amp;#x4`:  "abc",
		`abc\ud83d`:    "abc",
		`abc%41`:       "abcA",
		"abc\\u00\n":   "abcu00\n",
		"abc%4\n":      "abc%4\n",
		`abc\\u004 %4`: "abcu004 ",
	} {
		t.Run(text, func(t *testing.T) {
			is := is.New(t)
			v := view{first: backslash}
			end := v.decode([]byte(text), 0, false)
			is.Equal(string(v.text), want)
			v.decode([]byte(text[:end]), 0, true)
			is.Equal(string(v.text), want)
		})
	}
}

// One character has at most maxSource bytes of source.
func TestALongEscapeIsNotUndone(t *testing.T) {
	is := is.New(t)
	long := "+"
	for len(long) <= maxSource {
		var b strings.Builder
		for _, c := range []byte(long) {
			b.WriteString(`\U000000` + string("0123456789abcdef"[c>>4]) + string("0123456789abcdef"[c&15]))
		}
		long = b.String()
	}
	is.True(canonicalForm(backslash, long) != "+")
}

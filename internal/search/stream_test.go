package search_test

import (
	"encoding/base64"
	"fmt"
	"html"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/search"
)

// shows reports whether several consecutive bytes of text are in out.
func shows(out, text string) bool {
	const enough = 6
	for i := 0; i+enough <= len(text); i++ {
		if strings.Contains(out, text[i:i+enough]) {
			return true
		}
	}
	return false
}

func TestEverySplitInThreePieces(t *testing.T) {
	line := strings.Repeat("ABcd+123/4", 10)
	for name, c := range map[string]struct{ value, text string }{
		"plain":            {"s3cr3t-value", "s3cr3t-value"},
		"percent":          {"P@ss/w0rd 12", "P%40ss%2Fw0rd+12"},
		"JSON in JSON":     {`a"b\c+d-12`, `a\\\"b\\\\c\\u002Bd-12`},
		"entities":         {"<a&b>'c'-1", "&lt;a&amp;b&#62;&#x27;c&apos;-1"},
		"entity of a JSON": {`a"b"c-123`, "a\\&quot;b\\&#34;c-123"},
		"doubled quotes":   {"it's-a-s3cret", "it''s-a-s3cret"},
		"base64":           {"s3cr3t-value", base64.StdEncoding.EncodeToString([]byte("app:s3cr3t-value"))[6:]},
		"wrapped base64":   {line, line[:76] + "\r\n" + line[76:]},
		"surrogates":       {"x😀😀😀y-1", `x\ud83d\ude00\ud83d\ude00😀y-1`},
		"long quotes":      {`a"""""b-1234`, `a\"\"\"""b-1234`},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			s, text := newSet(c.value), "<"+c.text+">\n"
			for a := range len(text) + 1 {
				for b := a; b <= len(text); b++ {
					out := stream(s, text[:a], text[a:b], text[b:])
					if shows(out, c.text) || !strings.HasPrefix(out, "<"+mark) || !strings.HasSuffix(out, ">\n") {
						t.Fatalf("%q %q %q gives %q", text[:a], text[a:b], text[b:], out)
					}
				}
			}
			is.True(shows(stream(newSet(), text), c.text)) // the control
		})
	}
}

// With one byte at a time, only a possible beginning of a text is held back.
func TestOnlyPossibleBeginningsAreHeldBack(t *testing.T) {
	for _, c := range []struct {
		piece, out string
	}{
		{"a line\n", "a line\n"},
		{"a line s3cr3", "a line "},
		{"a s\n", "a s\n"},
		{"a line s3cr3t!\n", "a line s3cr3t!\n"},
		{"a s3cr3t-valu", "a "},
		{"a s3cr3t-value", "a " + mark},
		{"a s3cr3t-values", "a " + mark}, // the next value may begin with this s
		{`a s3cr3t\u002`, "a "},
		{`a s3cr3t\u002` + "\n", `a s3cr3t\u002` + "\n"},
		{`a \u00`, "a "}, // an incomplete escape
		{"100%\n", "100%\n"},
		{"a&b&page\n", "a&b&page\n"},
		{"C:\\dir\\\n", "C:\\dir\\\n"},
		{"a %73", "a "},
		{"a %7", "a "},
		{"a %2D", "a %2D"},
	} {
		t.Run(c.piece, func(t *testing.T) {
			is := is.New(t)
			out, _ := newSet("s3cr3t-value").Stream().Next([]byte(c.piece))
			is.Equal(string(out), c.out)
		})
	}
}

// A line with a line feed is passed on at once, unless a text may begin with its end.
func TestWholeLinesArePassedOnAtOnce(t *testing.T) {
	values := randomValues(1000)
	lines := []string{
		"level=INFO msg=\"request served\"\n",
		`{"level":"info","body":"{\"a\":\"\"}","path":"/x?y=1&z=%20"}` + "\n",
		"CRLF\r\n",
		strings.Repeat("base64+/", 12) + "==\n", // without =, its last character may begin a text that continues in the next line
		"\n",
	}
	for _, v := range values[:50] {
		lines = append(lines, "value="+v+"\n", "cut="+v[:20]+"\n")
	}
	for _, extra := range []string{"", "xy\ncd-efg"} {
		is := is.New(t)
		s := newSet(append(values, extra)[:len(values)+min(1, len(extra))]...)
		st := s.Stream()
		for _, line := range lines {
			out, _ := st.Next([]byte(line))
			if !strings.HasSuffix(string(out), "\n") {
				t.Errorf("%q is held back: %q", line, out)
			}
		}
		if extra != "" {
			out, _ := st.Next([]byte("ends in xy\n"))
			is.Equal(string(out), "ends in ") // the control
			out, _ = st.Next([]byte("cd-efgh\n"))
			is.Equal(string(out), mark+"h\n")
		}
	}
}

func TestMarks(t *testing.T) {
	is := is.New(t)
	s := newSet("first-value", "second-value", "value-first")
	for text, want := range map[string]string{
		"first-value second-value":  mark + " " + mark,
		"first-valuesecond-value":   mark, // adjacent
		"first-value-first":         mark, // overlapping
		"first-valuefirst-value!":   mark + "!",
		`{"k":"first-value"}`:       `{"k":"` + mark + `"}`,
		`"\"first-value\""`:         `"\"` + mark + `\""`,
		`first\u002dvalu\u0065"`:    mark + `"`,
		"first%2Dvaluesecond-value": mark,
	} {
		out, marks := s.Mask(text)
		is.Equal(out, want)
		is.Equal(marks, strings.Count(want, mark))
		for cut := range text {
			is.Equal(stream(s, text[:cut], text[cut:]), want)
		}
	}
	const harmless = "nothing but \\ %41 &amp; text"
	out, marks := s.Mask(harmless)
	is.Equal(out, harmless)
	is.Equal(marks, 0)
}

// A line break of a text may belong to base64 or not, whatever precedes the text.
func TestTextsOfSeveralLinesAfterBase64(t *testing.T) {
	is := is.New(t)
	path := strings.Repeat("/var", 10) + "/"
	for _, text := range []string{"Zq8wT5x\nshort1", "abcd\nefg-1", "-a-line-1\n-a-line-2"} {
		for _, end := range []string{"\n", "\r\n", `\n`, `\r\n`, "%0A", `\\n`} {
			line := strings.ReplaceAll(text, "\n", end)
			is.Equal(masked(newSet(text), "<"+line+">"), "<"+mark+">")
			is.Equal(masked(newSet(text), path+line+">"), path+mark+">")
		}
	}
}

// Texts with many quotes or backslashes are found, however these are written.
func TestManyOmittedBytes(t *testing.T) {
	is := is.New(t)
	for _, c := range []string{"'", `"`, `\`, `\"`} {
		for _, n := range []int{10, 100, 200} {
			text := "abc-1" + strings.Repeat(c, n) + "xyz-9"
			quoted := strconv.Quote(text)
			for _, line := range []string{text, quoted, html.EscapeString(text), url.QueryEscape(text), strconv.Quote(quoted)} {
				if out := masked(newSet(text), line); strings.Contains(out, "abc-1") || strings.Contains(out, "xyz-9") {
					t.Errorf("%d times %q: %.60q gives %.60q", n, c, line, out)
				}
			}
		}
	}
	is.True(masked(newSet(), "abc-1") == "abc-1") // the control
}

// No value makes a Stream hold back the end of every line.
func TestNoValueHoldsBackEveryLine(t *testing.T) {
	is := is.New(t)
	for _, text := range []string{"\\\nZq8-x12345", `\\nZq8-x12345`, `nZq8-x12345`, "%0aZq8-x12345", "&#10;Zq8-x12345"} {
		out, _ := newSet(text).Stream().Next([]byte("plain line\n"))
		is.Equal(string(out), "plain line\n")
	}
}

// A mark never cuts an escape: masked JSON is valid JSON.
func TestMarksEndWhereEscapesEnd(t *testing.T) {
	is := is.New(t)
	is.Equal(masked(newSet(`value-1\`), `{"k":"value-1\\"}`), `{"k":"`+mark+`"}`)
	is.Equal(masked(newSet(`nvalue-1`), `{"k":"\nvalue-1"}`), `{"k":"`+mark+`"}`)
	is.Equal(masked(newSet(`"value-1"`), `{"k":"\"value-1\""}`), `{"k":"`+mark+`"}`)
	is.Equal(masked(newSet(`'value-1'`), `'''value-1'''`), `'`+mark+`'`) // SQL
}

func TestAnAddedTextIsFoundInHeldBackText(t *testing.T) {
	is := is.New(t)
	s := newSet("s3cr3t-value")
	st := s.Stream()
	out, _ := st.Next([]byte("a s3cr3t-"))
	is.Equal(string(out), "a ")
	s.Add("cr3t-other")
	out, _ = st.Next([]byte("other\n"))
	is.Equal(string(out), "s3"+mark+"\n")
}

// End resets a Stream.
func TestEnd(t *testing.T) {
	is := is.New(t)
	st := newSet("s3cr3t-value").Stream()
	for range 2 {
		out, marks := st.Next([]byte("s3cr3t-value"))
		is.Equal(string(out), mark)
		is.Equal(marks, 1)
		out, _ = st.Next([]byte("s3cr3t-"))
		is.Equal(string(out), "")
		out, marks = st.End()
		is.Equal(string(out), "s3cr3t-")
		is.Equal(marks, 0)
	}
}

func TestShortTexts(t *testing.T) {
	is := is.New(t)
	s := search.New(mark, 4, func(string) bool { return true })
	s.Add("word")
	s.Add("4711")
	for text, want := range map[string]string{
		"word":           mark,
		"a word, 4711.":  "a " + mark + ", " + mark + ".",
		"wor":            "wor",
		"%77ord":         mark,
		"776f7264":       mark,
		"[119 111 114 1": "[119 111 114 1",
	} {
		is.Equal(masked(s, text), want)
	}
}

func TestConcurrentUse(t *testing.T) {
	is := is.New(t)
	s := newSet("s3cr3t-value")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for k := range 200 {
				text := fmt.Sprintf("value-%d-%d", i, k)
				s.Add(text)
				if out := stream(s, "<s3cr3t", "%2Dvalue "+text+">"); out != "<"+mark+" "+mark+">" {
					t.Errorf("%q", out)
				}
				s.Remove(text)
			}
		})
	}
	wg.Wait()
	is.Equal(masked(s, "value-1-1 s3cr3t-value"), "value-1-1 "+mark)
}

func TestALineAllocatesNothing(t *testing.T) {
	s := newSet(randomValues(100)...)
	value := randomValues(1)[0]
	for name, line := range map[string]string{
		"plain":         "level=INFO msg=served path=/v1/orders\n",
		"escapes":       `{"a":"{\"b\":\"\\u0041 %41 &amp;\"}"}` + "\n",
		"nested":        `\\u005cu005c %25252541 &amp;amp;amp;` + "\n",
		"a value":       "value=" + value + "\n",
		"a value, \\":   `"` + strings.ReplaceAll(value, "=", `\u003d`) + "\\n\"\n",
		"a value, held": "value=" + value[:12],
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			st, piece := s.Stream(), []byte(line)
			st.Next(piece) // grows the buffers
			st.End()
			is.Equal(testing.AllocsPerRun(100, func() {
				st.Next(piece)
				st.End()
			}), 0.0)
			is.Equal(testing.AllocsPerRun(100, func() { s.Mask("a line without any of the values") }), 0.0)
		})
	}
}

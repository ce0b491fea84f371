package search

import (
	"testing"

	"github.com/matryer/is"
)

func TestUnescape(t *testing.T) {
	for _, c := range []struct {
		text string
		out  outcome
		n    int
		char rune
	}{
		{`%41bc`, whole, 3, octet + 'A'},
		{`%e9`, whole, 3, octet + 0xE9},
		{`%4`, open, 0, 0},
		{`%4g`, dead, 0, 0},
		{`%\x`, broken, 0, 0},
		{`%4&`, broken, 0, 0},

		{`\`, open, 0, 0},
		{`\\`, whole, 2, octet + '\\'},
		{`\"x`, whole, 2, octet + '"'},
		{`\/`, whole, 2, octet + '/'},
		{`\n`, whole, 2, octet + '\n'},
		{`\e`, whole, 2, octet + 0x1b},
		{`\q`, whole, 2, octet + 'q'}, // needs no backslash
		{`\%`, broken, 0, 0},
		{`\x4`, open, 0, 0},
		{`\x41`, whole, 4, octet + 'A'},
		{`\xg`, whole, 2, 'x'},
		{`\x4%`, broken, 0, 0},
		{`\101`, whole, 4, octet + 'A'},
		{`\351`, whole, 4, octet + 0xE9},
		{`\07`, open, 0, 0},
		{`\0 `, whole, 2, '0'},
		{`\u00e`, open, 0, 0},
		{`\u00e9`, whole, 6, 'é'},
		{`\u00g`, whole, 2, 'u'},
		{`\ud83d`, open, 0, 0},
		{`\ud83d\ude0`, open, 0, 0},
		{`\ud83d\ude00`, whole, 12, '😀'},
		{`\ud83dx`, whole, 6, '\uFFFD'},
		{`\ude00`, whole, 6, 0xDE00}, // encoded as U+FFFD
		{`\ud83d\n`, whole, 6, '\uFFFD'},
		{`\ud83d\u0041`, whole, 6, '\uFFFD'},
		{`\ud83d%5Cu`, broken, 0, 0},
		{`\ud83d\%75`, broken, 0, 0},
		{`\u{`, open, 0, 0},
		{`\u{1f600}`, whole, 9, '😀'},
		{`\u{}`, whole, 2, 'u'},
		{`\u{110000}`, whole, 2, 'u'},
		{`\u{1f%`, broken, 0, 0},
		{`\U0001F600`, whole, 10, '😀'},
		{`\U0001F60`, open, 0, 0},
		{`\U00110000`, whole, 2, 'U'},
		{`\UFFFFFFFF`, whole, 2, 'U'},
		{`\U80000041`, whole, 2, 'U'},

		{`&`, open, 0, 0},
		{`&amp`, open, 0, 0},
		{`&amp;`, whole, 5, '&'},
		{`&amp `, dead, 0, 0},
		{`&apos;`, whole, 6, '\''},
		{`&#43;`, whole, 5, '+'},
		{`&#00043;`, whole, 8, '+'},
		{`&#x2B;`, whole, 6, '+'},
		{`&#X02b;`, whole, 7, '+'},
		{`&#x;`, dead, 0, 0},
		{`&#;`, dead, 0, 0},
		{`&;`, dead, 0, 0},
		{`&#x110000;`, dead, 0, 0},
		{`&#xffffffff;`, dead, 0, 0},
		{`&#999999999;`, dead, 0, 0},
		{`&#12a;`, dead, 0, 0},
		{`&eacute;`, whole, 8, 'é'},
		{`&semi;`, whole, 6, ';'},
		{`&notit;`, dead, 0, 0}, // HTML accepts the prefix &not without a semicolon
		{`&page=2`, dead, 0, 0},
		{`&pa%67e`, broken, 0, 0},
		{`&abcdefghijklmn;`, dead, 0, 0},
	} {
		t.Run(c.text, func(t *testing.T) {
			is := is.New(t)
			out, n, char := unescape([]byte(c.text))
			is.Equal(out, c.out)
			if out == whole {
				is.Equal(n, c.n)
				is.Equal(char, c.char)
			}
		})
	}
}

// unescape never reads beyond its text, nor more than maxEscape bytes.
func TestUnescapeIsBounded(t *testing.T) {
	is := is.New(t)
	const alphabet = `\%&u{}x#;d83e0aU`
	var try func(text []byte)
	try = func(text []byte) {
		out, n, _ := unescape(text)
		is.True(out != whole || n > 0 && n <= len(text)) // within the text
		is.True(out != open || len(text) < maxEscape)    // bounded
		if len(text) < 5 {
			for i := range len(alphabet) {
				try(append(text, alphabet[i]))
			}
		}
	}
	for _, c := range `\%&` {
		try([]byte{byte(c)})
	}
}

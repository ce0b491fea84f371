package search

import (
	"html"
	"unicode/utf16"
	"unicode/utf8"
)

// syntax is a set of ways to escape a character.
type syntax uint8

const (
	backslash syntax = 1 << iota // as JSON, Go, JavaScript, Python and C write it
	percent                      // of URLs
	entity                       // of HTML and XML
)

// begins is the syntax whose escapes begin with a byte.
var begins = [256]syntax{'\\': backslash, '%': percent, '&': entity} //nolint:gochecknoglobals // a table

// outcome is the result of parsing an escape.
type outcome uint8

const (
	whole  outcome = iota // a complete escape
	open                  // the beginning of one
	dead                  // not an escape at any level: the first byte is literal
	broken                // an escape inside an escape: the next level handles the first byte
)

const (
	// maxEscape is the length of the longest escape, such as \ud83d\ude00.
	maxEscape = 12
	// octet is added to a byte that is not a character, such as %E9.
	octet = utf8.MaxRune + 1
)

// unescape parses the escape that b begins with, of n bytes.
func unescape(b []byte) (out outcome, n int, char rune) {
	switch b[0] {
	case '%':
		char, out = number(b, 1, 2, 16)
		return out, 3, octet + char
	case '&':
		return unescapeEntity(b)
	default:
		return unescapeBackslash(b)
	}
}

// unescapeBackslash parses a backslash escape. A character that needs no backslash stands for itself.
func unescapeBackslash(b []byte) (out outcome, n int, char rune) {
	if len(b) == 1 {
		return open, 0, 0
	}
	c := b[1]
	switch {
	case c == 'u':
		out, n, char = unescapeUnicode(b)
	case c == 'U':
		if char, out = number(b, 2, 8, 16); char > utf8.MaxRune {
			out = dead
		}
		n = 10
	case c == 'x':
		char, out = number(b, 2, 2, 16)
		n, char = 4, octet+char
	case c >= '0' && c <= '3':
		char, out = number(b, 1, 3, 8)
		n, char = 4, octet+char
	case c == '%' || c == '&':
		return broken, 1, 0
	default:
		if control := controls[c]; control > 0 {
			c = control
		}
		return whole, 2, octet + rune(c)
	}
	if out == dead {
		return whole, 2, rune(c)
	}
	return out, n, char
}

// controls are the control characters of letters after a backslash.
//
//nolint:gochecknoglobals // a table
var controls = [256]byte{'a': '\a', 'b': '\b', 'e': 0x1b, 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v'}

// unescapeUnicode parses \u{X}, \uXXXX, or a surrogate pair of two \uXXXX.
func unescapeUnicode(b []byte) (out outcome, n int, char rune) {
	if len(b) > 2 && b[2] == '{' {
		return unescapeBraces(b)
	}
	const low = 0xDC00 // the first low surrogate
	if char, out = number(b, 2, 4, 16); out == whole && utf16.IsSurrogate(char) && char < low {
		return unescapePair(b, char)
	}
	return out, 6, char
}

// unescapePair parses the low surrogate; the high one alone is not a character.
func unescapePair(b []byte, first rune) (out outcome, n int, char rune) {
	switch {
	case len(b) == 6:
		return open, 0, 0
	case b[6] == '%' || b[6] == '&':
		return broken, 0, 0
	case b[6] != '\\':
		return whole, 6, utf8.RuneError
	case len(b) == 7:
		return open, 0, 0
	case b[7] == '%' || b[7] == '&':
		return broken, 0, 0
	case b[7] != 'u':
		return whole, 6, utf8.RuneError
	}
	second, out := number(b, 8, 4, 16)
	if out == open || out == broken {
		return out, 0, 0
	}
	if char = utf16.DecodeRune(first, second); char == utf8.RuneError {
		return whole, 6, char
	}
	return whole, 12, char
}

func unescapeBraces(b []byte) (out outcome, n int, char rune) {
	for n = 3; n < len(b) && n < 9 && nibble[b[n]] >= 0; n++ {
		char = char<<4 | rune(nibble[b[n]])
	}
	switch {
	case n == len(b):
		return open, 0, 0
	case n == 3 || b[n] != '}' || char > utf8.MaxRune:
		return ending(b[n]), 0, 0
	}
	return whole, n + 1, char
}

// unescapeEntity parses an entity that ends in a semicolon.
func unescapeEntity(b []byte) (out outcome, n int, char rune) {
	for i := 1; i < maxEscape; i++ {
		if i == len(b) {
			return open, 0, 0
		}
		switch c := b[i]; {
		case c == ';':
			if char = entityOf(b[1:i]); char <= 0 {
				return dead, 0, 0
			}
			return whole, i + 1, char
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '#' && i == 1:
		default:
			return ending(c), 0, 0
		}
	}
	return dead, 0, 0
}

// entityOf returns the character of an entity, or 0 if there is none.
func entityOf(name []byte) (char rune) {
	switch string(name) { // common ones, without allocation
	case "amp":
		return '&'
	case "lt":
		return '<'
	case "gt":
		return '>'
	case "quot":
		return '"'
	case "apos":
		return '\''
	case "", "#":
		return 0
	}
	if name[0] != '#' {
		// Package html has all names. It also accepts a name that is only a prefix.
		text := html.UnescapeString("&" + string(name) + ";")
		if char, n := utf8.DecodeRuneInString(text); n == len(text) {
			return char
		}
		return 0
	}
	digits, base := name[1:], rune(10)
	if digits[0]|0x20 == 'x' {
		digits, base = digits[1:], 16
	}
	if char, out := number(digits, 0, len(digits), base); out == whole && char <= utf8.MaxRune {
		return char
	}
	return 0
}

// number parses n digits of b at a place.
func number(b []byte, from, n int, base rune) (value rune, out outcome) {
	for i := from; i < from+n; i++ {
		if i >= len(b) {
			return 0, open
		}
		d := rune(nibble[b[i]])
		if d < 0 || d >= base {
			return 0, ending(b[i])
		}
		value = min(value*base+d, octet) // above every character, without overflow
	}
	return value, whole
}

// ending returns the outcome of an escape that an invalid byte c interrupts.
func ending(c byte) outcome {
	if begins[c] != 0 {
		return broken
	}
	return dead
}

// nibble is the value of a hexadecimal digit, or -1.
//
//nolint:gochecknoglobals // a table
var nibble = func() (table [256]int8) {
	for i := range table {
		table[i] = -1
	}
	for i := range int8(16) {
		table["0123456789abcdef"[i]], table["0123456789ABCDEF"[i]] = i, i
	}
	return table
}()

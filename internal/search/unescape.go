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

// begins says which syntax a byte begins an escape of.
var begins = [256]syntax{'\\': backslash, '%': percent, '&': entity} //nolint:gochecknoglobals // a table

// outcome is what a text that begins like an escape turns out to be.
type outcome uint8

const (
	whole  outcome = iota // an escape of a character
	open                  // the beginning of one
	dead                  // no escape, at no level: the first byte stands for itself
	broken                // an escape with an escape in it: the first byte is for the next level
)

const (
	// maxEscape is the length of the longest escape, such as \ud83d\ude00.
	maxEscape = 12
	// octet is added to what is a byte and not a character, as %E9 is.
	octet = utf8.MaxRune + 1
)

// unescape reads the escape that b begins with, of n bytes.
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

// unescapeBackslash takes the backslash off a character that needs none.
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

// controls are what letters stand for behind a backslash.
//
//nolint:gochecknoglobals // a table
var controls = [256]byte{'a': '\a', 'b': '\b', 'e': 0x1b, 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v'}

// unescapeUnicode reads \u{X}, \uXXXX, or two of these for a character beyond 16 bits.
func unescapeUnicode(b []byte) (out outcome, n int, char rune) {
	if len(b) > 2 && b[2] == '{' {
		return unescapeBraces(b)
	}
	const low = 0xDC00 // the first one of the second halves
	if char, out = number(b, 2, 4, 16); out == whole && utf16.IsSurrogate(char) && char < low {
		return unescapePair(b, char)
	}
	return out, 6, char
}

// unescapePair reads the second half of a surrogate pair, without which the first one is no character.
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

// unescapeEntity reads what ends in a semicolon.
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

// entityOf returns the character that an entity stands for, or 0 if it is none.
func entityOf(name []byte) (char rune) {
	switch string(name) { // those that need no memory
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
		// Package html knows all names. It also takes one that is the beginning of what stands here.
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

// number reads n digits of b from a place on.
func number(b []byte, from, n int, base rune) (value rune, out outcome) {
	for i := from; i < from+n; i++ {
		if i >= len(b) {
			return 0, open
		}
		d := rune(nibble[b[i]])
		if d < 0 || d >= base {
			return 0, ending(b[i])
		}
		value = min(value*base+d, octet) // which is no character, and far from an overflow
	}
	return value, whole
}

// ending returns what becomes of an escape that c has no place in.
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

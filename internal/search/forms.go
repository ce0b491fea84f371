package search

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"
)

// form is an encoding of a text that no view undoes.
type form uint8

const (
	plain     form = iota
	canonical      // plain, of a variant; variants have no other form
	hexLower
	hexUpper
	base64Std // three alignments of each alphabet
)

const (
	base64URL = base64Std + 3
	byteList  = base64URL + 3 // three separators
	formCount = byteList + 3
)

// pattern is a text to find in one form. Only the text is stored.
type pattern struct {
	text string
	form form
}

// forms yields p in each of its forms.
func (p pattern) forms(yield func(pattern) bool) {
	if !yield(p) || p.form == canonical {
		return
	}
	var few [512]byte
	for f := hexLower; f < formCount; f++ {
		one := pattern{p.text, f}
		if f >= base64URL && f < byteList && !bytes.ContainsAny(one.appendTo(few[:0]), "-_") {
			continue // the same in the other alphabet
		}
		if !yield(one) {
			return
		}
	}
}

// first returns the pattern of the first bytes of the text, a prefix of p.
func (p pattern) first(length int) pattern { return pattern{p.text[:min(len(p.text), length)], p.form} }

// appendTo appends the encoded pattern to b.
func (p pattern) appendTo(b []byte) []byte {
	n := len(b)
	switch {
	case p.form <= canonical:
		b = append(b, p.text...)
	case p.form <= hexUpper:
		b = hex.AppendEncode(b, []byte(p.text))
		if p.form == hexUpper {
			copy(b[n:], bytes.ToUpper(b[n:]))
		}
	case p.form < byteList:
		encoding, bits := p.base64()
		var few [512]byte
		shifted := few[:bits/8]
		shifted = append(shifted, p.text...)
		b = encoding.AppendEncode(b, shifted)
		from, to := (bits+5)/6, (bits+8*len(p.text))/6 // the characters that depend on the text only
		b = append(b[:n], b[n+from:n+to]...)
	default:
		separators := [...]string{" ", ",", ", "} // fmt, JSON and Python
		for i := range len(p.text) {
			if i > 0 {
				b = append(b, separators[p.form-byteList]...)
			}
			b = strconv.AppendUint(b, uint64(p.text[i]), 10)
		}
	}
	return b
}

// base64 returns the encoding, and the number of bits before the text in its group.
func (p pattern) base64() (encoding *base64.Encoding, bits int) {
	if p.form >= base64URL {
		return base64.RawURLEncoding, 8 * int(p.form-base64URL)
	}
	return base64.RawStdEncoding, 8 * int(p.form-base64Std)
}

// prefix returns the first width bytes, big-endian.
func (p pattern) prefix(width int) (prefix uint64) {
	var few [64]byte
	return prefixOf(p.first(2*width).appendTo(few[:0]), width)
}

// prefixOf returns the first bytes of text, up to width, big-endian.
func prefixOf(text []byte, width int) (prefix uint64) {
	for i, c := range text[:min(len(text), width)] {
		prefix |= uint64(c) << (56 - 8*i)
	}
	return prefix
}

// compare returns the length of the common prefix of text and the pattern. order is -1 if the pattern sorts before text, +1 if behind, and
// 0 if it is a prefix of text.
func (p pattern) compare(text []byte) (n, order int) {
	if p.form <= canonical && len(p.text) <= len(text) && p.text == string(text[:len(p.text)]) {
		return len(p.text), 0
	}
	var few [512]byte
	b := p.first(len(text) + 3).appendTo(few[:0]) // longer than text, unless it is all of p
	for n < len(b) && n < len(text) && b[n] == text[n] {
		n++
	}
	switch {
	case n == len(b):
		return n, 0
	case n == len(text) || b[n] > text[n]:
		return n, 1
	}
	return n, -1
}

// shared reports whether the first bits of the text share a base64 character with what comes before, and its last bits with what follows.
func (p pattern) shared() (first, last bool) {
	if p.form < base64Std || p.form >= byteList {
		return false, false
	}
	_, bits := p.base64()
	return bits%6 != 0, (bits+8*len(p.text))%6 != 0
}

// variants calls f for other spellings of text, and for the canonical forms of all of them.
func (s *Set) variants(text string, f func(string)) {
	bases := []string{text, strings.ReplaceAll(text, " ", "+")}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= utf8.RuneSelf }) {
		// JSON replaces invalid bytes; XML also replaces control characters.
		bases = append(bases, latin1(text), string([]rune(text)), strings.Map(func(r rune) rune {
			if r < ' ' && r != '\t' && r != '\n' && r != '\r' {
				return utf8.RuneError
			}
			return r
		}, text))
	}
	for k, base := range bases {
		if k > 0 && base == text {
			continue
		}
		f(base)
		isPlain := !strings.ContainsFunc(base, func(r rune) bool { return r < utf8.RuneSelf && class[r] != ordinary })
		for i := range s.views {
			form := base
			if !isPlain {
				f(s.canonical(i, base, 0, false))      // without an incomplete escape at its end
				f(s.canonical(i, base, wrapped, true)) // after base64, where a line break may belong to it
				form = s.canonical(i, base, 0, true)
				f(form)
			}
			if k == 0 {
				s.merged(i, base, form, f)
			}
		}
	}
}

// merged calls f for the canonical form of text if an escape that begins before it includes its first bytes.
func (s *Set) merged(view int, text, form string, f func(string)) {
	for _, before := range [...]string{"%", `\`, "&"} {
		out, _, char := unescape([]byte(before + text[:min(len(text), maxEscape)]))
		if out == dead || out == whole && char == octet+rune(text[0]) {
			continue
		}
		if behind := s.canonical(view, before+text, 0, true); !strings.HasSuffix(behind, form) {
			f(behind)
		}
	}
}

// canonical returns the canonical form of text in a view, after this number of base64 characters.
func (s *Set) canonical(view int, text string, before int, last bool) string {
	s.views[view].decode([]byte(text), before, last)
	return string(s.views[view].text)
}

// parts yields text in parts of at most maxPattern bytes; consecutive ones overlap by this number of bytes.
func parts(text string, overlap int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for len(text) > maxPattern {
			size := maxPattern
			if len(text) < 2*maxPattern { // no part is short
				size = len(text)/2/3*3 + 3
			}
			if !yield(text[:size]) {
				return
			}
			text = text[size-overlap:]
		}
		yield(text)
	}
}

// latin1 returns text with one byte for each character of Latin-1.
func latin1(text string) string {
	b := make([]byte, 0, len(text))
	for _, r := range text {
		if r <= 0xFF {
			b = append(b, byte(r)) //nolint:gosec // it fits
		} else {
			b = utf8.AppendRune(b, r)
		}
	}
	return string(b)
}

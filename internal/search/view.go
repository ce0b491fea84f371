package search

import (
	"bytes"
	"math"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

const (
	// depth is the number of levels of escapes that are undone.
	depth = 6
	// maxSource is the maximum length of one character with all levels of escapes.
	maxSource = 512
	// maxDropped is the maximum number of consecutive bytes that a canonical form omits: what is held back must be bounded.
	maxDropped = 512
	// wrapped is the minimum length of a base64 line whose line break belongs to the base64.
	wrapped = 40
)

// span is a stretch of a text.
type span struct{ from, to int }

// decoded is a text, and the span of the source of each of its bytes.
type decoded struct {
	text    []byte
	sources []span
}

func (d *decoded) reset() { d.text, d.sources = d.text[:0], d.sources[:0] }

func (d *decoded) add(c byte, source span) {
	d.text, d.sources = append(d.text, c), append(d.sources, source)
}

// encode returns the bytes of a character, in b.
func encode(b *[utf8.UTFMax]byte, char rune) []byte {
	if char >= octet {
		b[0] = byte(char - octet) //nolint:gosec // it is a byte
		return b[:1]
	}
	return b[:utf8.EncodeRune(b[:], char)]
}

// view is the canonical form of a source.
type view struct {
	decoded

	first   syntax // the syntaxes of the first level; the others undo all
	levels  [2]decoded
	outer   []span // the escapes of the source, at the first level
	cr, lf  span   // a pending end of a line, if to is not 0: the next byte decides
	quote   span   // the last of several equal quotes in a row
	quotes  int    // the length of text at that quote
	before  int    // base64 characters before the source
	source  []byte
	dropped int // omitted bytes since the last byte of text
	last    int // end of that byte in the source
}

const (
	ordinary = iota // always unchanged in the canonical form
	quote           // unchanged after another byte
	special
)

// class is the class of each byte of a source.
//
//nolint:gochecknoglobals // a table
var class = [256]uint8{'\\': special, '%': special, '&': special, '\r': special, '\n': special, '\'': quote, '"': quote}

// inBase64 has the characters of base64, in either alphabet.
//
//nolint:gochecknoglobals // a table
var inBase64 = func() (table [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_" {
		table[c] = true
	}
	return table
}()

// decode sets v to the canonical form of source, which follows this number of base64 characters. Unless it is the last part of a text,
// decode stops before an incomplete escape. It returns that place of source, or its end.
func (v *view) decode(source []byte, before int, last bool) (end int) {
	v.reset()
	v.outer, v.cr, v.lf, v.quotes, v.before, v.source, v.dropped, v.last = v.outer[:0], span{}, span{}, 0, before, source, 0, 0
	for i := 0; i < len(source); {
		c, from := source[i], i
		switch {
		case begins[c] != 0:
			if i, end = v.unescape(source, i, last); end < i {
				return end
			}
		case class[c] == ordinary:
			for i++; i < len(source) && (class[source[i]] == ordinary || class[source[i]] == quote && source[i] != source[i-1]); {
				i++
			}
			v.puts(source[from:i], from)
		default:
			i++
			v.put(c, span{from, i})
		}
	}
	if last {
		v.endLine(0, span{})
	}
	return len(source)
}

// unescape adds the character of the escape at a place of source. It returns the place after it as to. end is where an incomplete escape
// begins, or to.
func (v *view) unescape(source []byte, from int, last bool) (to, end int) {
	out, n, char := unescape(source[from:min(len(source), from+maxEscape)])
	switch {
	case out == whole && !isSpecial(char): // any level may undo it: the others change nothing
		to = from + n
		v.note(source, span{from, to})
		var buffer [utf8.UTFMax]byte
		for _, c := range encode(&buffer, char) {
			v.put(c, span{from, to})
		}
	case out == dead:
		to = from + 1
		v.put(source[from], span{from, to})
	default:
		return v.undo(source, from, last)
	}
	return to, to
}

// undo undoes all levels from a place of source to where no escape continues. It returns that place as to. end is where an incomplete
// escape begins, or to.
func (v *view) undo(source []byte, from int, last bool) (to, end int) {
	in, out := &v.levels[0], &v.levels[1]
	in.reset()
	for to = from; to < len(source) && to-from < depth*maxEscape; to++ { // each level may continue what the previous one left
		if in.add(source[to], span{to, to + 1}); begins[source[to]] != 0 {
			from = to
		}
	}
	end = to
	for level := range depth {
		undoes := backslash | percent | entity
		if level == 0 {
			undoes = v.first
		}
		changed, place := out.undo(in, undoes, last)
		end = min(end, place)
		if level == 0 {
			for _, s := range out.sources {
				v.note(source, s)
			}
		}
		if in, out = out, in; !changed && level > 0 {
			break // the next levels would not change it either
		}
	}
	for i, c := range in.text {
		v.put(c, in.sources[i])
	}
	return to, end
}

// note adds an escape to outer. A backslash before a character that needs none may not be an escape.
func (v *view) note(source []byte, s span) {
	if n := s.to - s.from; n > 2 || n == 2 && strings.IndexByte(`\"'/abefnrtv`, source[s.from+1]) >= 0 {
		v.outer = append(v.outer, s)
	}
}

// undo sets d to in with one level undone. changed reports whether they differ. end is where in the source an incomplete escape begins.
func (d *decoded) undo(in *decoded, undoes syntax, last bool) (changed bool, end int) {
	d.reset()
	var buffer [utf8.UTFMax]byte
	for i := 0; i < len(in.text); {
		c, source := in.text[i], in.sources[i]
		if begins[c]&undoes == 0 {
			d.add(c, source)
			i++
			continue
		}
		out, n, char := unescape(in.text[i:min(len(in.text), i+maxEscape)])
		switch {
		case out == open && !last:
			return true, source.from
		case out == whole && in.sources[i+n-1].to-source.from <= maxSource:
			for _, c := range encode(&buffer, char) {
				d.add(c, span{source.from, in.sources[i+n-1].to})
			}
			changed = true
			i += n
			continue
		case out == open && c == '\\': // at the end: dropped, as before a character that needs none
			changed = true
		default:
			d.add(c, source)
		}
		i++
	}
	return changed, math.MaxInt
}

func isSpecial(char rune) bool {
	if char >= octet {
		char -= octet
	}
	return char < utf8.RuneSelf && class[char] == special
}

// put adds a byte that has passed all levels, unless the canonical form omits it.
func (v *view) put(c byte, source span) {
	if v.dropped++; v.isFar(c, source) {
		c = 0xFF // matches no text here
	}
	isQuote, n := c == '\'' || c == '"', len(v.text)
	switch {
	case c == '\\':
		return
	case isQuote && n > 0 && v.text[n-1] == c && v.cr.to+v.lf.to == 0:
		v.putQuote(source)
		return
	}
	v.endLine(c, source)
	switch {
	case c == '\r':
		v.cr = source
	case c == '\n' && trailingBase64(v.text, v.before) >= wrapped:
		v.lf = source
	default:
		v.add(c, source)
		v.dropped, v.last = 0, source.to
	}
}

// isFar reports whether omitting c would exceed maxDropped.
func (v *view) isFar(c byte, source span) bool {
	return (v.dropped > maxDropped || source.to-v.last > 8*maxDropped) && (c == '\\' || c == '\r' || c == '\'' || c == '"')
}

// putQuote merges a quote with the one before it. A pattern at its edge has one of the quotes, or two of equal spelling if they are
// doubled. The others stay outside the mark.
func (v *view) putQuote(source span) {
	n := len(v.text)
	one, first := &v.sources[n-1], v.quotes != n
	before := v.quote
	if first {
		before = *one
	}
	isAlike := bytes.Equal(v.source[source.from:source.to], v.source[before.from:before.to])
	switch {
	case !isAlike:
		one.from = source.from
	case first:
		one.to = source.to
	default:
		one.from = before.from
	}
	v.quote, v.quotes = source, n
}

// puts adds ordinary bytes.
func (v *view) puts(b []byte, from int) {
	v.endLine(b[0], span{})
	n := len(v.sources)
	v.text, v.sources = append(v.text, b...), slices.Grow(v.sources, len(b))[:n+len(b)]
	for i := range b {
		v.sources[n+i] = span{from + i, from + i + 1}
	}
	v.dropped, v.last = 0, from+len(b)
}

// endLine adds a pending end of a line before c: a carriage return, unless a line feed of the same spelling follows, or a line feed, unless
// both lines are base64.
func (v *view) endLine(c byte, source span) {
	if v.cr.to > 0 && (c != '\n' || source.to-source.from != v.cr.to-v.cr.from) {
		v.add('\r', v.cr)
	}
	if v.lf.to > 0 && !inBase64[c] {
		v.add('\n', v.lf)
	}
	v.cr, v.lf = span{}, span{}
}

// trailingBase64 returns the number of base64 characters at the end of text, at most wrapped. before is their number in front of text. A
// line of hexadecimal digits only does not count.
func trailingBase64(text []byte, before int) int {
	n, isHex := 0, true
	for n < wrapped && n < len(text) && inBase64[text[len(text)-1-n]] {
		isHex = isHex && nibble[text[len(text)-1-n]] >= 0
		n++
	}
	switch {
	case n == wrapped && isHex:
		return 0
	case n == len(text):
		n += before
	}
	return min(n, wrapped)
}

// around returns the span of the escape that contains place, or place twice.
func around(escapes []span, place int) (from, to int) {
	i := sort.Search(len(escapes), func(i int) bool { return escapes[i].from >= place }) - 1
	if i >= 0 && escapes[i].to > place {
		return escapes[i].from, escapes[i].to
	}
	return place, place
}

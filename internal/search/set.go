// Package search finds texts in other texts, however they are escaped there, and replaces them with a mark:
//
//	s := search.New("[...]", 8, func(string) bool { return true })
//	s.Add("P@ss/w0rd 12")
//	text, marks := s.Mask(`postgres://app:P%40ss%2Fw0rd+12@db`) // postgres://app:[...]@db
//
// A [Stream] does the same for a text that arrives in pieces. It holds back only what may be the beginning of a text to find.
//
// The search does not enumerate encodings. It undoes escapes, down to a canonical form, and compares canonical forms. README.md in this
// directory explains levels, views and what is held back, with examples and limits.
package search

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// maxPattern is the maximum length of a pattern, in bytes; longer texts are split. It is divisible by 3, like groups of base64. The limit
	// bounds what is held back, and the time for repetitive texts.
	maxPattern = 4095
	// bitsOfOne is the minimum number of bits of each filter for one pattern.
	bitsOfOne  = 16
	formBits   = 4   // of an entry
	headLength = 32  // of a text
	maxChunk   = 512 // limits the entries that move when one is added
	// stride is the step of a search. No pattern is missed: the filter has the piece (gram) at each of the first stride places of a pattern's
	// first width bytes.
	stride      = 4
	headSize    = 4
	confinedLog = 16                 // of the bits of the filter of a text
	factor      = 0x9E3779B97F4A7C15 // 2⁶⁴ divided by the golden ratio: Fibonacci hashing
)

// Set is a set of texts to look for. It is safe for concurrent use.
type Set struct {
	mark   string
	width  int
	strong func(text string) bool

	mu       sync.RWMutex
	chunks   [][]entry // sorted, none empty, each of at most maxChunk
	patterns int
	removed  int // patterns that are still in the filter
	pieces   []piece
	free     []uint32 // unused pieces
	bytes    int      // of the texts of pieces
	views    [2]view  // scratch space for canonical forms

	head     []byte    // of the pattern in find
	buffers  [2][]byte // scratch space of order
	confined []uint64  // if not nil, a filter of allowed prefixes

	grams    []uint64 // a filter of pieces of the first width bytes of patterns
	heads    []uint64 // a filter of the prefixes of patterns
	lastBit  uint64
	gramMask uint64

	changes atomic.Uint64
	streams sync.Pool
}

// entry is a pattern: its first width bytes, its piece and its form. There are many, so it takes only 12 bytes.
type entry struct{ high, low, ref uint32 }

// prefix returns the first width bytes, big-endian.
func (e entry) prefix() uint64 { return uint64(e.high)<<32 | uint64(e.low) }

// piece is a text that was added, or a variant of one.
type piece struct {
	text    string
	holders int32
}

// New returns an empty Set. In masked texts, mark replaces each match. No pattern is shorter than width, 4 to 8 bytes. A variant of a text
// is used only if strong returns true for it.
func New(mark string, width int, strong func(text string) bool) *Set {
	s := &Set{mark: mark, width: width, strong: strong, views: [2]view{{first: backslash}, {first: percent | entity}}}
	s.gramMask = 1<<(8*(width-stride+1)) - 1
	s.streams.New = func() any { return s.Stream() }
	s.rebuild(64)
	return s
}

// Add adds text, of at least width bytes. Each Add needs its own Remove.
func (s *Set) Add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.each(text, s.insert)
	s.changes.Add(1)
}

// Remove removes text once.
func (s *Set) Remove(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.each(text, s.release)
	if s.removed > s.patterns+1024 {
		s.rebuild(s.patterns)
	}
}

// Confine makes later calls of Add skip texts that do not occur in text: the Set is then built quickly, for that text only.
func (s *Set) Confine(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confined = make([]uint64, 1<<confinedLog/64)
	for _, text := range []string{text, s.canonical(0, text, 0, true), s.canonical(1, text, 0, true)} {
		for i := 0; i+s.width <= len(text); i++ {
			set(s.confined, confinedBit(prefixOf([]byte(text[i:i+s.width]), s.width)))
		}
	}
}

// isConfinedTo reports whether p, in one of its forms, may occur in the text of Confine.
func (s *Set) isConfinedTo(p pattern) bool {
	for one := range p.forms {
		if has(s.confined, confinedBit(one.prefix(s.width))) {
			return true
		}
	}
	return false
}

func confinedBit(prefix uint64) (bit uint64) { return prefix * factor >> (64 - confinedLog) }

// Changes returns the number of calls of Add.
func (s *Set) Changes() uint64 { return s.changes.Load() }

// Size returns the number of patterns, and their memory in bytes.
func (s *Set) Size() (patterns, memory int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	const ofEntry, ofPiece, spare = 12, 24, 5 // slices have about a fifth to spare
	memory = s.patterns*ofEntry + (len(s.pieces)-len(s.free))*ofPiece
	return s.patterns, memory + memory/spare + s.bytes + 8*(len(s.grams)+len(s.heads))
}

// each calls f for the texts that represent text: its parts, in all forms, and its variants.
func (s *Set) each(text string, f func(text string, as form)) {
	for part := range parts(text, 3) {
		f(part, plain)
	}
	seen := append(make([]string, 0, 8), text)
	s.variants(text, func(v string) {
		if len(v) >= s.width && !slices.Contains(seen, v) && s.strong(v) {
			seen = append(seen, v)
			for part := range parts(v, 0) {
				f(part, canonical)
			}
		}
	})
}

func (s *Set) pattern(e entry) pattern {
	return pattern{s.pieces[e.ref>>formBits].text, form(e.ref & (1<<formBits - 1))}
}

// place is the position of an entry, or where it belongs.
type place struct{ chunk, at int }

// seek returns the place of the first entry for which isBefore is false.
func (s *Set) seek(isBefore func(e entry) bool) place {
	chunk := sort.Search(len(s.chunks), func(i int) bool { return !isBefore(s.chunks[i][len(s.chunks[i])-1]) })
	if chunk == len(s.chunks) {
		return place{chunk, 0}
	}
	return place{chunk, sort.Search(len(s.chunks[chunk]), func(i int) bool { return !isBefore(s.chunks[chunk][i]) })}
}

// entry returns the entry at a place, if there is one.
func (s *Set) entry(p place) (e entry, ok bool) {
	if p.chunk == len(s.chunks) {
		return entry{}, false
	}
	return s.chunks[p.chunk][p.at], true
}

// previous returns the entry before a place, if there is one.
func (s *Set) previous(p place) (e entry, ok bool) {
	switch {
	case p.at > 0:
		return s.chunks[p.chunk][p.at-1], true
	case p.chunk > 0:
		last := s.chunks[p.chunk-1]
		return last[len(last)-1], true
	}
	return entry{}, false
}

// find returns the place of p, its prefix, and whether it is there.
func (s *Set) find(p pattern) (at place, prefix uint64, known bool) {
	prefix = p.prefix(s.width)
	s.head = p.first(headLength).appendTo(s.head[:0])
	order := func(e entry) int {
		if e.prefix() != prefix {
			return cmp.Compare(e.prefix(), prefix)
		}
		return s.order(s.pattern(e), p)
	}
	at = s.seek(func(e entry) bool { return order(e) < 0 })
	e, ok := s.entry(at)
	return at, prefix, ok && order(e) == 0
}

// order compares two patterns by their bytes, then form and text. head is the beginning of b.
func (s *Set) order(a, b pattern) int {
	if a == b {
		return 0
	}
	if a.form == b.form && a.form < base64Std {
		return cmp.Compare(a.text, b.text) // the same order as of their bytes
	}
	x := &s.buffers[0]
	*x = a.first(headLength).appendTo((*x)[:0])
	common := min(len(*x), len(s.head))
	if c := bytes.Compare((*x)[:common], s.head[:common]); c != 0 { // the common case
		return c
	}
	y := &s.buffers[1]
	*x, *y = a.appendTo((*x)[:0]), b.appendTo((*y)[:0])
	return cmp.Or(bytes.Compare(*x, *y), cmp.Compare(a.form, b.form), cmp.Compare(a.text, b.text))
}

// put inserts an entry at a place.
func (s *Set) put(p place, e entry) {
	if len(s.chunks) == 0 {
		s.chunks = append(s.chunks, nil)
	} else if p.chunk == len(s.chunks) {
		p = place{p.chunk - 1, len(s.chunks[p.chunk-1])}
	}
	chunk := s.chunks[p.chunk]
	if len(chunk) == cap(chunk) { // append would reserve too much
		const room = 32
		chunk = append(make([]entry, 0, len(chunk)+room), chunk...)
	}
	chunk = slices.Insert(chunk, p.at, e)
	if s.chunks[p.chunk] = chunk; len(chunk) > maxChunk {
		s.chunks[p.chunk] = slices.Clone(chunk[:maxChunk/2])
		s.chunks = slices.Insert(s.chunks, p.chunk+1, slices.Clone(chunk[maxChunk/2:]))
	}
}

// drop deletes the entry at a place.
func (s *Set) drop(p place) {
	chunk := slices.Delete(s.chunks[p.chunk], p.at, p.at+1)
	if s.chunks[p.chunk] = chunk; len(chunk) == 0 {
		s.chunks = slices.Delete(s.chunks, p.chunk, p.chunk+1)
	}
}

// insert adds a holder of text.
func (s *Set) insert(text string, as form) {
	if s.confined != nil && !s.isConfinedTo(pattern{text, as}) {
		return
	}
	if at, _, known := s.find(pattern{text, as}); known {
		e, _ := s.entry(at)
		s.pieces[e.ref>>formBits].holders++
		return
	}
	p := piece{strings.Clone(text), 1} // text may be a part of a larger string
	var id uint32
	if n := len(s.free); n > 0 {
		id = s.free[n-1]
		s.free = s.free[:n-1]
		s.pieces[id] = p
	} else {
		id = uint32(len(s.pieces)) //nolint:gosec // 2³² pieces take more than 64 GB
		s.pieces = append(s.pieces, p)
	}
	s.bytes += len(text)
	for one := range (pattern{text, as}).forms {
		at, prefix, _ := s.find(one)
		s.put(at, entry{uint32(prefix >> 32), uint32(prefix & (1<<32 - 1)), id<<formBits | uint32(one.form)})
		s.patterns++
		s.note(prefix)
	}
	if (s.patterns+s.removed)*bitsOfOne > 64*len(s.heads) {
		s.rebuild(s.patterns)
	}
}

// release removes a holder of text.
func (s *Set) release(text string, as form) {
	at, _, known := s.find(pattern{text, as})
	if !known {
		return
	}
	e, _ := s.entry(at)
	id := e.ref >> formBits
	if s.pieces[id].holders--; s.pieces[id].holders > 0 {
		return
	}
	for one := range (pattern{text, as}).forms {
		at, _, _ := s.find(one)
		s.drop(at)
		s.patterns--
		s.removed++
	}
	s.pieces[id] = piece{}
	s.free = append(s.free, id)
	s.bytes -= len(text)
}

// rebuild creates filters for this number of patterns and some more, and chunks without room for removed entries.
func (s *Set) rebuild(patterns int) {
	size := 1 << 8
	for size < (patterns+patterns/8)*bitsOfOne {
		size *= 2
	}
	s.grams, s.heads, s.removed = make([]uint64, size/64), make([]uint64, size/64), 0
	s.lastBit = uint64(size) - 1
	all := slices.Concat(s.chunks...)
	s.chunks = nil
	for chunk := range slices.Chunk(all, maxChunk/2) {
		s.chunks = append(s.chunks, slices.Clone(chunk))
	}
	for _, e := range all {
		s.note(e.prefix())
	}
}

// note adds a pattern to the filters.
func (s *Set) note(prefix uint64) {
	x := bits.ReverseBytes64(prefix)
	for k := range stride {
		set(s.grams, s.hash(x>>(8*k)&s.gramMask))
	}
	for _, n := range [...]int{1, 2, 3, headSize, s.width} {
		set(s.heads, s.hash(x&(1<<(8*n)-1)))
	}
}

// hash returns a bit number of the filters, which have at most 2³² bits.
func (s *Set) hash(x uint64) (bit uint64) { return x * factor >> 32 & s.lastBit }

func set(filter []uint64, bit uint64) { filter[bit/64] |= 1 << (bit % 64) }

func has(filter []uint64, bit uint64) bool { return filter[bit/64]>>(bit%64)&1 != 0 }

// mayBegin reports whether a pattern may begin like text, which is padded and has this length.
func (s *Set) mayBegin(text []byte, length int) bool {
	x := binary.LittleEndian.Uint64(text)
	switch {
	case !has(s.heads, s.hash(x&(1<<(8*min(length, headSize))-1))):
		return false
	case length >= s.width:
		return has(s.heads, s.hash(x&(1<<(8*s.width)-1)))
	}
	return length <= headSize || has(s.grams, s.hash(x&s.gramMask))
}

// lookup returns the longest pattern that text begins with, and its length or 0. open reports whether text is the beginning of a longer
// pattern.
func (s *Set) lookup(text []byte) (longest pattern, length int, open bool) {
	n, prefix := len(text), prefixOf(text, s.width)
	if n < s.width {
		e, ok := s.entry(s.seek(func(e entry) bool { return e.prefix() < prefix }))
		return longest, 0, ok && e.prefix()>>(64-8*n) == prefix>>(64-8*n)
	}
	for end := len(text); ; {
		behind := s.seek(func(e entry) bool {
			if e.prefix() != prefix {
				return e.prefix() < prefix
			}
			_, order := s.pattern(e).compare(text)
			return order <= 0
		})
		if e, ok := s.entry(behind); ok && e.prefix() == prefix {
			common, _ := s.pattern(e).compare(text)
			open = open || common == end
		}
		e, ok := s.previous(behind)
		if !ok || e.prefix() != prefix {
			return longest, 0, open
		}
		common, order := s.pattern(e).compare(text)
		if order == 0 {
			return s.pattern(e), common, open
		}
		text = text[:common] // a shorter pattern is a prefix of both
	}
}

package search

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Stream masks a text that arrives in pieces. It is not safe for concurrent use.
type Stream struct {
	set    *Set
	source []byte // what the last call passed on, what is held back, and the new piece
	done   int    // bytes passed on
	before int    // base64 characters before source
	hidden int    // held-back bytes that are the end of a pattern
	masked bool   // the output so far ends in a mark

	views [2]view
	spans []span // of the source, to mask
	found []span // matches in the text of a search
	out   []byte
}

// padding makes it safe to load 8 bytes at each place of a text, and one step further.
var padding [8 + stride]byte //nolint:gochecknoglobals // it is zero

// Stream returns a Stream that masks what s contains at the time of each call.
func (s *Set) Stream() *Stream {
	return &Stream{set: s, views: [2]view{{first: backslash}, {first: percent | entity}}}
}

// Next adds a piece of the text. It returns the output so far, valid until the next call, and the number of marks that begin in it.
func (st *Stream) Next(piece []byte) (out []byte, marks int) {
	st.source = append(slices.Delete(st.source, 0, st.done), piece...)
	return st.take(false)
}

// End returns what is held back, and resets the Stream.
func (st *Stream) End() (out []byte, marks int) {
	st.source = slices.Delete(st.source, 0, st.done)
	out, marks = st.take(true)
	st.before, st.masked = 0, false
	return out, marks
}

// Mask returns text with a mark for each stretch of matches, and the number of marks. Without a match, it returns text.
func (s *Set) Mask(text string) (masked string, marks int) {
	if len(text) < s.width {
		return text, 0
	}
	st := s.streams.Get().(*Stream) //nolint:errcheck,forcetypeassert // it holds nothing else
	st.source, st.done = append(st.source, text...), 0
	out, marks := st.End()
	if masked = text; marks > 0 {
		masked = string(out)
	}
	if st.source = st.source[:0]; cap(st.source)+cap(st.out) <= 1<<20 {
		s.streams.Put(st)
	}
	return masked, marks
}

// take masks source, except what may be the beginning of a match.
func (st *Stream) take(last bool) (out []byte, marks int) {
	s := st.set
	st.source = append(st.source, padding[:]...)[:len(st.source)]
	if st.spans = st.spans[:0]; st.hidden > 0 {
		st.spans = append(st.spans, span{0, st.hidden})
	}
	needed := [2]bool{st.needsBackslash(), bytes.IndexByte(st.source, '%') >= 0 || bytes.IndexByte(st.source, '&') >= 0}
	end := len(st.source)

	s.mu.RLock()
	for i := range st.views {
		if v := &st.views[i]; needed[i] {
			end = min(end, v.decode(st.source, st.before, last))
			v.text = append(v.text, padding[:]...)[:len(v.text)]
			open := s.search(st, v.text, last)
			if open < len(v.text) {
				end = min(end, v.sources[open].from)
			}
			for _, f := range st.found {
				st.spans = append(st.spans, span{v.sources[f.from].from, v.sources[f.to-1].to})
			}
		} else {
			v.reset()
			v.outer = v.outer[:0]
		}
	}
	end = min(end, s.search(st, st.source, last))
	s.mu.RUnlock()

	for i := range st.views { // no mark, and no end of the output, may cut an escape
		v := &st.views[i]
		for k := range st.found {
			st.found[k].from, _ = around(v.outer, st.found[k].from)
			_, st.found[k].to = around(v.outer, st.found[k].to)
		}
		end, _ = around(v.sources, end)
	}
	end, _ = around(st.views[0].sources, end)
	if st.done = end; end == 0 {
		return nil, 0
	}
	st.spans = append(st.spans, st.found...)
	return st.render(st.source[:end])
}

// needsBackslash reports whether the first view changes source.
func (st *Stream) needsBackslash() bool {
	b := st.source
	if bytes.IndexByte(b, '\\') >= 0 || bytes.IndexByte(b, '\r') >= 0 ||
		bytes.Contains(b, []byte(`""`)) || bytes.Contains(b, []byte(`''`)) {
		return true
	}
	for i := 0; ; i++ {
		next := bytes.IndexByte(b[i:], '\n')
		if next < 0 {
			return false
		}
		if i += next; trailingBase64(b[:i], st.before) >= wrapped {
			return true
		}
	}
}

// search puts the matches in text into st.found. It returns the first place where an incomplete pattern may begin, or the end; for the last
// part of a text, always the end.
func (s *Set) search(st *Stream, text []byte, last bool) (open int) {
	st.found, open = st.found[:0], len(text)
	padded, end := text[:len(text)+len(padding)], len(text)-s.width
	filter, lastBit, mask := s.grams, s.lastBit, s.gramMask
	for i := 0; i <= end; i += 2 * stride { // two steps at once; most find nothing
		a := binary.LittleEndian.Uint64(padded[i+stride-1:]) & mask * factor >> 32 & lastBit
		b := binary.LittleEndian.Uint64(padded[i+2*stride-1:]) & mask * factor >> 32 & lastBit
		if (filter[a/64]>>(a%64)|filter[b/64]>>(b%64))&1 == 0 {
			continue
		}
		first, behind := i, i+2*stride
		if filter[a/64]>>(a%64)&1 == 0 {
			first += stride
		} else if filter[b/64]>>(b%64)&1 == 0 {
			behind -= stride
		}
		for k := first; k < behind && k <= end; k++ {
			if s.mayBegin(padded[k:], s.width) {
				open = min(open, st.look(text, k))
			}
		}
	}
	for i := max(0, end+1); i < len(text) && !last; i++ {
		if s.mayBegin(padded[i:], len(text)-i) {
			open = min(open, st.look(text, i))
		}
	}
	if last {
		return len(text)
	}
	return open
}

// look adds the longest pattern at a place of text to found. It returns where an incomplete pattern may begin, or the end of text. A single
// line feed does not count: it would hold back every line.
func (st *Stream) look(text []byte, place int) (open int) {
	p, length, isOpen := st.set.lookup(text[place:])
	if f := (span{place, place + length}); length > 0 {
		// One more base64 character at each end may share bits with it.
		before, behind := p.shared()
		if before && f.from > 0 && inBase64[text[f.from-1]] {
			f.from--
		}
		if behind && f.to < len(text) && inBase64[text[f.to]] {
			f.to++
		}
		isOpen = isOpen || behind && place+length == len(text)
		st.found = append(st.found, f)
	}
	switch {
	case !isOpen, place == len(text)-1 && text[place] == '\n' && bytes.HasSuffix(st.source, text[place:]):
		return len(text)
	case place > 0 && inBase64[text[place-1]]:
		return place - 1
	}
	return place
}

// render returns text, the beginning of source, with a mark for each stretch of spans.
func (st *Stream) render(text []byte) (out []byte, marks int) {
	st.before, st.hidden = trailingBase64(text, st.before), 0
	if len(st.spans) == 0 {
		st.masked = false
		return text, 0
	}
	slices.SortFunc(st.spans, func(a, b span) int { return a.from - b.from })
	out, from := st.out[:0], 0
	for _, one := range st.spans {
		if one.from >= len(text) {
			break
		}
		st.hidden = max(st.hidden, one.to-len(text))
		if one.from, one.to = max(one.from, from), min(one.to, len(text)); one.from >= one.to {
			continue
		}
		out = append(out, text[from:one.from]...)
		if st.masked = st.masked && one.from == from; !st.masked {
			out = append(out, st.set.mark...)
			marks++
		}
		st.masked, from = true, one.to
	}
	st.masked = st.masked && from == len(text)
	out = append(out, text[from:]...)
	st.out = out
	return out, marks
}

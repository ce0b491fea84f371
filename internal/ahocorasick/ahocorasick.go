// Package ahocorasick finds many patterns in a text at once, also in one that comes in pieces.
//
// It is the automaton of Aho and Corasick (1975) over bytes, in the form of a trie with links of failure. A search is a
// state that is carried from piece to piece, so that it matters nowhere where a text was cut. It takes a time that is
// linear in the text, whatever the patterns are and however a text repeats itself.
//
// The trie lies level by level in arrays: the children of a state are neighbours, so that a state takes 13 bytes instead of
// the 1 KiB of a table of all bytes. A text that begins no pattern is passed over by a set of the first bytes of them all,
// without a look at the trie.
//
// It stands here because the libraries that there are search a text as a whole: none lets a caller keep the state between
// two of them. Those of cloudflare, BobuSumisu and petar-dambovaliev were looked at; the first finds no places either, and
// the tables of the first two take 1 KiB or more for each byte of a pattern.
package ahocorasick

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"sort"
)

// State is a place in the search of a text: how far the end of it is the beginning of a pattern. The zero State is that of
// an empty text. It is of use to the Automaton that made it alone.
type State int32

const (
	// widest is the length in bytes of the longest beginning of a pattern that is kept in the set.
	widest = 8
	golden = 0x9E3779B97F4A7C15 // 2⁶⁴ divided by the golden ratio
)

// Automaton finds a set of patterns. It does not change, and is safe for concurrent use.
type Automaton struct {
	// A state is an index; 0 is the root. They are numbered level by level, those of one parent by the byte that leads to
	// them, and first has one more to mark the end.
	label []byte  // the byte that leads here
	first []int32 // of the children
	fail  []int32 // the longest proper ending of this state that is a state
	match []int32 // the length of the longest pattern that the text ends with here, or 0
	level []int32 // the first state of each depth, and the count of states
	root  [256]int32

	starts []uint64 // a set of hashes of the first width bytes of the patterns
	shift  int      // of a hash, to an index of a bit in starts
	width  int      // the length of the shortest pattern, if not widest
}

// New returns an Automaton for patterns. Empty ones are passed over. It returns nil if there are none, or more than 2 GiB
// of them.
func New(patterns []string) *Automaton {
	sorted := slices.Sorted(slices.Values(patterns))
	sorted = slices.Compact(sorted)
	if len(sorted) > 0 && sorted[0] == "" {
		sorted = sorted[1:]
	}
	size := 1
	for _, p := range sorted {
		size += len(p)
		if size >= math.MaxInt32 {
			return nil
		}
	}
	if len(sorted) == 0 {
		return nil
	}
	a := &Automaton{}
	a.grow(sorted)
	a.link()
	a.note(sorted)
	return a
}

// grow makes the trie of sorted, which are different and in order: each state stands for a stretch of them, which begin
// with the same bytes.
func (a *Automaton) grow(sorted []string) {
	type stretch struct{ from, to int32 }
	above := []stretch{{0, int32(len(sorted))}} // New has seen to it
	a.label, a.match = []byte{0}, []int32{0}
	a.level = []int32{0, 1}
	for depth := 0; len(above) > 0; depth++ {
		var below []stretch
		for _, s := range above {
			a.first = append(a.first, int32(len(a.label))) // New has seen to it
			if len(sorted[s.from]) == depth {
				a.match[len(a.first)-1] = int32(depth)
				s.from++
			}
			for s.from < s.to {
				b := sorted[s.from][depth]
				end := s.from + 1
				for end < s.to && sorted[end][depth] == b {
					end++
				}
				a.label, a.match = append(a.label, b), append(a.match, 0)
				below = append(below, stretch{s.from, end})
				s.from = end
			}
		}
		if len(below) > 0 {
			a.level = append(a.level, int32(len(a.label))) // New has seen to it
		}
		above = below
	}
	a.first = append(a.first, int32(len(a.label))) // New has seen to it
	a.label, a.first, a.match = slices.Clip(a.label), slices.Clip(a.first), slices.Clip(a.match)
}

// link sets the links of failure. Those of a level are known when those of the levels above are.
func (a *Automaton) link() {
	a.fail = make([]int32, len(a.label))
	for child := a.first[0]; child < a.first[1]; child++ {
		a.root[a.label[child]] = child
	}
	for state := int32(1); int(state) < len(a.label); state++ {
		for child := a.first[state]; child < a.first[state+1]; child++ {
			a.fail[child] = a.next(a.fail[state], a.label[child])
			a.match[child] = cmp.Or(a.match[child], a.match[a.fail[child]])
		}
	}
}

// note makes the set of how sorted begin.
func (a *Automaton) note(sorted []string) {
	const (
		bitsPerStart = 64
		least, most  = 12, 24 // 512 bytes, 2 MiB
	)
	a.width = widest
	for _, p := range sorted {
		a.width = min(a.width, len(p))
	}
	log := min(max(least, bits.Len(uint(bitsPerStart*len(sorted)))), most)
	a.starts, a.shift = make([]uint64, 1<<log/64), 64-log
	for _, p := range sorted {
		var window uint64
		for i := range a.width {
			window = window>>8 | uint64(p[i])<<56
		}
		h := window >> (64 - 8*a.width) * golden >> a.shift
		a.starts[h/64] |= 1 << (h % 64)
	}
}

// child returns the child of state for b, or 0 if there is none.
func (a *Automaton) child(state int32, b byte) int32 {
	from, to := a.first[state], a.first[state+1]
	const few = 8
	if to-from > few {
		labels := a.label[from:to]
		from += int32(sort.Search(len(labels), func(i int) bool { return labels[i] >= b })) // at most 256
		if from < to && a.label[from] == b {
			return from
		}
		return 0
	}
	for ; from < to; from++ {
		if a.label[from] == b {
			return from
		}
	}
	return 0
}

// next returns the state after b.
func (a *Automaton) next(state int32, b byte) int32 {
	for state != 0 {
		if child := a.child(state, b); child != 0 {
			return child
		}
		state = a.fail[state]
	}
	return a.root[b]
}

// Scan goes on with a search in text, the next piece of a text. It calls found for each place where patterns end, with the
// index in text behind the longest of them, and its length: it may begin in an earlier piece. Of those that end at one
// place the longest covers all others. The places are in order.
func Scan[Text ~string | ~[]byte](a *Automaton, state State, text Text, found func(end, length int)) State {
	s := int32(state)
	for i := 0; i < len(text); {
		if s == 0 {
			if i = skip(a, text, i); i == len(text) {
				break
			}
		}
		before := s
		s = a.next(s, text[i])
		i++
		if n := a.match[s]; n != 0 {
			found(i, int(n))
			continue
		}
		// Where a beginning was given up for a short one, nothing has ended yet, and the set may pass over that one too. It
		// lies further on than the one that was given up, so that this comes to an end.
		if limit := a.level[a.width]; s < limit {
			depth := a.depth(s)
			if begin := i - depth; begin >= 0 && begin+a.width <= len(text) && (before >= limit || depth <= a.depth(before)) {
				i, s = begin, 0
			}
		}
	}
	return State(s)
}

// depth returns how many bytes lead to s, one by one: it is for those near the root.
func (a *Automaton) depth(s int32) int {
	depth := 0
	for s >= a.level[depth+1] {
		depth++
	}
	return depth
}

// skip returns the first index in text, from i on, at which a pattern may begin.
func skip[Text ~string | ~[]byte](a *Automaton, text Text, i int) int {
	if len(text)-i < a.width {
		return i
	}
	var window uint64
	end := i
	for ; end < i+a.width-1; end++ {
		window = window>>8 | uint64(text[end])<<56
	}
	starts, shift, low := a.starts, a.shift&63, (64-8*a.width)&63
	for ; end < len(text); end++ {
		window = window>>8 | uint64(text[end])<<56
		h := window >> low * golden >> shift
		if starts[h/64]&(1<<(h%64)) != 0 {
			return end + 1 - a.width
		}
	}
	return end + 1 - a.width
}

// Pending returns how many bytes at the end of the text so far may be the beginning of a pattern.
func (a *Automaton) Pending(state State) int {
	return sort.Search(len(a.level)-1, func(depth int) bool { return int32(state) < a.level[depth+1] })
}

// Longest returns the length of the longest pattern.
func (a *Automaton) Longest() int { return len(a.level) - 2 }

// Size returns how many bytes of memory the Automaton takes, about.
func (a *Automaton) Size() int {
	const perState, rest = 13, 2 << 10
	return rest + perState*len(a.label) + 8*len(a.starts)
}

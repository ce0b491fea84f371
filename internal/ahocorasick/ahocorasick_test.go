package ahocorasick_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/ahocorasick"
)

type match struct{ end, length int }

// naive returns the longest of patterns that ends at each place of text.
func naive(text string, patterns []string) (all []match) {
	for end := 1; end <= len(text); end++ {
		longest := 0
		for _, p := range patterns {
			if strings.HasSuffix(text[:end], p) {
				longest = max(longest, len(p))
			}
		}
		if longest > 0 {
			all = append(all, match{end, longest})
		}
	}
	return all
}

// pending returns the length of the longest ending of text that is the beginning of a pattern.
func pending(text string, patterns []string) int {
	for from := range len(text) { // bytes: a pattern may begin within a character
		for _, p := range patterns {
			if strings.HasPrefix(p, text[from:]) {
				return len(text) - from
			}
		}
	}
	return 0
}

// scan finds what there is in pieces, as one text. Every other piece is a slice of bytes.
func scan(a *ahocorasick.Automaton, pieces ...string) (all []match, state ahocorasick.State) {
	before := 0
	for i, piece := range pieces {
		found := func(end, length int) { all = append(all, match{before + end, length}) }
		if i%2 == 0 {
			state = ahocorasick.Scan(a, state, piece, found)
		} else {
			state = ahocorasick.Scan(a, state, []byte(piece), found)
		}
		before += len(piece)
	}
	return all, state
}

func TestScan(t *testing.T) {
	for _, c := range []struct {
		patterns []string
		text     string
	}{
		{[]string{"he", "she", "his", "hers"}, "ushers said his hers"},
		{[]string{"a"}, "aaabaaa"},
		{[]string{"aa", "aaaa", "aaaaaaaa"}, "aaaaaaaaaabaaaa"},
		{[]string{"abaab"}, "abaabaab"},
		{[]string{"abcdefgh", "cdefghijkl", "ghijklmnop"}, "zabcdefghijklmnopz"},
		{[]string{"abcdefgh1", "abcdefgh2"}, "abcdefghabcdefgh2"},
		{[]string{"", "x"}, "axb"},
		{[]string{"same", "same"}, "same"},
		{[]string{"\x00\xff\x00", "\xff"}, "\x00\xff\x00\xff\x00"},
		{[]string{"pattern"}, ""},
		{[]string{"longer than the text"}, "text"},
	} {
		a := ahocorasick.New(c.patterns)
		patterns := slices.DeleteFunc(slices.Clone(c.patterns), func(p string) bool { return p == "" })
		for cut := range len(c.text) + 1 {
			is := is.New(t)
			got, state := scan(a, c.text[:cut], c.text[cut:])
			is.Equal(got, naive(c.text, patterns))
			is.Equal(a.Pending(state), pending(c.text, patterns))
		}
	}
}

func TestNoPatterns(t *testing.T) {
	is := is.New(t)
	is.True(ahocorasick.New(nil) == nil)
	is.True(ahocorasick.New([]string{"", ""}) == nil)
}

func TestFigures(t *testing.T) {
	is := is.New(t)
	a := ahocorasick.New([]string{"abc", "abcde", "x"})
	is.Equal(a.Longest(), 5)
	is.True(a.Size() > 13*7)
	is.Equal(a.Pending(0), 0)
}

// TestAgainstTheReference tries random patterns of few letters, which overlap all the time, in random pieces.
func TestAgainstTheReference(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	word := func(letters string, n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = letters[random.IntN(len(letters))]
		}
		return string(b)
	}
	for range 3000 {
		letters := []string{"ab", "abc", "0123456789abcdef", "a"}[random.IntN(4)]
		least := 1 + random.IntN(10) // so that each width of the set is met
		patterns := make([]string, 1+random.IntN(12))
		for i := range patterns {
			patterns[i] = word(letters, least+random.IntN(8))
		}
		a := ahocorasick.New(patterns)
		for range 10 {
			var b strings.Builder
			for b.Len() < 20+random.IntN(100) {
				if random.IntN(3) == 0 {
					b.WriteString(patterns[random.IntN(len(patterns))])
				} else {
					b.WriteString(word(letters, random.IntN(12)))
				}
			}
			text := b.String()
			var pieces []string
			for rest := text; rest != ""; {
				n := 1 + random.IntN(min(len(rest), 1+random.IntN(40)))
				pieces, rest = append(pieces, rest[:n]), rest[n:]
			}
			got, state := scan(a, pieces...)
			if want := naive(text, patterns); !slices.Equal(got, want) {
				t.Fatalf("%q in %q: %v, want %v", patterns, pieces, got, want)
			}
			if got, want := a.Pending(state), pending(text, patterns); got != want {
				t.Fatalf("%q in %q: pending %d, want %d", patterns, pieces, got, want)
			}
		}
	}
}

func FuzzScan(f *testing.F) {
	f.Add("he,she,his,hers", "ushers", 3, 4)
	f.Add("abaab", "abaabaab", 5, 1)
	f.Add("aaaaaaaaa,aaaaaaaaab", "aaaaaaaaaaaaaaaaaaaab", 7, 8)
	f.Add("abcdefgh,bcdefghi", "xxabcdefghixx", 0, 9)
	f.Fuzz(func(t *testing.T, list, text string, cut, more int) {
		if len(list) > 200 || len(text) > 400 {
			return
		}
		patterns := slices.DeleteFunc(strings.Split(list, ","), func(p string) bool { return p == "" })
		a := ahocorasick.New(patterns)
		if a == nil {
			return
		}
		cut = min(max(0, cut), len(text))
		more = min(max(cut, more), len(text))
		got, state := scan(a, text[:cut], text[cut:more], text[more:])
		if want := naive(text, patterns); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		if got, want := a.Pending(state), pending(text, patterns); got != want {
			t.Errorf("pending %d, want %d", got, want)
		}
	})
}

func BenchmarkScan(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 1))
	patterns := make([]string, 20_000)
	for i := range patterns {
		patterns[i] = fmt.Sprintf("%x", random.Uint64()) + fmt.Sprintf("%x", random.Uint64())
	}
	a := ahocorasick.New(patterns)
	text := strings.Repeat(`time=2026-11-24T07:26:05.000Z level=INFO msg="request served" path=/v1/orders status=200 `+
		`id=4bf92f3577b34da6a3ce929d0e0e4736`+"\n", 1000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		ahocorasick.Scan(a, 0, text, func(int, int) {})
	}
}

func BenchmarkNew(b *testing.B) {
	patterns := make([]string, 20_000)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range patterns {
		patterns[i] = fmt.Sprintf("%x%x", random.Uint64(), random.Uint64())
	}
	b.ReportAllocs()
	for b.Loop() {
		ahocorasick.New(patterns)
	}
}

package search_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/search"
)

func masked(s *search.Set, text string) string {
	text, _ = s.Mask(text)
	return text
}

func TestForms(t *testing.T) {
	const text = "Ünder the r@dar" // Latin-1, a space and a symbol
	s := newSet(text)
	for name, form := range map[string]string{
		"plain":         text,
		"plus":          strings.ReplaceAll(text, " ", "+"),
		"Latin-1":       "\xdcnder the r@dar",
		"hex":           hex.EncodeToString([]byte(text)),
		"HEX":           strings.ToUpper(hex.EncodeToString([]byte(text))),
		"base64":        base64.RawStdEncoding.EncodeToString([]byte(text)),
		"list":          strings.Trim(fmt.Sprint([]byte(text)), "[]"),
		"list of JSON":  strings.ReplaceAll(strings.Trim(fmt.Sprint([]byte(text)), "[]"), " ", ","),
		"list, Python":  strings.ReplaceAll(strings.Trim(fmt.Sprint([]byte(text)), "[]"), " ", ", "),
		"Latin-1 and %": "%DCnder%20the r%40dar",
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(masked(s, "<"+form+">"), "<"+mark+">")
			is.Equal(masked(newSet(), "<"+form+">"), "<"+form+">") // the control
		})
	}
}

// At each alignment, the mark covers every character that has a bit of the text.
func TestBase64AtEachAlignment(t *testing.T) {
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
		for length := 8; length < 14; length++ {
			text := "?>~\xff\xfe%A.....bcd"[:length]
			for before := range 4 {
				for after := range 4 {
					t.Run(fmt.Sprint(encoding == base64.StdEncoding, length, before, after), func(t *testing.T) {
						is := is.New(t)
						encoded := encoding.EncodeToString([]byte(strings.Repeat("x", before) + text + strings.Repeat("y", after)))
						from, to := 8*before/6, (8*(before+length)+5)/6 // the characters that have a bit of it
						is.Equal(masked(newSet(text), encoded), encoded[:from]+mark+encoded[to:])
					})
				}
			}
		}
	}
}

func TestATextIsFoundUntilItWasRemovedAsOftenAsAdded(t *testing.T) {
	is := is.New(t)
	const text = `p%40ss "word" 1`
	s := newSet(text, text, "another text 2")
	_, full := s.Size()
	s.Remove(text)
	is.Equal(masked(s, text), mark)
	s.Remove(text)
	is.Equal(masked(s, text+"another text 2"), text+mark)
	_, less := s.Size()
	is.True(less < full)
	s.Remove("never added 3")
	is.Equal(masked(s, "another text 2"), mark)
}

// A text may be the canonical form of another: each has its own holders.
func TestVariantsHaveTheirOwnHolders(t *testing.T) {
	is := is.New(t)
	s := newSet("P@ss-word", "P%40ss-word", "P%2540ss-word")
	for _, text := range []string{"P%2540ss-word", "P@ss-word", "P%40ss-word"} {
		is.Equal(masked(s, text), mark)
		s.Remove(text)
	}
	is.Equal(masked(s, "P@ss-word P%40ss-word"), "P@ss-word P%40ss-word")
	patterns, _ := s.Size()
	is.Equal(patterns, 0)
}

func TestAWeakVariantIsNotMasked(t *testing.T) {
	is := is.New(t)
	s := newSet(`pass\word`, "%41%42%43")
	is.Equal(masked(s, "password passwords ABC"), "password passwords ABC")
	is.Equal(masked(s, `pass\word %41%42%43`), mark+" "+mark)
}

// Many texts share a prefix, and some are prefixes of others. The control is a search for each text alone.
func TestTextsWithACommonPrefix(t *testing.T) {
	is := is.New(t)
	r := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		b := []byte("hvs.CAES")
		for range n {
			b = append(b, "-+"[r.IntN(2)])
		}
		return string(b)
	}
	for range 300 {
		var texts []string
		for range r.IntN(40) {
			texts = append(texts, word(r.IntN(8)))
		}
		s := newSet(texts...)
		for range 10 {
			line := word(r.IntN(12)) + word(r.IntN(12)) + " " + word(r.IntN(12))
			want := []byte(line)
			for _, text := range texts {
				for at := range line {
					if strings.HasPrefix(line[at:], text) {
						copy(want[at:], strings.Repeat("\x00", len(text)))
					}
				}
			}
			var b strings.Builder
			for i, c := range want {
				if c != 0 {
					b.WriteByte(c)
				} else if i == 0 || want[i-1] != 0 {
					b.WriteString(mark)
				}
			}
			is.Equal(masked(s, line), b.String())
			if len(texts) > 0 && r.IntN(3) == 0 {
				s.Remove(texts[0])
				texts = texts[1:]
			}
		}
	}
}

// A long text is searched in parts. No byte between the parts of its base64 shows.
func TestLongTexts(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, length := range []int{4094, 4095, 4096, 4097, 8190, 8191, 20_000} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			is := is.New(t)
			raw := make([]byte, length)
			for i := range raw {
				raw[i] = byte(r.Uint32())
			}
			text := string(raw)
			s := newSet(text)
			is.Equal(masked(s, "<"+text+">"), "<"+mark+">")
			is.Equal(masked(s, "<"+hex.EncodeToString(raw)+">"), "<"+mark+">")
			is.Equal(masked(s, "<"+base64.RawStdEncoding.EncodeToString(raw)+">"), "<"+mark+">")
			s.Remove(text)
			patterns, _ := s.Size()
			is.Equal(patterns, 0)
		})
	}
}

// Removed texts leave nothing behind.
func TestRemovedTextsFreeTheirMemory(t *testing.T) {
	is := is.New(t)
	s := newSet(randomValues(100)...)
	_, before := s.Size()
	for i := range 20_000 {
		text := fmt.Sprintf("value & %d\\", i)
		s.Add(text)
		s.Remove(text)
	}
	_, after := s.Size()
	is.True(after <= 2*before) // the filter is rebuilt now and then, with some room
}

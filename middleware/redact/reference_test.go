package redact_test

import (
	"cmp"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// cases returns the number of cases for the comparison with the reference.
func cases(t *testing.T) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("REDACT_CASES")); err == nil {
		return n
	}
	if full() {
		return 1_000_000
	}
	return 100_000
}

// compare runs random phrases and texts, split in all ways, through the result of mask and through the reference.
func compare(n int, mask func(phrases []string) func(pieces ...string) string) (tried, missed, masked int) {
	random := rand.New(rand.NewPCG(11, 12))
	word := func(letters string, n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = letters[random.IntN(len(letters))]
		}
		return string(b)
	}
	for tried < n {
		// With these letters, the only form of a phrase is the phrase itself.
		letters := []string{"a-", "a-", "ab-", "0123456789abcdef-"}[random.IntN(4)]
		phrases := make([]string, 1+random.IntN(5))
		for i := range phrases {
			phrases[i] = "-" + word(letters, 7+random.IntN(9)) + "-" // two digits at its beginning might be part of %2d
			if i > 0 && random.IntN(3) == 0 {                        // share a beginning, or contain one another
				phrases[i] = phrases[i-1][:1+random.IntN(len(phrases[i-1])-1)] + phrases[i]
			}
		}
		run := mask(phrases)
		for range 12 {
			var b strings.Builder
			for b.Len() < 15+random.IntN(50) {
				p := phrases[random.IntN(len(phrases))]
				switch random.IntN(4) {
				case 0:
					b.WriteString(p)
				case 1:
					b.WriteString(p[:random.IntN(len(p))])
				case 2:
					b.WriteString(p[random.IntN(len(p)):])
				default:
					b.WriteString(word(letters, random.IntN(9)))
				}
			}
			text := b.String()
			want := naive(text, phrases)
			check := func(pieces ...string) {
				got := run(pieces...)
				switch tried++; {
				case got == want:
				case left(got) > left(want):
					missed++
				default:
					masked++
				}
			}
			for cut := range len(text) + 1 {
				check(text[:cut], text[cut:])
			}
			check(strings.Split(text, "")...) // byte by byte
		}
	}
	return tried, missed, masked
}

// TestTheWriterAgreesWithTheReference tries REDACT_CASES cases.
func TestTheWriterAgreesWithTheReference(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	n := cases(t)
	tried, missed, masked := compare(n, func(phrases []string) func(...string) string {
		r := knowing(phrases...)
		return func(pieces ...string) string { return streamed(t, r, pieces...) }
	})
	t.Logf("%d cases: %d missed, %d masked that should not be", tried, missed, masked)
	is.Equal(missed, 0)
	is.Equal(masked, 0)
	is.True(tried >= n)
}

// The same for errors, where shorter texts are masked.
func TestErrorsAgreeWithTheReference(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "ab"[random.IntN(2)]
		}
		return string(b)
	}
	for range 1000 {
		phrases := make([]string, 1+random.IntN(4))
		for i := range phrases {
			phrases[i] = word(4 + random.IntN(9))
		}
		scrub := scrubber(phrases...)
		for range 20 {
			text := word(random.IntN(64))
			if got, want := scrub(text), naive(text, phrases); got != want {
				t.Errorf("%q in %q: %q, want %q", phrases, text, got, want)
			}
		}
	}
}

// Controls: other maskers leak in the same comparison.
func TestOtherMaskersLeakInTheSameComparison(t *testing.T) {
	byLength := func(phrases []string) []string {
		return slices.SortedFunc(slices.Values(phrases), func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	}
	t.Run("stacked", func(t *testing.T) {
		_, missed, _ := compare(20_000, func(phrases []string) func(...string) string {
			return func(pieces ...string) string {
				var b strings.Builder
				var w io.WriteCloser = nopCloser{&b}
				for _, p := range byLength(phrases) {
					w = &stacked{next: w, phrase: p}
				}
				for _, p := range pieces {
					_, _ = io.WriteString(w, p)
				}
				_ = w.Close()
				return b.String()
			}
		})
		is := is.New(t)
		is.True(missed > 100)
	})
	t.Run("strings.Replacer", func(t *testing.T) {
		_, missed, _ := compare(20_000, func(phrases []string) func(...string) string {
			var pairs []string
			for _, p := range byLength(phrases) {
				pairs = append(pairs, p, mark)
			}
			replacer := strings.NewReplacer(pairs...)
			return func(pieces ...string) string { return replacer.Replace(strings.Join(pieces, "")) }
		})
		is := is.New(t)
		is.True(missed > 100)
	})
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// stacked masks one phrase as the runner of GitLab does: where a phrase breaks off, it starts again at the current byte.
type stacked struct {
	next    io.WriteCloser
	phrase  string
	matched int
}

func (s *stacked) Write(p []byte) (int, error) {
	for _, b := range p {
		if b != s.phrase[s.matched] && s.matched > 0 {
			_, _ = io.WriteString(s.next, s.phrase[:s.matched])
			s.matched = 0
		}
		if b != s.phrase[s.matched] {
			_, _ = s.next.Write([]byte{b})
			continue
		}
		if s.matched++; s.matched == len(s.phrase) {
			_, _ = io.WriteString(s.next, mark)
			s.matched = 0
		}
	}
	return len(p), nil
}

func (s *stacked) Close() error {
	_, _ = io.WriteString(s.next, s.phrase[:s.matched])
	return s.next.Close()
}

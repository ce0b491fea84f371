package redact_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/middleware/redact"
)

// TestSpansAgreeWithTheReference compares with a mark for each place. What touches is one stretch.
func TestSpansAgreeWithTheReference(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	for range 5000 {
		var covered [60]bool // places and, for odd ones, what is between them
		list := func() (all [][2]int) {
			for end := 2; end < 30; end += 1 + random.IntN(12) {
				from := max(0, end-1-random.IntN(10))
				all = append(all, [2]int{from, end})
				for i := 2 * from; i <= 2*end; i++ {
					covered[i] = true
				}
			}
			return all
		}
		a, b := list(), list()
		var want [][2]int
		for i := 0; i < len(covered); i++ {
			from := i
			for i < len(covered) && covered[i] {
				i++
			}
			if i > from {
				want = append(want, [2]int{from / 2, (i - 1) / 2})
			}
		}
		if got := redact.Spans(a, b); !slices.Equal(got, want) {
			t.Fatalf("%v and %v: %v, want %v", a, b, got, want)
		}
	}
	is.New(t).Equal(redact.Spans(nil, nil), nil)
}

package goldentest_test

import (
	"math/rand/v2"
	"testing"
)

// A golden text that is cut into two or three pieces, at any places, shows no part of the value.
func TestEverySplitOfEveryGoldenText(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(15, 1))
	texts, splits, failed := 0, 0, tally{}
	for _, v := range values() {
		r := knowing(v.known)
		for _, w := range writers() {
			if lossy(w, v) || known(w, v) || w.bytes && v.open != "" {
				continue // a character of base64 with bits of a key and of the next byte may be written before that byte comes
			}
			g := printed(t, w, v)
			texts++
			check := func(pieces ...string) bool {
				splits++
				if shown := g.shown(streamed(t, r, pieces...)); shown != "" {
					failed.fail(t, w.name, "%s of %s: %q shows in %q", w.name, v.name, shown, pieces)
					return false
				}
				return true
			}
			ok := true
			for cut := 1; ok && cut < len(g.text); cut++ {
				ok = check(g.text[:cut], g.text[cut:])
			}
			for n := 0; ok && n < 20; n++ {
				a := random.IntN(len(g.text))
				b := a + random.IntN(len(g.text)-a)
				ok = check(g.text[:a], g.text[a:b], g.text[b:])
			}
		}
	}
	t.Logf("%d texts, %d splits; failed: %s", texts, splits, failed)
}

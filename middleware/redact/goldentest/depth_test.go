package goldentest_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"math/rand/v2"
	"net/url"
	"os"
	"strings"
	"testing"
)

// full reports whether the longest tests run in full, as in CI.
func full() bool { return os.Getenv("LONG_TESTS") != "" && !testing.Short() }

// In every pair, one writer prints the output of the other.
func TestEveryPairOfWriters(t *testing.T) {
	t.Parallel()
	var outputs, missed [5]int // by depth; 4 is 4 or more
	mixed, enumerated := 0, 0
	listed, all := tally{}, values()
	failed, shown := tally{}, tally{}
	for n, v := range all {
		r := knowing(v.known)
		for i, inner := range writers() {
			if lossy(inner, v) {
				continue
			}
			first := printed(t, inner, v)
			for k, outer := range goWriters() {
				if lossy(outer, v) {
					continue
				}
				if !full() && (i+k)%len(all) != n && (i+k+len(all)/2)%len(all) != n {
					continue // each pair with two of the values
				}
				g, ok := second(t, outer, inner, first, v)
				if !ok {
					continue
				}
				got := streamed(t, r, byLine(g.text)...)
				if reason := hides(outer, inner, first, v); reason != "" {
					listed.add(reason)
					if g.shown(got) != "" {
						shown.add(reason)
					}
					continue
				}
				if g.shown(g.text) == "" {
					t.Fatalf("%s of %s: the control shows nothing in %q", g.by, v.name, g.text)
				}
				if !inner.bytes && !outer.bytes && first.text[first.from:first.to] != v.text {
					mixed++
					if g.shown(enumerate(g.text, v.known, v.text)) != "" {
						enumerated++
					}
				}
				depth := min(inner.levels()+outer.levels(), 4)
				outputs[depth]++
				leak := g.shown(got)
				if leak == "" && !g.broken(got) {
					continue
				}
				missed[depth]++
				failed.log(t, outer.name, "%s of %s: %q shows, or it is no JSON\n  %.300q\n  %.300q", g.by, v.name, leak, g.text, got)
			}
		}
	}
	t.Logf("%d outputs are two deep: %d missed; %d are three deep: %d missed; %d are deeper: %d missed",
		outputs[2], missed[2], outputs[3], missed[3], outputs[4], missed[4])
	t.Logf("missed, by the outer writer: %s", failed)
	t.Logf("not searched for: %s, of which show: %s", listed, shown)
	t.Logf("an enumeration of encodings misses %d of %d outputs that are escaped twice", enumerated, mixed)
	if missed[2] > 0 || missed[3]*1000 > outputs[3] {
		t.Errorf("%d outputs of two writers were missed, and %d of %d that are three deep, more than none and 1 in 1,000",
			missed[2], missed[3], outputs[3])
	}
	if enumerated*2 < mixed {
		t.Errorf("the control, which enumerates encodings, misses only %d of %d", enumerated, mixed)
	}
}

// second returns outer's output for the output of inner. ok is false if outer escapes the marks.
func second(t *testing.T, outer, inner writer, first golden, v value) (g golden, ok bool) {
	t.Helper()
	g = golden{by: inner.name + " in " + outer.name, of: v, json: outer.json}
	g.text = before + write(t, outer, first.text) + after
	// A text that is the same with other values does not show this value.
	from, to := first.from+inner.head, first.to-inner.tail
	if to <= from {
		from, to = first.from, first.to
	}
	other := before + write(t, outer, first.text[:from]+strings.Repeat("x", to-from)+first.text[to:]) + after
	open := ""
	if v.open != "" {
		text, err := inner.around(before, v.open, after)
		if err != nil {
			t.Fatalf("%s: %v", g.by, err)
		}
		open = write(t, outer, text)
	}
	if outer.bytes {
		from, to = 0, len(g.text)
		for g.text[from] == other[from] {
			from++
		}
		for g.text[to-1] == other[to-1+len(other)-len(g.text)] {
			to--
		}
		// Without the characters that contain bits of a neighbour.
		g.forbid(g.text[min(from+2, to):max(to-2, from)], v.open, before+open+after, other)
		return g, true
	}
	g.text = g.text[len(before) : len(g.text)-len(after)]
	if !strings.Contains(g.text, before) && !strings.Contains(g.text, "before&period;") {
		return g, false
	}
	g.find(t, v.open, open, other)
	return g, true
}

func write(t *testing.T, w writer, text string) string {
	t.Helper()
	out, err := w.write(text)
	if err != nil {
		t.Fatalf("%s: %v", w.name, err)
	}
	return out
}

// hides returns why a value that two writers have printed is not searched for, or "".
func hides(outer, inner writer, first golden, v value) string {
	text := first.text[first.from:first.to]
	switch {
	case known(inner, v):
		return "shell quoting of a single quote, %uXXXX, &fjlig;, or line breaks in other texts than base64"
	case strings.HasPrefix(outer.name, "lines of"):
		return "line breaks in other texts than base64"
	case known(outer, value{text: text}):
		return "shell quoting of a single quote"
	case outer.bytes && inner.bytes:
		return "base64 or hex of base64 or hex"
	case outer.bytes && text != v.text:
		return "base64 or hex of an escaped text"
	case strings.Contains(text, " 1") && strings.Contains(inner.name, "bytes") && strings.Contains(printedSpace(outer), "+"):
		return "spaces in a list of bytes as + in a URL"
	case inner.bytes && strings.Contains(strings.TrimSpace(text), "\n") && strings.Contains(outer.name, "yaml"):
		return "base64 in lines that are indented"
	case strings.HasPrefix(outer.name, "xml") && strings.Contains(text, "\b"):
		return "characters that XML does not have"
	}
	return ""
}

// printedSpace returns w's output for a space.
func printedSpace(w writer) string {
	text, err := w.write(" ")
	if err != nil {
		panic(err) // every writer can print a space
	}
	return text
}

// enumerate is a control: it masks each of values in the most obvious encodings.
func enumerate(text string, values ...string) string {
	for _, v := range values {
		quoted, err := json.Marshal(v)
		if err != nil {
			panic(err) // a string always marshals
		}
		for _, form := range []string{
			v, strings.Trim(string(quoted), `"`), url.QueryEscape(v), url.PathEscape(v), html.EscapeString(v),
			base64.StdEncoding.EncodeToString([]byte(v)), hex.EncodeToString([]byte(v)),
		} {
			text = strings.ReplaceAll(text, form, mark)
		}
	}
	return text
}

// Three random writers, nested, print random values. At most one in 1,000 is missed.
func TestThreeWritersDeep(t *testing.T) {
	t.Parallel()
	rounds, each := 40, 250
	if full() {
		rounds = 400
	}
	var escaping []writer
	for _, w := range goWriters() {
		if !w.bytes && w.levels() == 1 && w.name != "shell" {
			escaping = append(escaping, w)
		}
	}
	random := rand.New(rand.NewPCG(15, 3))
	missed, enumerated, blank, failed := 0, 0, knowing(), tally{}
	for range rounds {
		v := randomValue(random)
		r := knowing(v)
		for range each {
			g := golden{of: value{text: v}, text: before + v + after}
			for range 3 {
				w := escaping[random.IntN(len(escaping))]
				g.text, g.by = write(t, w, g.text), g.by+" > "+w.name
			}
			g.find(t)
			if g.shown(streamed(t, blank, byLine(g.text)...)) == "" {
				t.Fatalf("%s of %q: the control shows nothing", g.by, v)
			}
			if g.shown(enumerate(g.text, v)) != "" {
				enumerated++
			}
			got := streamed(t, r, byLine(g.text)...)
			if shown := g.shown(got); shown != "" {
				missed++
				failed.log(t, "", "%q%s: %q shows\n  %.400q\n  %.400q", v, g.by, shown, g.text, got)
			}
		}
	}
	t.Logf("%d of %d were missed; the control, which enumerates encodings, misses %d", missed, rounds*each, enumerated)
	if missed*1000 > rounds*each {
		t.Errorf("%d of %d were missed, more than 1 in 1,000", missed, rounds*each)
	}
	if enumerated*2 < rounds*each {
		t.Errorf("the control misses only %d of %d", enumerated, rounds*each)
	}
}

// randomValue returns a value like those of a password generator.
func randomValue(random *rand.Rand) string {
	const letters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
	const signs = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ éß日😀"
	symbols := []rune(signs)
	var b strings.Builder
	for n := 12 + random.IntN(20); n > 0; n-- {
		if random.IntN(4) == 0 {
			b.WriteRune(symbols[random.IntN(len(symbols))])
		} else {
			b.WriteByte(letters[random.IntN(len(letters))])
		}
	}
	return "k" + b.String() + "7" // no space at the beginning or end
}

package goldentest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	mark = "[REDACTED]"
	// before and after are around each value. No writer escapes them.
	before, after = "before.", ".after"
	// window is the number of bytes in a row that must not show. A Redactor masks no shorter text.
	window = 8
)

// value is one text to print, and the value that a Redactor knows: the same text, or one that contains it.
type value struct {
	name  string
	known string
	text  string
	open  string // what may show of it: a PEM block or a JSON document, with x in place of secret parts
}

// values returns the values of testdata/values.json, which the generators of other languages read, too.
var values = sync.OnceValue(func() []value {
	var listed []struct{ Name, Value, Also, Open string }
	read("values.json", &listed)
	var all []value
	for _, v := range listed {
		all = append(all, value{v.Name, v.Value, v.Value, v.Open})
		if v.Also != "" {
			all = append(all, value{v.Name + ", a part", v.Value, v.Also, ""})
			if strings.Contains(v.Also, "PRIVATE KEY") {
				all[len(all)-1].open = strings.ReplaceAll(v.Open, `\n`, "\n")
			}
		}
	}
	return all
})

func read(name string, into any) {
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		panic(fmt.Sprintf("testdata/%s: %v", name, err))
	}
}

// golden is the output of one writer for one value.
type golden struct {
	by    string
	of    value
	text  string
	from  int // text[from:to] is the printed value
	to    int
	exact bool // the mark replaces text[from:to], except for head and tail
	head  int
	tail  int
	json  bool

	windows map[string]struct{} // must not show
}

// printed returns w's output for v.
func printed(t testing.TB, w writer, v value) golden {
	t.Helper()
	text, err := w.around(before, v.text, after)
	if err != nil {
		t.Fatalf("%s of %s: %v", w.name, v.name, err)
	}
	g := golden{by: w.name, of: v, text: text, exact: v.open == "" && !w.loose, head: w.head, tail: w.tail, json: w.json}
	if strings.HasSuffix(v.text, `\`) {
		g.tail += window // the escape of the last backslash may stay
	}
	open := []string{v.open}
	if w.loose { // with and without quotes
		open = append(open, "xyz", "x y z", `x"y"z`, `xyz\`)
	}
	if !g.exact {
		for i, s := range open {
			text, err := w.around(before, s, after)
			if err != nil {
				t.Fatalf("%s of %s: %v", w.name, s, err)
			}
			open[i] = text
		}
	}
	g.find(t, append(open, v.open)...)
	return g
}

// find finds the value in the text, and the windows that must not show: the runs of 8 bytes of the printed value and of the value itself.
// Runs that also occur around the value, or in the texts open, are left out.
func (g *golden) find(t testing.TB, open ...string) {
	t.Helper()
	first, last := before, after
	if !strings.Contains(g.text, before) {
		first, last = "before&period;", "&period;after" // as htmlentities of PHP prints them
	}
	g.from, g.to = strings.Index(g.text, first)+len(first), strings.LastIndex(g.text, last)
	if g.from < len(first) || g.to < g.from {
		t.Fatalf("%s: the marks are missing in %q", g.by, g.text)
	}
	g.forbid(g.text[min(g.from+g.head, g.to):max(g.to-g.tail, g.from)], append(open, g.text[:g.from], g.text[g.to:])...)
}

func (g *golden) forbid(printed string, open ...string) {
	if strings.HasSuffix(g.of.text, `\`) {
		printed = strings.TrimRight(printed, `\%25cC`) // the escape of the last backslash may stay, such as %255C
	}
	g.windows = map[string]struct{}{}
	for _, s := range []string{g.of.text, printed} {
		for i := range len(s) - window + 1 {
			g.windows[s[i:i+window]] = struct{}{}
		}
	}
	delete(g.windows, strings.Repeat(`\\`, window)) // they may stay, since they show nothing
	for _, s := range open {
		for i := range len(s) - window + 1 {
			delete(g.windows, s[i:i+window])
		}
	}
}

// shown returns the parts of the value that out shows.
func (g *golden) shown(out string) string {
	for i := range len(out) - window + 1 {
		if _, ok := g.windows[out[i:i+window]]; ok {
			return out[i : i+window]
		}
	}
	return ""
}

// broken reports whether out must be JSON, line by line, and is not.
func (g *golden) broken(out string) bool {
	if g.json {
		for line := range strings.Lines(out) {
			if !json.Valid([]byte(line)) {
				return true
			}
		}
	}
	return false
}

// fault returns what is wrong with out, the masked text, or "".
func (g *golden) fault(out string) string {
	if shown := g.shown(out); shown != "" {
		return fmt.Sprintf("shows %q", shown)
	}
	if g.broken(out) {
		return "is no JSON any more"
	}
	head, tail := g.text[:g.from], g.text[g.to:]
	rest, ok := strings.CutPrefix(out, head)
	if !ok {
		return "is masked too early"
	}
	if rest, ok = strings.CutSuffix(rest, tail); !ok {
		return "is masked too far"
	}
	if !g.exact {
		return ""
	}
	text := g.text[g.from:g.to]
	first, last, ok := strings.Cut(rest, mark)
	if !ok || len(first) > g.head || !strings.HasPrefix(text, first) || len(last) > g.tail || !strings.HasSuffix(text, last) {
		return fmt.Sprintf("has %q in the place of the value", rest)
	}
	return ""
}

// knowing returns a Redactor that knows values.
func knowing(values ...string) *redact.Redactor {
	r := redact.New()
	r.Writer(io.Discard) // values are masked from now on
	layer := r.NewRedaction(secrets.Info{Name: "golden"}, secretstest.NewBackend(nil))
	for i, v := range append([]string{"another-Value-1"}, values...) {
		layer.HandedOut(secrets.Ref{Path: "key" + strconv.Itoa(i)}, secrets.NewSecret(v, secrets.Meta{}))
	}
	return r
}

// streamed returns the output of a Writer of r for pieces.
func streamed(t testing.TB, r *redact.Redactor, pieces ...string) string {
	t.Helper()
	var b strings.Builder
	w := r.Writer(&b)
	for _, p := range pieces {
		if n, err := io.WriteString(w, p); n != len(p) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// byLine splits text into lines, as a log writes them.
func byLine(text string) []string { return strings.SplitAfter(text, "\n") }

// tally counts by name. It prints only the first faults, since there may be thousands.
type tally map[string]int

func (c tally) add(name string) { c[name]++ }

func (c tally) total() int {
	total := 0
	for _, n := range c {
		total += n
	}
	return total
}

func (c tally) log(t testing.TB, name, format string, args ...any) {
	t.Helper()
	if c.add(name); c.total() <= 20 {
		t.Logf(format, args...)
	}
}

func (c tally) fail(t testing.TB, name, format string, args ...any) {
	t.Helper()
	c.log(t, name, format, args...)
	t.Fail()
}

func (c tally) String() string { return fmt.Sprintf("%d %v", c.total(), map[string]int(c)) }

package redact_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// more reports whether got shows more than whole. It allows the characters of base64 around each value, which contain a few of its bits and
// may have been written before.
func more(got, whole string) bool {
	const around = 2
	return left(got) > left(whole)+around*strings.Count(whole, mark) || !strings.Contains(got, mark)
}

func TestTheWriterMasksWhereverWritesCut(t *testing.T) {
	t.Parallel()
	for _, value := range values {
		value = strings.TrimSpace(value)
		if len(value) > 100 {
			value = value[:100] + "x" // every split of it takes time
		}
		r := knowing("another-value", value, "and one more")
		for name, form := range printed(value) {
			if isLossy(form) {
				continue
			}
			text := "the server said «" + form + "» to us\n"
			whole := streamed(t, r, text)
			for cut := range len(text) {
				if got := streamed(t, r, text[:cut], text[cut:]); more(got, whole) {
					t.Errorf("%q as %s, cut at %d: %q, as a whole %q", value, name, cut, got, whole)
				}
			}
			if got := streamed(t, r, strings.Split(text, "")...); more(got, whole) {
				t.Errorf("%q as %s, character by character: %q, as a whole %q", value, name, got, whole)
			}
		}
	}
}

func TestTheWriterMasksWhereverTwoWritesCut(t *testing.T) {
	t.Parallel()
	const value, other = `p"w&%41\né-12345`, "other-9876543"
	r := knowing(value, other)
	for _, text := range []string{
		value + value + ";",
		must([]byte(printed(value)["JSON in JSON"]), nil) + "\n",
		"q=" + printed(value)["query"] + "&" + other,
		printed(value)["XML"] + other + printed(value)["%+q"],
		wrap(printed(ninetySix)["base64"], 76, "\r\n") + "\r\n",
	} {
		r := r
		if strings.Contains(text, "\r\n") {
			r = knowing(ninetySix)
		}
		whole := streamed(t, r, text)
		for a := range len(text) {
			for b := a; b < len(text); b++ {
				got := streamed(t, r, text[:a], text[a:b], text[b:])
				if more(got, whole) {
					t.Fatalf("%q cut at %d and %d: %q, as a whole %q", text, a, b, got, whole)
				}
			}
		}
		is := is.New(t)
		is.True(left(whole) < len(text)/2) // control: most of it is secret
	}
}

// flushed returns the output of a Writer of r after each line.
func flushed(t *testing.T, r *redact.Redactor, lines ...string) (all []string) {
	t.Helper()
	is := is.New(t)
	var b strings.Builder
	w := r.Writer(&b)
	for _, line := range lines {
		n, err := io.WriteString(w, line)
		is.NoErr(err)
		is.Equal(n, len(line))
		all = append(all, b.String())
		b.Reset()
	}
	is.NoErr(w.Close())
	return all
}

// A line that ends in LF is written at once: a reader may wait for it.
func TestALineIsPassedOnAtOnce(t *testing.T) {
	lines := []string{
		plainLine, nestedLine, accessLine, "\n", "a\n", "a\r\n", "\t\n", "100%\n",
		`ends in a backslash \` + "\n", "AT&T &\n", "&am\n", `\u00` + "\n",
		"%4\n", `"` + "\n", `''` + "\n", strings.Repeat("A", 39) + "\n",
		strings.Repeat(`\`, 99) + "\n", strings.Repeat("%25", 99) + "\n", strings.Repeat("a-1\n", 3000), `{"k":"v"}` + "\n",
	}
	// Values with LF, CR and similar bytes at their beginning could hold back most lines.
	edges := []string{"x\nyz-12345", "ab\r\ncd-12345", "#\n2\n3\n4\n5\n6\n", "~\nabc-12345", "{\n\"k\":\"value-123\"}", "é\n-1234567"}
	for name, known := range map[string][]string{
		"no values": nil, "1,000 values": randomValues(1000), "with LF": edges, "all": slices.Concat(randomValues(1000), edges),
	} {
		for i, got := range flushed(t, knowing(known...), lines...) {
			if got != lines[i] {
				t.Errorf("%s: of %q is held back: %q", name, lines[i], strings.TrimPrefix(lines[i], got))
			}
		}
	}
}

// A line is held back if its end is the beginning of a value.
func TestALineThatEndsInTheBeginningOfAValueIsHeld(t *testing.T) {
	is := is.New(t)
	r := knowing("x-1\nsecond-line-2\nthird-line-3")
	is.Equal(flushed(t, r, "an x-1\n", "and more\n"), []string{"an ", "x-1\nand more\n"})
	is.Equal(flushed(t, r, "an x-2\n", "an x-1 \n"), []string{"an x-2\n", "an x-1 \n"}) // not the beginning
	is.Equal(flushed(t, r, "an x-1\n", "second-line-2\n", "third-line-3\n"), []string{"an ", "", mark + "\n"})
	is.Equal(flushed(t, r, "an x-1\n", "second-line-2\n", "or not\n"), []string{"an ", "", "x-1\n" + mark + "\nor not\n"})
	is.Equal(flushed(t, r, `an x-1\n`, `second-line-2\nthird-line-3"`), []string{"an ", mark + `"`})
}

func TestTheWriterHoldsBackNoMoreThanItMust(t *testing.T) {
	is := is.New(t)
	r := knowing("secret-1/3", "line-one-1\nline-two-2")
	is.Equal(flushed(t, r,
		"a line\n", "a secre", "ts\n", "secret-1/3\n", "", "line-one-1\n", "line-two", "-2\n",
		"%73ecret%2D1%2", "F3.", "%73ecret%2D1%2", "G\n", "100%", " done"),
		[]string{
			"a line\n", "a ", "secrets\n", mark + "\n", "", "", "", mark + "\n", "", mark + ".", "", "%73ecret%2D1%2G\n", "100", "% done",
		})
	is.Equal(streamed(t, r, "x secret-1", "/"), "x secret-1/") // a beginning that turned out to be no value
}

// A line of base64 that may continue in the next line is held back only from where a value may begin.
func TestALongLineOfBase64(t *testing.T) {
	is := is.New(t)
	long := strings.Repeat("QUJD", 19)
	is.Equal(flushed(t, knowing("hunter2-Zx9!"), long+"\n", long+"\r\n", long, "\n"), []string{long + "\n", long + "\r\n", long, "\n"})
	encoded := printed(ninetySix)["base64"]
	got := flushed(t, knowing(ninetySix), "x:\n", encoded[:76]+"\n", encoded[76:]+"\n", "and more\n")
	is.Equal(got[:2], []string{"x:\n", ""})
	is.Equal(strings.Join(got[2:], ""), mark+"\nand more\n")
}

func TestALongWriteTakesBoundedMemory(t *testing.T) {
	is := is.New(t)
	r := knowing("secret-1/3")
	most := 0
	var b bytes.Buffer
	w := r.Writer(writerFunc(func(p []byte) (int, error) {
		most = max(most, len(p))
		return b.Write(p)
	}))
	text := strings.Repeat("0123456789 secret-1/3 ", 50_000)
	n, err := io.WriteString(w, text)
	is.NoErr(err)
	is.Equal(n, len(text))
	is.NoErr(w.Close())
	is.True(b.String() == strings.ReplaceAll(text, "secret-1/3", mark))
	is.True(most <= 64<<10)
	is.Equal(r.Stats().Masked, uint64(50_000))
}

// Adjacent marks become one, even if the first was written before.
func TestAdjacentMarksBecomeOneAcrossWrites(t *testing.T) {
	is := is.New(t)
	r := knowing("first-1-value", "second-2-value-and-more", "2-value-and")
	const text = "first-1-valuesecond-2-value-and-more."
	for cut := range len(text) {
		is.Equal(streamed(t, r, text[:cut], text[cut:]), mark+".")
	}
}

// The text that is held back is bounded for any input.
func TestTheTextHeldBackIsBounded(t *testing.T) {
	r := knowing("start-1 "+strings.Repeat("a", 10_000)+" end-1", `x"y'z-12345`, "%%%%%%%%1a", `\\\\\\\\1a`)
	for _, piece := range []string{
		"a", `\`, `\\`, "%", "%25", "&", "&amp;", `\u005c`, "%5c", `"`, "''", "\r", "A", "&#0000000000", "%2525252525",
	} {
		chunk := strings.Repeat(piece, 1+1000/len(piece))
		for _, chunks := range []int{20, 100} {
			passed := flushed(t, r, slices.Concat([]string{"x"}, slices.Repeat([]string{chunk}, chunks))...)
			whole := streamed(t, r, "x"+strings.Repeat(chunk, chunks))
			if held := len(whole) - len(strings.Join(passed, "")); held > 5000 {
				t.Errorf("%q: %d bytes are held back", piece, held)
			}
		}
	}
}

func TestALineDoesNotAllocate(t *testing.T) {
	is := is.New(t)
	known := randomValues(1000)
	w := knowing(known...).Writer(io.Discard)
	for name, line := range map[string]string{
		"plain": plainLine, "JSON in JSON": nestedLine, "access log": accessLine, "with a value": "a " + known[7] + " b\n",
		"with an escaped value": fmt.Sprintf("%q %s\n", known[8]+"\n", printed(known[9])["query"]), "with a part": "a " + known[7][:20] + "\n",
	} {
		p := []byte(line)
		_, err := w.Write(p)
		is.NoErr(err)
		if n := testing.AllocsPerRun(100, func() { _, _ = w.Write(p) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// A new value is masked from then on, and in the text that is held back.
func TestANewValueInTheMiddleOfAStream(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	var b strings.Builder
	w := r.Writer(&b)
	l := tell(r)
	write := func(text string) {
		t.Helper()
		_, err := io.WriteString(w, text)
		is.NoErr(err)
	}
	seen := func() string { defer b.Reset(); return b.String() }

	write("first Value-1 ")
	is.Equal(seen(), "first Value-1 ") // no value yet
	l.value("long", "Value-1 second-Value-2 and more")
	write("first Value-1 sec")
	is.Equal(seen(), "first ")
	l.value("short", "second-Value-2")
	write("ond-Value-2.")
	is.Equal(seen(), "Value-1 [REDACTED].")
	write("Value-1 sec")
	l.value("other", "lue-1 se") // all of it is held back
	write(" ")
	is.Equal(seen(), "Va[REDACTED]c ")
	write("Value-1 sec")
	l.value("late", "Value-1 sec")
	is.NoErr(w.Close())
	is.Equal(seen(), "[REDACTED]")
}

// A value may be dropped while its beginning is held back. It may show or not, but no other text is lost.
func TestAValueDroppedInTheMiddleOfAStream(t *testing.T) {
	for cut := 1; cut < len(canary); cut++ {
		is := is.New(t)
		r := redact.New()
		var b strings.Builder
		w := r.Writer(&b)
		l := tell(r)
		write := func(text string) { _, err := io.WriteString(w, text); is.NoErr(err) }
		l.value("key", canary)
		l.value("key", "second-value-2")
		write("pw=" + canary[:cut])
		is.Equal(b.String(), "pw=")
		l.value("key", "third-value-3")
		write(canary[cut:] + ".\n")
		write("second-value-2 third-value-3\n")
		is.NoErr(w.Close())
		got := strings.ReplaceAll(b.String(), canary, mark)
		is.Equal(got, "pw="+mark+".\n"+mark+" "+mark+"\n")
	}
}

func TestErrorsOfTheNextWriter(t *testing.T) {
	full := errors.New("the disk is full")
	for name, c := range map[string]struct {
		next func(p []byte) (int, error)
		want error
	}{
		"error": {func([]byte) (int, error) { return 0, full }, full},
		"short": {func(p []byte) (int, error) { return len(p) - 1, nil }, io.ErrShortWrite},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			calls := 0
			w := knowing("secret-1/3").Writer(writerFunc(func(p []byte) (int, error) { calls++; return c.next(p) }))
			n, err := io.WriteString(w, "secret")
			is.NoErr(err) // held back
			is.Equal(n, 6)
			n, err = io.WriteString(w, " and more")
			is.True(errors.Is(err, c.want))
			is.Equal(n, 0)
			_, err = io.WriteString(w, "again")
			is.True(errors.Is(err, c.want))
			is.Equal(calls, 1)
			is.True(errors.Is(w.Close(), c.want))
			is.True(errors.Is(w.Close(), c.want))
			is.Equal(calls, 1)
			_, err = io.WriteString(w, "again")
			is.True(errors.Is(err, fs.ErrClosed))
		})
	}
	t.Run("at the end", func(t *testing.T) {
		is := is.New(t)
		w := knowing("secret-1/3").Writer(writerFunc(func([]byte) (int, error) { return 0, full }))
		_, err := io.WriteString(w, "secret")
		is.NoErr(err)
		is.True(errors.Is(w.Close(), full))
	})
	t.Run("how much of a long write was taken", func(t *testing.T) {
		is := is.New(t)
		calls := 0
		w := knowing("secret-1/3").Writer(writerFunc(func(p []byte) (int, error) {
			if calls++; calls == 3 {
				return 0, full
			}
			return len(p), nil
		}))
		n, err := w.Write(make([]byte, 100<<10))
		is.True(errors.Is(err, full))
		is.Equal(n, 64<<10)
	})
}

func TestCloseOfTheWriter(t *testing.T) {
	is := is.New(t)
	next := &closing{}
	w := knowing("secret-1/3").Writer(next)
	_, err := io.WriteString(w, "x secret")
	is.NoErr(err)
	is.Equal(next.String(), "x ")
	for range 2 {
		is.NoErr(w.Close())
		is.Equal(next.String(), "x secret") // a beginning that turned out to be no value
	}
	is.Equal(next.closed, 0) // the caller closes it
	n, err := io.WriteString(w, "more")
	is.True(errors.Is(err, fs.ErrClosed))
	is.Equal(n, 0)
	is.Equal(next.String(), "x secret")
}

type closing struct {
	strings.Builder

	closed int
}

func (c *closing) Close() error { c.closed++; return nil }

func TestTheWriterIsSafeForConcurrentUse(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	var mu sync.Mutex
	var b strings.Builder
	w := r.Writer(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return b.Write(p)
	}))
	l := tell(r)
	l.value("canary", canary)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				l.value(fmt.Sprint("key", g), fmt.Sprintf("value-%d-%d", g, i%5))
				_, _ = fmt.Fprintf(w, "line %s of value-%d-%d\n", canary, g, i%5)
				r.Stats()
			}
		})
	}
	wg.Wait()
	is.NoErr(w.Close())
	is.Equal(strings.ReplaceAll(b.String(), "line "+mark+" of "+mark+"\n", ""), "")
	secretstest.AssertNoLeak(t, canary, b.String(), r, w)
}

// The next writer may use the Redactor during a Write, such as a log that fetches a secret.
func TestTheNextWriterMayUseTheRedactor(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	l := tell(r)
	l.value("key", canary)
	calls := 0
	w := r.Writer(writerFunc(func(p []byte) (int, error) {
		calls++
		l.value("key", fmt.Sprintf("value-%d-of-many", calls))
		r.Stats()
		return len(p), nil
	}))
	for range 3 {
		_, err := io.WriteString(w, canary+"\n")
		is.NoErr(err)
	}
	is.NoErr(w.Close())
	is.Equal(calls, 3)
}

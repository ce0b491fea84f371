package redact_test

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// told is the layer of r, that is told what is handed out.
type told struct{ secrets.Redaction }

func tell(r *redact.Redactor) told {
	return told{r.NewRedaction(secrets.Info{Name: "fake"}, secretstest.NewBackend(nil))}
}

func (t told) value(path, value string) {
	t.HandedOut(secrets.Ref{Path: path}, secrets.NewSecret(value, secrets.Meta{}))
}

// knowing returns a Redactor with a Handler, of which values were handed out.
func knowing(values ...string) *redact.Redactor {
	r := redact.New()
	r.Writer(io.Discard)
	l := tell(r)
	for i, v := range values {
		l.value("key"+strconv.Itoa(i), v)
	}
	return r
}

// streamed returns what a Writer of r makes of pieces.
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

func TestTheWriterMasksEveryPrintedForm(t *testing.T) {
	t.Parallel()
	for _, value := range slices.Concat(values, one()) {
		if len(strings.TrimSpace(value)) < 8 || strings.Trim(value, "a") == "" {
			continue // weak
		}
		r, blind := knowing("another-value", value, "and one more"), knowing("another-value")
		for name, form := range printed(strings.TrimSpace(value)) {
			is := is.New(t)
			text := "the server said «" + form + "» to us"
			got := streamed(t, r, text)
			is.True(strings.HasPrefix(got, "the server said «"))
			is.True(strings.HasSuffix(got, "» to us"))
			is.True(strings.Contains(got, mark))
			is.Equal(streamed(t, blind, text), text) // the control
			if !slices.Contains(values, value) {
				continue // for the sake of time
			}
			if leaks := secretstest.Leaks(value, got); len(leaks) > 0 {
				t.Errorf("%q as %s: %s: %v", value, name, got, leaks)
			}
			for cut := range len(text) {
				is.Equal(streamed(t, r, text[:cut], text[cut:]), got)
			}
		}
	}
}

func TestTheWriterMasksTheLinesOfAKeyAndTheStringsOfADocument(t *testing.T) {
	is := is.New(t)
	key := "-----BEGIN PRIVATE KEY-----\r\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\r\nBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\r\n" +
		"-----END PRIVATE KEY-----\r\n"
	document := `{"user":"application-1","password":"p\u0061ss\/word-9","port":5432123456789012345,"pin":"123","words":"letters",` +
		`"inner":"{\"token\":\"inner-Token\"}","lines":["first-Line\nsecond-Line"]}`
	r := knowing(key, document)
	for text, want := range map[string]string{
		"at MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n":             "at [REDACTED]\n",
		key:                                                 "[REDACTED]\r\n",
		strings.ReplaceAll(key, "\r\n", "\n"):               "-----BEGIN PRIVATE KEY-----\n[REDACTED]\n[REDACTED]\n-----END PRIVATE KEY-----\n",
		"as application-1 with pass/word-9":                 "as [REDACTED] with [REDACTED]",
		`as written: p\u0061ss\/word-9`:                     "as written: [REDACTED]",
		"inner-Token and second-Line":                       "[REDACTED] and [REDACTED]",
		"letters, 123, 5432123456789012345, user":           "letters, 123, 5432123456789012345, user", // weak, or a number
		"-----BEGIN PRIVATE KEY-----":                       "-----BEGIN PRIVATE KEY-----",
		fmt.Sprintf("%q", key):                              `"[REDACTED]\r\n"`,
		fmt.Sprintf("%q", strings.TrimSpace(document)[:40]): `"{\"user\":\"[REDACTED]\",\"password\":\"p\\u0"`,
	} {
		is.Equal(streamed(t, r, text), want)
	}
}

// A long value is cut into parts, which leaves no gap between them.
func TestALongValueIsMasked(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	for _, length := range []int{4095, 4096, 4097, 4100, 4104, 8190, 20_000} {
		is := is.New(t)
		var b strings.Builder
		for b.Len() < length {
			b.WriteString([]string{"a", "Z", "7", "%", "é", "日", `"`}[random.IntN(7)])
		}
		value := b.String()
		r := knowing(value)
		for name, form := range printed(value) {
			switch name {
			case "bytes": // the spaces between the parts stay
			case "base64 shift 1", "base64 shift 2", "base64 user:pass": // and here one character of each cut
				is.True(len(streamed(t, r, form)) < 100)
			default:
				got := streamed(t, r, form)
				if got = strings.TrimRight(got, "="); len(got) > len(`postgres://app:[REDACTED]@db`) || strings.Count(got, mark) != 1 {
					t.Errorf("%s of %d bytes: %.60s", name, length, got)
				}
			}
		}
	}
}

// full reports whether the longest tests run in full, as in CI: with LONG_TESTS=1 in the environment, and not with -short.
func full() bool { return os.Getenv("LONG_TESTS") != "" && !testing.Short() }

// cases returns how many cases the comparison with the reference takes.
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

// visible is the number of bytes that are not masked.
func visible(text string) int { return len(strings.ReplaceAll(text, mark, "")) }

// compare runs random phrases and texts, in pieces of every division, through what mask returns, and through the reference.
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
		// No text of these letters is a form of a phrase but the phrase itself.
		letters := []string{"a-", "a-", "ab-", "0123456789abcdef-"}[random.IntN(4)]
		phrases := make([]string, 1+random.IntN(5))
		for i := range phrases {
			phrases[i] = word(letters, 7+random.IntN(9)) + "-"
			if i > 0 && random.IntN(3) == 0 { // they share a beginning, or one has the other in it
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
				case visible(got) > visible(want):
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

// TestTheWriterAgreesWithTheReference tries as many cases as REDACT_CASES says.
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

// What was handed out lately is looked for beside the rest, and must be found as well where both overlap.
func TestTheWriterAgreesWithTheReferenceWhereValuesAreNew(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	var many [40]string
	for i := range many {
		many[i] = fmt.Sprintf("%d/many/%d", i, i)
	}
	tried, missed, masked := compare(cases(t)/10, func(phrases []string) func(...string) string {
		old := len(phrases) / 2
		r := knowing(slices.Concat(many[:], phrases[:old])...)
		r.Stats() // puts together what there is
		l := tell(r)
		for i, p := range phrases[old:] {
			l.value(strconv.Itoa(i), p)
		}
		return func(pieces ...string) string { return streamed(t, r, pieces...) }
	})
	t.Logf("%d cases: %d missed, %d masked that should not be", tried, missed, masked)
	is.Equal(missed, 0)
	is.Equal(masked, 0)
}

// The controls: what others do leaks in the same comparison.
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
		is.New(t).True(missed > 100)
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
		is.New(t).True(missed > 100)
	})
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// stacked masks one phrase as the runner of GitLab does: where the phrase breaks off, it begins anew with the byte at hand.
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

func TestTheWriterMissesNoValueWithinBase64(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	filled := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return string(b)
	}
	encodings := []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding}
	n := 20_000
	if !full() {
		n = 2_000
	}
	tried, missed := 0, 0
	for tried < n {
		known := make([]string, 100)
		for i := range known {
			known[i] = "Z" + filled(6+random.IntN(40)) + "Z"
		}
		r := knowing(known...)
		for range 200 {
			before, value, behind := filled(random.IntN(30)), known[random.IntN(len(known))], filled(random.IntN(30))
			text := encodings[random.IntN(len(encodings))].EncodeToString([]byte(before + value + behind))
			from, to := (len(before)*8+5)/6, (len(before)+len(value))*8/6
			cut := random.IntN(len(text))
			got := streamed(t, r, "in: "+text[:cut], text[cut:]+" :out")
			// The character behind may go too: at the end of the text the value decides it but for padding bits.
			rest := text[to:]
			if got != "in: "+text[:from]+mark+rest+" :out" && (rest == "" || got != "in: "+text[:from]+mark+rest[1:]+" :out") {
				missed++
			}
			tried++
		}
	}
	is.New(t).Equal(missed, 0)
}

// A value that becomes known applies from then on, and to what is held back.
func TestAValueLearnedInTheMiddleOfAStream(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	var b strings.Builder
	w := r.Writer(&b)
	l := tell(r)
	write := func(text string) { _, err := io.WriteString(w, text); is.NoErr(err) }

	write("first-Value-1 ")
	is.Equal(b.String(), "first-Value-1 ") // nothing is known
	l.value("long", "Value-1 second-Value-2 and more")
	b.Reset()
	write("first-Value-1 sec")
	is.Equal(b.String(), "first-")
	l.value("short", "second-Value-2")
	write("ond-Value-2.")
	is.Equal(b.String(), "first-Value-1 [REDACTED].")
	b.Reset()
	write("Value-1 sec")
	l.value("other", "lue-1 se") // all of it is held
	write(" ")
	is.Equal(b.String(), "Va[REDACTED]c ")
	b.Reset()
	write("Value-1 sec")
	l.value("late", "Value-1 sec")
	is.NoErr(w.Close())
	is.Equal(b.String(), "[REDACTED]")
}

// What is masked already stays so while it is held, also if its value is forgotten.
// A value that is dropped while its beginning is held is masked once more, and then no longer.
func TestAValueThatIsDroppedInTheMiddleOfAStream(t *testing.T) {
	for cut := 1; cut < len(canary); cut++ {
		is := is.New(t)
		r := redact.New()
		var b strings.Builder
		w := r.Writer(&b)
		write := func(text string) {
			_, err := io.WriteString(w, text)
			is.NoErr(err)
		}
		l := tell(r)
		l.value("key", canary)
		write("pw=" + canary[:cut])
		is.NoErr(l.Close())
		for i := cut; i < len(canary); i++ {
			tell(r).value("another", fmt.Sprintf("value-%d", i)) // what finds values changes again
			write(canary[i : i+1])
		}
		write(".\n")
		write(canary + "\n")
		is.NoErr(w.Close())
		is.Equal(b.String(), "pw="+mark+".\n"+canary+"\n")
	}
}

func TestAMaskedStretchStaysMaskedWhileItIsHeld(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	var b strings.Builder
	w := r.Writer(&b)
	l, other := tell(r), tell(r)
	l.value("short", "first-1-value")
	other.value("long", "first-1-value and all the rest")
	_, err := io.WriteString(w, "x first-1-value and")
	is.NoErr(err)
	is.Equal(b.String(), "x ")
	is.NoErr(l.Close())
	is.NoErr(other.Close())
	is.NoErr(w.Close())
	is.Equal(b.String(), "x [REDACTED] and")
}

func TestTheWriterHoldsBackNoMoreThanItMust(t *testing.T) {
	is := is.New(t)
	r := knowing("secret-1/3", "line-one-1\nline-two-2")
	var b strings.Builder
	w := r.Writer(&b)
	for _, c := range []struct{ write, want string }{
		{"a line\n", "a line\n"},
		{"a secre", "a line\na "},
		{"ts\n", "a line\na secrets\n"},
		{"secret-1/3\n", "a line\na secrets\n[REDACTED]\n"},
		{"", "a line\na secrets\n[REDACTED]\n"},
		{"line-one-1\n", "a line\na secrets\n[REDACTED]\n"}, // there may be more of it
		{"line-two", "a line\na secrets\n[REDACTED]\n"},
		{"-2\n", "a line\na secrets\n[REDACTED]\n[REDACTED]\n"},
	} {
		n, err := io.WriteString(w, c.write)
		is.NoErr(err)
		is.Equal(n, len(c.write))
		is.Equal(b.String(), c.want)
	}
	is.NoErr(w.Close())
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

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

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
			is.NoErr(err) // it is held
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
	for range 2 {
		is.NoErr(w.Close())
		is.Equal(next.String(), "x secret") // what was begun and is no value
	}
	is.Equal(next.closed, 0) // it is the caller's
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

func FuzzWriter(f *testing.F) {
	f.Add("abaab-ab,aab-abaa", "abaab-abaab-abaa", 3, 8)
	f.Add("secret-1/3", "postgres://app:secret-1%2F3@db", 17, 18)
	f.Add("--------,-------a", "-------------a---", 9, 10)
	f.Add("日本語-1,\xff\xfe-12345", "日本語-1\xff\xfe-12345", 2, 11)
	f.Fuzz(func(t *testing.T, list, text string, cut, more int) {
		if len(list) > 100 || len(text) > 300 {
			return
		}
		r := knowing(strings.Split(list, ",")...)
		cut = min(max(0, cut), len(text))
		more = min(max(cut, more), len(text))
		whole := streamed(t, r, text)
		if got := streamed(t, r, text[:cut], text[cut:more], text[more:]); got != whole {
			t.Errorf("in pieces %q, as a whole %q", got, whole)
		}
		if r.Stats().Patterns == 0 && whole != text {
			t.Errorf("%q became %q", text, whole)
		}
		// Values are masked wherever they stand, and nothing else is in a text without them.
		for v := range strings.SplitSeq(list, ",") {
			if v = strings.TrimSpace(v); r.Stats().Skipped == 0 && len(v) >= 8 && !strings.Contains(mark, v) &&
				!strings.ContainsAny(v, "{[\"\n") && strings.Contains(strings.ReplaceAll(whole, mark, "\x00\x00"), v) && !strings.Contains(v, "\x00") {
				t.Errorf("%q shows in %q", v, whole)
			}
		}
	})
}

package redact_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// masked returns the texts in all that a Writer of r masks.
func masked(t *testing.T, r *redact.Redactor, all ...string) []string {
	t.Helper()
	return found(func(text string) string { return streamed(t, r, text) }, all...)
}

// In a typical program, run closes the client, and main logs the error of run after that.
func TestValuesStayMaskedAfterTheClientIsClosed(t *testing.T) {
	is := is.New(t)
	var b bytes.Buffer
	redaction := redact.New()
	logger := slog.New(redaction.Handler(slog.NewTextHandler(&b, nil)))
	run := func(ctx context.Context) error {
		backend := secretstest.NewBackend(map[string]string{"database": `{"user":"app","password":"` + canary + `"}`})
		c, err := secrets.New(backend, secrets.WithRedaction(redaction), secrets.WithLogger(logger), secrets.WithCache(cache.New()))
		if err != nil {
			return err
		}
		defer c.Close()
		password, err := c.Get(ctx, "database#password")
		if err != nil {
			return err
		}
		return fmt.Errorf("connect to postgres://app:%s@db: %w", password.Reveal(), errors.New("refused"))
	}
	logger.Error("exit", "error", run(t.Context()))
	is.True(strings.Contains(b.String(), `error="connect to postgres://app:[REDACTED]@db: refused"`))
	secretstest.AssertNoLeak(t, canary, b.String())

	l := tell(redaction)
	l.value("key", "another-value-1")
	for range 2 {
		is.NoErr(l.Close())
		is.Equal(masked(t, redaction, canary, "another-value-1"), []string{canary, "another-value-1"})
	}
	l.value("late", "a-late-value-1") // a fetch that ends after Close
	is.Equal(masked(t, redaction, "a-late-value-1"), []string{"a-late-value-1"})
}

// Values, fields and the strings of documents that a Client returns are masked. Other parts of their documents are not.
func TestOnlyReturnedValuesAreMaskedInLogs(t *testing.T) {
	is := is.New(t)
	ctx := t.Context()
	r := redact.New()
	b := secretstest.NewBackend(map[string]string{
		"key": canary, "doc": `{"user":"application-1","password":"pass/word-9"}`, "all": `{"token":"token-1234"}`, "many": "value-of-many",
	})
	c := client(t, b, secrets.WithRedaction(r), secrets.WithCache(cache.New()))
	all := []string{canary, "application-1", "pass/word-9", "token-1234", "value-of-many", "the-default-1", "env-value-1"}
	is.Equal(masked(t, r, all...), nil)
	for _, key := range []string{"key", "doc#password", "all"} {
		_, err := c.Get(ctx, key)
		is.NoErr(err)
	}
	_, err := c.GetMany(ctx, "many", "key")
	is.NoErr(err)
	_, err = c.GetOr(ctx, "absent", "the-default-1")
	is.NoErr(err)
	is.Equal(masked(t, r, all...), []string{canary, "pass/word-9", "token-1234", "value-of-many"})
	is.Equal(r.Stats().Values, 4)
}

func TestTheLastTwoVersionsOfAKeyAreMasked(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	b := secretstest.NewBackend(nil)
	c := client(t, b, secrets.WithRedaction(r), secrets.WithCache(cache.New()))
	value := func(i int) string { return fmt.Sprintf("value-%d-of-many", i) }
	for i := range 100 {
		b.Set("key", value(i))
		for range 2 { // an unchanged value drops none
			_, err := c.Refresh(t.Context(), "key")
			is.NoErr(err)
		}
		is.Equal(masked(t, r, value(i-2), value(i-1), value(i)), []string{value(i - 1), value(i)}[max(0, 1-i):])
		is.True(r.Stats().Values <= 2)
		is.True(r.Stats().Patterns <= 40)
	}
	is.Equal(r.Stats().Forgotten, uint64(0)) // there was enough memory

	b.Remove("key") // a deleted key keeps its values
	_, err := c.Refresh(t.Context(), "key")
	is.True(errors.Is(err, secrets.ErrNotFound))
	is.Equal(masked(t, r, value(98), value(99)), []string{value(98), value(99)})
	b.Set("key", value(98)) // back to the previous value
	_, err = c.Refresh(t.Context(), "key")
	is.NoErr(err)
	is.Equal(masked(t, r, value(98), value(99)), []string{value(98), value(99)})
	is.Equal(r.Stats().Values, 2)
}

func TestAValueAtTwoKeysIsMaskedUntilBothAreGone(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	one, two := tell(r), tell(r) // of two Clients
	one.value("a", "shared-value-1")
	one.value("b", "shared-value-1")
	two.value("a", "shared-value-1")
	is.Equal(r.Stats().Values, 3)
	for i, rotate := range []func(string){
		func(v string) { one.value("a", v) }, func(v string) { one.value("b", v) }, func(v string) { two.value("a", v) },
	} {
		rotate("first-value-" + strconv.Itoa(i))
		is.Equal(masked(t, r, "shared-value-1"), []string{"shared-value-1"})
		rotate("second-value-" + strconv.Itoa(i))
		is.Equal(len(masked(t, r, "shared-value-1")), min(1, 2-i))
	}
	is.Equal(r.Stats().Values, 6)
}

// Versions, fields and paths are keys of their own.
func TestEachFieldAndVersionIsAKey(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	l := tell(r)
	var all []string
	for i, ref := range []secrets.Ref{
		{Path: "p"}, {Path: "q"}, {Path: "p", Field: "f"}, {Path: "p", Version: "1"}, {Path: "p", Version: "1", Field: "f"},
	} {
		all = append(all, fmt.Sprintf("value-%d!", i))
		l.HandedOut(ref, secrets.NewSecret(all[i], secrets.Meta{}))
		l.HandedOut(ref, secrets.Secret{}) // no value
	}
	is.Equal(masked(t, r, all...), all)
	is.Equal(r.Stats().Values, len(all))
}

// Texts that differ only in their last bits have the same base64 in some alignments.
func TestValuesThatDifferInTheirLastBits(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	l := tell(r)
	var all []string
	for i := range 26 {
		all = append(all, "value-0-"+string(rune('a'+i)))
		l.value(strconv.Itoa(i), all[i])
	}
	is.Equal(masked(t, r, all...), all)
	for i := range all {
		l.value(strconv.Itoa(i), "other-1-"+strconv.Itoa(i))
		l.value(strconv.Itoa(i), "other-2-"+strconv.Itoa(i))
		is.Equal(strings.Join(masked(t, r, all...), ","), strings.Join(all[i+1:], ","))
	}
}

func TestWithMaxBytesBoundsTheMemory(t *testing.T) {
	is := is.New(t)
	const limit = 64 << 10
	r := redact.New(redact.WithMaxBytes(limit))
	l := tell(r)
	value := func(i int) string { return fmt.Sprintf("value-%d-of-many", i) }
	for i := range 1000 {
		l.value(strconv.Itoa(i), value(i))
		is.True(r.Stats().Size <= limit)
		is.Equal(len(masked(t, r, value(i))), 1)
	}
	stats := r.Stats()
	is.True(stats.Values > 20)
	is.Equal(stats.Values+int(stats.Forgotten), 1000)
	kept := 0
	for i := range 1000 {
		if len(masked(t, r, value(i))) > 0 {
			kept++
			is.True(i >= 1000-stats.Values) // the oldest were dropped
		}
	}
	is.Equal(kept, stats.Values)

	// A value that was fetched again is not the oldest.
	old := 1000 - stats.Values
	l.value(strconv.Itoa(old), value(old))
	for i := range 10 {
		l.value("new"+strconv.Itoa(i), fmt.Sprintf("new-value-%d", i))
	}
	is.Equal(len(masked(t, r, value(old), value(old+1))), 1)
	is.Equal(len(masked(t, r, value(old))), 1)
}

// A value that needs more than half of the limit is not masked, and does not drop others.
func TestAValueThatIsTooLargeIsNotMasked(t *testing.T) {
	is := is.New(t)
	r := redact.New(redact.WithMaxBytes(1 << 20))
	l := tell(r)
	l.value("small", canary)
	var large strings.Builder
	for i := 0; large.Len() < 1<<20; i++ {
		fmt.Fprintf(&large, "large-value-%d\n", i)
	}
	l.value("large", large.String())
	is.Equal(masked(t, r, "large-value-7", canary), []string{canary})
	is.Equal(r.Stats().Values, 1)
	is.Equal(r.Stats().Forgotten, uint64(1))
	l.value("large", large.String()[:20<<10]) // control
	is.Equal(masked(t, r, "large-value-7", canary), []string{"large-value-7", canary})
	is.True(r.Stats().Size <= 1<<20)
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// Documents are kept for the errors of later calls. Their memory counts too.
func TestLargeDocumentsStayUnderTheLimit(t *testing.T) {
	is := is.New(t)
	const documents, size, limit = 4096, 64 << 10, 64 << 20
	before := heap()
	r := redact.New()
	b := secrets.NewBackend(secrets.Info{Name: "b"}, func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		return secrets.NewSecret(fmt.Sprintf(`{"password":"pass-word-%s","rest":"%s"}`, ref.Path, strings.Repeat("x", size)), secrets.Meta{}), nil
	})
	c := client(t, b, secrets.WithRedaction(r))
	for i := range documents {
		_, err := c.Get(t.Context(), fmt.Sprintf("%d#password", i))
		is.NoErr(err)
		if i%64 == 0 {
			is.True(r.Stats().Size <= limit)
		}
	}
	stats := r.Stats()
	t.Logf("%+v, %d MiB of heap", stats, (heap()-before)>>20)
	is.True(stats.Size <= limit)
	is.True(stats.Size > limit/2) // control: there was more than that
	is.True(heap()-before < limit*5/4)
	is.Equal(stats.Values, documents) // values that are only masked in errors are dropped first
	is.Equal(stats.Forgotten, uint64(0))
	is.Equal(len(masked(t, r, "pass-word-0", "pass-word-4095")), 2)
	runtime.KeepAlive(r)
}

// Size is about the size on the heap.
func TestSizeIsWhatTheHeapSays(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, value := range map[string]func(i int) string{
		"ordinary values": func(i int) string { return fmt.Sprintf("%016x-%d", random.Uint64(), i) },
		"keys":            func(int) string { key, _ := privateKey(random); return key },
		"documents": func(i int) string {
			return fmt.Sprintf(`{"user":"user-%[1]d","password":"P@ss/w%016[2]x","url":"postgres://app:%[2]x@db/x"}`, i, random.Uint64())
		},
		"escaped": func(i int) string { return fmt.Sprintf("%%41&amp;\\u0041\"\"%x-%d", random.Uint64(), i) },
	} {
		before := heap()
		r := redact.New()
		l := tell(r)
		for i := 0; r.Stats().Size < 2<<20; i++ {
			l.value(strconv.Itoa(i), value(i))
		}
		size, used := r.Stats().Size, heap()-before
		t.Logf("%s: %+v, %d bytes of heap", name, r.Stats(), used)
		if used > size*3/2 || used < size/2 {
			t.Errorf("%s: Size says %d, and the heap %d", name, size, used)
		}
		runtime.KeepAlive(r)
	}
}

func TestRotationsLeaveNothingBehind(t *testing.T) {
	is := is.New(t)
	rotations := 20_000
	if full() {
		rotations = 1_000_000
	}
	r := redact.New()
	l := tell(r)
	value := func(i int) string { return fmt.Sprintf("p@ss/%%41-%09d", i*7919%1_000_000_007) }
	for i := range 50 {
		l.value("fixed"+strconv.Itoa(i), fmt.Sprintf("fixed-value-%d", i))
	}
	var first redact.Stats
	for i := range rotations {
		l.value("key", value(i))
		switch {
		case i == 5000:
			first = r.Stats()
		case i > 5000 && i%1000 == 0:
			stats := r.Stats()
			is.True(stats.Patterns <= first.Patterns+4 && stats.Patterns >= first.Patterns-4)
			is.True(stats.Size <= first.Size*5/4 && stats.Size >= first.Size*4/5)
		}
	}
	is.Equal(r.Stats().Values, 52)
	is.Equal(r.Stats().Forgotten, uint64(0))
	last := []string{value(rotations - 2), value(rotations - 1)}
	is.Equal(masked(t, r, append([]string{value(0), value(rotations - 3)}, last...)...), last)
	is.Equal(masked(t, r, "fixed-value-0", "fixed-value-49"), []string{"fixed-value-0", "fixed-value-49"})
}

func TestManyPrivateKeysAreMasked(t *testing.T) {
	is := is.New(t)
	random := rand.New(rand.NewPCG(3, 3))
	r := redact.New()
	l := tell(r)
	n := 40
	if full() {
		n = 300
	}
	keys, lines := make([]string, n), make([]string, n)
	for i := range keys {
		keys[i], lines[i] = privateKey(random)
		value := keys[i]
		if i%2 == 0 {
			value = fmt.Sprintf(`{"key":%q}`, value)
		}
		l.value(strconv.Itoa(i), value)
	}
	is.Equal(r.Stats().Forgotten, uint64(0))
	for i, key := range keys {
		for text, want := range map[string]string{
			key: mark + "\n", fmt.Sprintf("%q", key): `"` + mark + `\n"`, "x " + lines[i]: "x " + mark, fmt.Sprintf("%x", lines[i]): mark,
		} {
			if got := streamed(t, r, text); got != want {
				t.Errorf("key %d: %.60q gives %q", i, text, got)
			}
		}
	}
	is.Equal(streamed(t, r, "-----BEGIN PRIVATE KEY-----\n"), "-----BEGIN PRIVATE KEY-----\n")
}

// A cached value is not fetched again. It must stay masked as long as the cache may return it.
func TestAHotValueStaysMasked(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	all := map[string]string{"hot": "hot-value-1"}
	for i := range 1100 {
		all["cold"+strconv.Itoa(i)] = fmt.Sprintf("cold-value-%d", i)
	}
	c := client(t, secretstest.NewBackend(all), secrets.WithRedaction(r), secrets.WithCache(cache.New()))
	for i := range 1100 {
		for _, key := range []string{"hot", "cold" + strconv.Itoa(i)} {
			_, err := c.Get(t.Context(), key)
			is.NoErr(err)
		}
	}
	is.Equal(masked(t, r, "hot-value-1"), []string{"hot-value-1"})
	is.Equal(r.Stats().Forgotten, uint64(0))
}

func TestADumpShowsNoMaskedValue(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	var b strings.Builder
	w := r.Writer(&b)
	h := r.Handler(slog.DiscardHandler)
	backend := secretstest.NewBackend(nil)
	layer := r.NewRedaction(backend.Info(), backend)
	look := func() {
		t.Helper()
		secretstest.AssertNoLeak(t, canary, r, w, h, layer)
		secretstest.AssertNoLeak(t, canary[:len(canary)-1], w)
		for _, v := range []any{r, w, h, layer} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
				secretstest.AssertNoLeak(t, canary, fmt.Sprintf(verb, v))
			}
		}
	}
	layer.HandedOut(secrets.Ref{Path: "key"}, secrets.NewSecret(canary, secrets.Meta{}))
	backend.Set("doc", `{"password":"`+canary+`"}`)
	_, err := layer.Fetch(t.Context(), secrets.Ref{Path: "doc"})
	is.NoErr(err)
	backend.Remove("doc") // the dump includes the backend
	_, err = io.WriteString(w, canary[:len(canary)-1])
	is.NoErr(err)
	slog.New(h).Info(canary)
	look()
	_, err = io.WriteString(w, canary[len(canary)-1:])
	is.NoErr(err)
	look()
	is.NoErr(w.Close())
	is.Equal(b.String(), mark)
	look()
	is.True(len(secretstest.Leaks(canary, struct{ v *string }{&[]string{canary}[0]})) > 0) // control
}

func TestConcurrentUse(t *testing.T) {
	b := secretstest.NewBackend(nil)
	for i := range 20 {
		b.Set("key"+strconv.Itoa(i), canary+strconv.Itoa(i))
		b.FailPath("bad"+strconv.Itoa(i), quoting(canary+strconv.Itoa(i)))
	}
	r := redact.New(redact.WithMaxBytes(200 << 10))
	c, other := client(t, b, secrets.WithRedaction(r)), client(t, b, secrets.WithRedaction(r))
	for i := range 20 { // a value that was never fetched is not known
		_, err := c.Get(t.Context(), "key"+strconv.Itoa(i))
		is.New(t).NoErr(err)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			w := r.Writer(io.Discard)
			for i := range 100 {
				n := strconv.Itoa((g + i) % 20)
				if g == 0 {
					b.Set("key"+n, canary+n+strings.Repeat("x", i%2)) // rotates
				}
				if _, err := c.GetMany(t.Context(), "key"+n, "bad"+n); !strings.HasPrefix(detail(err), "the server says: "+mark) {
					t.Errorf("%v", detail(err))
				}
				_, _ = other.Get(t.Context(), "key"+n)
				_, _ = io.WriteString(w, canary+n+"\n")
				if r.Stats().Size > 200<<10 {
					t.Error("too large")
				}
			}
			_ = w.Close()
		})
	}
	wg.Wait()
}

func TestFaultyOptionsAreReportedByNew(t *testing.T) {
	for _, c := range []struct {
		opts []redact.Option
		want []string
	}{
		{nil, nil},
		{[]redact.Option{redact.WithMaxBytes(64 << 10)}, nil},
		{[]redact.Option{redact.WithMaxBytes(0), redact.WithMaxBytes(1 << 20)}, nil},                               // the last one counts
		{[]redact.Option{redact.WithMaxBytes(64)}, []string{"redact: WithMaxBytes: 64 bytes are less than 65536"}}, // 64 MiB was meant
		{[]redact.Option{redact.WithMaxBytes(-3), nil}, []string{"redact: WithMaxBytes: -3", "redact: option 2 is nil"}},
	} {
		is := is.New(t)
		b := secretstest.NewBackend(map[string]string{"key": canary})
		made, err := secrets.New(b, secrets.WithRedaction(redact.New(c.opts...)))
		is.Equal(err == nil, len(c.want) == 0)
		is.Equal(made != nil, len(c.want) == 0)
		for _, want := range c.want {
			is.True(strings.Contains(err.Error(), want)) // the fault is reported
		}
		if made != nil {
			s, err := made.Get(t.Context(), "key") // with any size, reads work
			is.NoErr(err)
			is.Equal(s.Reveal(), canary)
			is.NoErr(made.Close())
		}
	}
	is := is.New(t)
	_, err := secrets.New(secretstest.NewBackend(nil), secrets.WithRedaction(&redact.Redactor{}))
	is.True(err != nil)
	is.Equal(err.Error(), "redact: a zero Redactor; make it with redact.New")
}

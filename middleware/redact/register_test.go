package redact_test

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
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

// privateKey returns what looks like an RSA key of 4,096 bits in PEM, and one of its lines.
func privateKey(random *rand.Rand) (key, line string) {
	raw := make([]byte, 2350)
	for i := range raw {
		raw[i] = byte(random.Uint32())
	}
	var b strings.Builder
	b.WriteString("-----BEGIN PRIVATE KEY-----\n")
	for part := range slices.Chunk(raw, 48) {
		line = cmp.Or(line, base64.StdEncoding.EncodeToString(part))
		b.WriteString(base64.StdEncoding.EncodeToString(part) + "\n")
	}
	b.WriteString("-----END PRIVATE KEY-----\n")
	return b.String(), line
}

// Where there are too many large values for all forms, each is still masked as logs print it, and in time in all forms again.
func TestManyPrivateKeysAreMaskedAsTheyArePrinted(t *testing.T) {
	t.Run("alone", func(t *testing.T) {
		t.Parallel()
		manyPrivateKeys(t, 120, true)
	})
	if !full() {
		return
	}
	t.Run("in a document", func(t *testing.T) {
		t.Parallel()
		manyPrivateKeys(t, 150, false)
	})
}

func manyPrivateKeys(t *testing.T, n int, alone bool) {
	t.Helper()
	is := is.New(t)
	random := rand.New(rand.NewPCG(3, uint64(n)))
	keys, lines := make([]string, n), make([]string, n)
	r := redact.New()
	l, _ := logs(r)
	layer := tell(r)
	for i := range keys {
		keys[i], lines[i] = privateKey(random)
		value := keys[i]
		if !alone {
			value = fmt.Sprintf(`{"key":%q}`, value)
		}
		layer.value(strconv.Itoa(i), value)
		if i%40 == 0 {
			l.Info("x") // so that some come one by one
		}
	}
	stats := r.Stats()
	t.Logf("%+v", stats)
	is.Equal(stats.Skipped, 0)
	is.True(stats.Reduced > n/4 && stats.Reduced < n-40)
	is.True(stats.Size < 13*16<<20)
	for i, key := range keys {
		asJSON, err := json.Marshal(key)
		is.NoErr(err)
		is.Equal(streamed(t, r, key), mark+"\n")
		for _, form := range []string{string(asJSON), fmt.Sprintf("%q", key)} {
			is.Equal(strings.ReplaceAll(streamed(t, r, form), `\n`, ""), `"`+mark+`"`)
		}
		is.Equal(streamed(t, r, "x "+lines[i]), "x "+mark)
	}
	last := fmt.Sprintf("%x", lines[len(keys)-1])
	is.Equal(streamed(t, r, last), mark) // the last that came is looked for in all forms
	first := fmt.Sprintf("%x", lines[0])
	is.Equal(streamed(t, r, first), first)
}

// Of a key, no form shows more than what stands between its lines, though it is looked for as a whole in few forms.
func TestTheFormsOfALargeKeyShowNothing(t *testing.T) {
	is := is.New(t)
	key, _ := privateKey(rand.New(rand.NewPCG(4, 4)))
	r := knowing(key)
	is.Equal(r.Stats().Reduced, 0)
	for name, form := range printed(key) {
		got := streamed(t, r, form)
		left := len(got) - len(mark)*strings.Count(got, mark)
		t.Log(name, len(form), left)
		is.True(left < len(form)/10)
	}
}

// Values that come one by one are put together in the order in which they came, and each is masked from the first line on.
func TestValuesThatComeOneByOneAreMaskedAtOnce(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	l, seen := logs(r)
	layer := tell(r)
	var wait sync.WaitGroup
	for i := range 600 {
		value := fmt.Sprintf("p@ss/%d&of+%d", i, i*7919)
		layer.value(strconv.Itoa(i), value)
		l.Info("x=" + value)
		is.True(!strings.Contains(seen(), value))
		if i%50 == 0 {
			wait.Go(func() { r.Stats() })
		}
		before := i * 31 % (i + 1)
		l.Info(fmt.Sprintf("p@ss/%d&of+%d", before, before*7919))
		is.Equal(seen(), mark)
	}
	wait.Wait()
	is.Equal(r.Stats().Values, 600)
	is.True(redact.Parts(r) < 12)
}

// What is cached is not fetched again, and must stay masked for as long as it may be handed out.
func TestAHotValueStaysMasked(t *testing.T) {
	is := is.New(t)
	r := redact.New()
	l, seen := logs(r)
	values := map[string]string{"hot": "hot-value-1"}
	for i := range 1100 {
		values["cold"+strconv.Itoa(i)] = fmt.Sprintf("cold-value-%d", i)
	}
	c := client(t, secretstest.NewBackend(values), secrets.WithRedaction(r), secrets.WithCache(cache.New()))
	for i := range 1100 {
		for _, key := range []string{"hot", "cold" + strconv.Itoa(i)} {
			_, err := c.Get(t.Context(), key)
			is.NoErr(err)
		}
	}
	l.Info("hot-value-1")
	is.Equal(seen(), mark)
	is.Equal(r.Stats().Forgotten, uint64(0))
}

// All fields of a document are masked, and a document that is fetched again outlives those that are not.
func TestWhatIsForgottenIsCounted(t *testing.T) {
	is := is.New(t)
	r := redact.New(redact.WithSize(2))
	l, seen := logs(r)
	layer := tell(r)
	hand := func(path, field, value string) {
		layer.HandedOut(secrets.Ref{Path: path, Field: field}, secrets.NewSecret(value, secrets.Meta{}))
	}
	shown := func(values ...string) (all []string) {
		for _, value := range values {
			if l.Info(value); seen() != mark {
				all = append(all, value)
			}
		}
		return all
	}
	for i := range 120 {
		hand("a", strconv.Itoa(i), fmt.Sprintf("value-a-%d", i))
	}
	hand("b", "", "value-b-1")
	hand("a", "0", "value-a-0") // it is fetched again
	hand("c", "", "value-c-1")
	is.Equal(shown("value-a-0", "value-a-119", "value-b-1", "value-c-1"), []string{"value-b-1"})
	is.Equal(r.Stats().Forgotten, uint64(1))

	for i := range 129 {
		hand("d", strconv.Itoa(i), fmt.Sprintf("value-d-%d", i))
	}
	is.Equal(r.Stats().Values, 128)
	is.Equal(r.Stats().Forgotten, uint64(1+120+1+1))
	is.Equal(shown("value-a-0", "value-c-1", "value-d-0", "value-d-1", "value-d-128"), []string{"value-a-0", "value-c-1", "value-d-0"})
}

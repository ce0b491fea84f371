package redact_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
)

const withheld = "the detail is withheld: there are more values to look for in it than time"

// large returns a JSON document of some 2,700 values, which are those of no other n.
func large(n int) string {
	var b strings.Builder
	b.WriteString(`{"k":"v"`)
	for i := 0; b.Len() < 60_000; i++ {
		fmt.Fprintf(&b, `,"k%d":"value %d/%d"`, i, n, i)
	}
	return b.String() + "}"
}

// loaded returns a layer that has seen many large documents, and canary last, and knows nothing of them yet. It fails for
// paths that are no numbers, with what say returns.
func loaded(t *testing.T, documents int, say func(path string) error) secrets.Fetcher {
	t.Helper()
	layer := over(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		switch i, err := strconv.Atoi(ref.Path); {
		case err != nil:
			return secrets.Secret{}, say(ref.Path)
		case i == documents:
			return secrets.NewSecret(canary, secrets.Meta{}), nil
		default:
			return secrets.NewSecret(large(i), secrets.Meta{}), nil
		}
	})
	for i := range documents + 1 {
		_, err := layer.Fetch(t.Context(), secrets.Ref{Path: strconv.Itoa(i)})
		is.New(t).NoErr(err)
	}
	return layer
}

func denied(string) error {
	return &secrets.Error{
		Backend: "vault", Key: "key", Err: secrets.ErrPermissionDenied, Detail: quoting(canary).Detail,
		Causes: []*secrets.Error{quoting(canary)},
	}
}

// A Detail that was not searched to the end does not pass. What was done is not lost, so that one does pass in the end, and
// all else that an error tells passes at once.
func TestADetailThatTakesTooLongIsWithheld(t *testing.T) {
	is := is.New(t)
	layer := loaded(t, 8, denied)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second)) // so that the first gets nowhere
	defer cancel()
	for tries := 1; ; tries++ {
		_, err := layer.Fetch(ctx, secrets.Ref{Path: "bad"})
		ctx = t.Context()
		e, ok := errors.AsType[*secrets.Error](err)
		is.True(ok)
		is.Equal(e.Err, secrets.ErrPermissionDenied)
		is.Equal(e.Backend+" "+e.Key, "vault key")
		is.Equal(len(e.Causes), 1)
		is.Equal(secrets.Class(e.Causes[0]), secrets.ErrUnavailable)
		if e.Causes[0].Detail == scrubbed {
			is.Equal(e.Detail, scrubbed)
			is.True(tries > 1) // the control: there was a limit
			return
		}
		is.Equal(e.Causes[0].Detail, withheld)
		is.True(e.Detail == withheld || e.Detail == scrubbed)
		is.True(tries < 1000)
	}
}

// The errors of a batch are looked through at the same time, and none waits for another.
func TestTheErrorsOfABatchAreWithheldTogether(t *testing.T) {
	is := is.New(t)
	layer := loaded(t, 60, denied)
	var answers [20]error
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { _, answers[i] = layer.Fetch(t.Context(), secrets.Ref{Path: "bad" + strconv.Itoa(i)}) })
	}
	wg.Wait()
	for _, err := range answers {
		is.Equal(detail(err), withheld)
		is.True(errors.Is(err, secrets.ErrPermissionDenied))
	}
}

// A call that has little time left spends none of it: its answer would come too late.
func TestACallThatIsAlmostOverIsNotHeldUp(t *testing.T) {
	is := is.New(t)
	documents := 0
	layer := over(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		if ref.Path == "bad" {
			return secrets.Secret{}, quoting(canary)
		}
		documents++
		return secrets.NewSecret(large(documents), secrets.Meta{}), nil
	})
	for i := range 3 {
		_, err := layer.Fetch(t.Context(), secrets.Ref{Path: strconv.Itoa(i)})
		is.NoErr(err)
	}
	over, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err := layer.Fetch(over, secrets.Ref{Path: "bad"})
	is.Equal(detail(err), withheld)
	for detail(err) == withheld { // the control: the same, with more time
		_, err = layer.Fetch(t.Context(), secrets.Ref{Path: "bad"})
	}
	is.Equal(detail(err), quoting(canary).Detail)
}

func list(n int, element func(i int) string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = element(i)
	}
	return "[" + strings.Join(all, ",") + "]"
}

// What cannot be searched withholds the Details for as long as it is remembered, and no longer.
func TestValuesThatAreTooMuch(t *testing.T) {
	different := func(i int) string { return fmt.Sprintf("%06d", 100_000+i) }
	for name, c := range map[string]struct {
		value string
		fits  bool
	}{
		"as many strings as may be":   {list(4095, different), true}, // and the document itself
		"one string more":             {list(4096, different), false},
		"strings within a string":     {`{"a":` + strconv.Quote(list(5000, different)) + `}`, false},
		"lines":                       {strings.ReplaceAll(list(5000, different), ",", "\n"), false},
		"many that say nothing":       {list(30_000, func(int) string { return "1" }), true},
		"more of them":                {list(70_000, func(int) string { return "1" }), false},
		"a long text":                 {strings.Repeat("x", 16<<20-len(canary)-10), true},
		"a longer one":                {strings.Repeat("x", 16<<20), false},
		"a document that goes deeper": {strings.Repeat("[", 60_000), true},
		"one that is deeper than may": {strings.Repeat("[", 70_000), false},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			b := secretstest.NewBackend(map[string]string{"key": canary, "large": c.value})
			b.FailPath("bad", quoting(canary))
			client := client(t, b, secrets.WithRedaction(redact.New()))
			get := func(key string) {
				_, err := client.Get(t.Context(), key)
				is.NoErr(err)
			}
			said := func() (said string) {
				for range 100 { // it may need more time, too
					_, err := client.Get(t.Context(), "bad")
					is.True(errors.Is(err, secrets.ErrUnavailable))
					if said = detail(err); said != withheld {
						break
					}
				}
				return said
			}
			get("key")
			is.Equal(said(), scrubbed)
			get("large")
			is.Equal(said() == scrubbed, c.fits)
			for i := range 2 {
				b.Set("large", "rotated-"+strconv.Itoa(i))
				get("large")
			}
			is.Equal(said(), scrubbed)
		})
	}
}

func TestALongDetailIsWithheld(t *testing.T) {
	is := is.New(t)
	scrub := scrubber(canary)
	long := strings.Repeat(".", 1<<16)
	is.True(scrub(long+canary) == withheld)
	is.True(scrub(long[len(canary):]+canary) == long[len(canary):]+mark)
}

// Where a value is found at every place, each place costs no more than elsewhere. This takes some 10 ms; a search that
// begins anew at each place takes a minute.
func TestAPeriodicValueIsHiddenInTime(t *testing.T) {
	is := is.New(t)
	value := strings.Repeat("a", 1<<20)
	began := time.Now()
	is.True(redact.Mask(value+value, value) == mark)
	is.True(redact.Mask(value[1:]+"b"+value, value) == value[1:]+"b"+mark)
	is.True(time.Since(began) < 10*time.Second)
}

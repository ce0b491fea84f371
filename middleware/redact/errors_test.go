package redact_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func quoting(value string) *secrets.Error {
	return &secrets.Error{Err: secrets.ErrUnavailable, Detail: "the server says: " + value + " is wrong"}
}

const scrubbed = "the server says: [REDACTED] is wrong"

// leaksOf returns the places in the errors of a client that show a value, for a backend that quotes it wherever it can.
func leaksOf(t *testing.T, opts ...secrets.Option) (leaks []string) {
	t.Helper()
	is := is.New(t)
	ctx := t.Context()
	b := secretstest.NewBackend(map[string]string{"key": canary, "doc": `{"user":"app","password":"` + canary + `"}`, "other": "x"})
	c := client(t, b, opts...)
	_, err := c.GetMany(ctx, "key", "doc")
	is.NoErr(err)
	quotes := printed(canary)
	quotes["cause"] = ""
	for name, quote := range quotes {
		e := quoting(quote)
		if name == "cause" {
			e.Causes = []*secrets.Error{{Err: secrets.ErrNotFound}, {
				Err: secrets.ErrNotFound, Detail: "a", Causes: []*secrets.Error{quoting(canary)},
			}}
		}
		b.Fail(fmt.Errorf("an SDK that quotes %s: %w", canary, e))
		_, err := c.Get(ctx, "key")
		leaks = append(leaks, secretstest.Leaks(canary, err)...)
		_, err = c.GetMany(ctx, "doc#password", "other")
		leaks = append(leaks, secretstest.Leaks(canary, err)...)
		_, err = c.Refresh(ctx, "other")
		leaks = append(leaks, secretstest.Leaks(canary, err)...)
	}
	return leaks
}

func TestNoErrorOfAClientShowsAValue(t *testing.T) {
	is := is.New(t)
	is.Equal(leaksOf(t, secrets.WithRedaction(redact.New())), nil)
	t.Run("control: no redaction", func(t *testing.T) {
		is := is.New(t)
		is.True(len(leaksOf(t)) > 100)
	})
}

// document returns a layer that has fetched document. Its next fetches of it fail with err.
func document(t *testing.T, document string, err func() error) func(path string) error {
	t.Helper()
	known := true
	layer := over(func(_ context.Context, _ secrets.Ref) (secrets.Secret, error) {
		if known {
			return secrets.NewSecret(document, secrets.Meta{}), nil
		}
		return secrets.Secret{}, err()
	})
	_, e := layer.Fetch(t.Context(), secrets.Ref{Path: "key"})
	is.New(t).NoErr(e)
	known = false
	return func(path string) error {
		_, err := layer.Fetch(t.Context(), secrets.Ref{Path: path})
		return err
	}
}

func TestTheRestOfAnErrorIsKept(t *testing.T) {
	for _, class := range []error{
		secrets.ErrNotFound, secrets.ErrDeleted, secrets.ErrFieldNotFound, secrets.ErrPermissionDenied,
		secrets.ErrUnauthenticated, secrets.ErrUnavailable, secrets.ErrInvalidKey, secrets.ErrMalformed, secrets.ErrUnknown,
	} {
		is := is.New(t)
		given := &secrets.Error{
			Backend: "canary", Key: "canary-7f3K", Err: class, Detail: "about " + canary,
			Causes: []*secrets.Error{
				{Backend: "b", Key: "k", Err: secrets.ErrMalformed, Detail: canary},
				nil,
				{Backend: "c", Key: "l", Err: secrets.ErrNotFound, Detail: "plain"},
			},
		}
		err := document(t, canary, func() error { return fmt.Errorf("wrapped: %w", given) })("key")
		var got *secrets.Error
		is.True(errors.As(err, &got))
		is.True(errors.Is(err, class))
		is.Equal(got.Backend, given.Backend)
		is.Equal(got.Key, given.Key)
		is.Equal(got.Err, class)
		is.Equal(got.Detail, "about [REDACTED]")
		is.Equal(len(got.Causes), 3)
		is.Equal(*got.Causes[0], secrets.Error{Backend: "b", Key: "k", Err: secrets.ErrMalformed, Detail: "[REDACTED]"})
		is.True(got.Causes[1] == nil)
		is.Equal(got.Causes[2], given.Causes[2])
		// The backend may keep its error: the layer must not change it.
		is.Equal(given.Detail, "about "+canary)
		is.Equal(given.Causes[0].Detail, canary)
	}
}

// A denial that is joined with a not-found stays a denial.
func TestTheClassOfAJoinedErrorIsNotLost(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(map[string]string{"key": canary})
	c := client(t, b, secrets.WithRedaction(redact.New()))
	_, err := c.Get(t.Context(), "key")
	is.NoErr(err)
	b.Fail(errors.Join(&secrets.Error{Err: secrets.ErrNotFound, Detail: canary}, secrets.ErrPermissionDenied))
	_, err = c.Get(t.Context(), "key")
	is.True(errors.Is(err, secrets.ErrPermissionDenied))
	is.Equal(detail(err), "[REDACTED]")
}

type foreign struct{ text string }

func (f foreign) Error() string { return f.text }

// The layer passes a foreign error on to the Client, which keeps only its class.
func TestForeignErrorsPassThroughAndAreDroppedByTheClient(t *testing.T) {
	is := is.New(t)
	sdk := foreign{"body: " + canary}
	var none *secrets.Error
	for _, given := range []error{sdk, context.Canceled, secrets.ErrNotFound, none, fmt.Errorf("no value: %w", none)} {
		err := document(t, canary, func() error { return given })("key")
		is.True(err != nil)
		is.Equal(secrets.Class(err), secrets.Class(given))
	}
	is.Equal(document(t, canary, func() error { return sdk })("key"), sdk)

	b := secretstest.NewBackend(map[string]string{"key": canary})
	b.OnCall(func(context.Context, []secrets.Ref) error { return sdk })
	_, err := client(t, b, secrets.WithRedaction(redact.New())).Get(t.Context(), "key")
	is.True(errors.Is(err, secrets.ErrUnknown))
	is.True(!errors.As(err, new(foreign)))
	secretstest.AssertNoLeak(t, canary, err)
}

// An error of a batch may quote the value of another document of the same call.
func TestErrorsOfABatchAreSearchedForAllItsDocuments(t *testing.T) {
	is := is.New(t)
	const weak = "correcthorsebattery" // not masked in logs, or in errors of other calls
	b := secretstest.NewBackend(map[string]string{"key": weak}, secretstest.WithBatch(20))
	c := client(t, b, secrets.WithRedaction(redact.New()))
	b.FailPath("before", quoting(weak))
	b.FailPath("behind", quoting(weak))
	got, err := c.GetMany(t.Context(), "before", "key", "behind")
	is.Equal(got["key"].Reveal(), weak)
	var errs secrets.Errors
	is.True(errors.As(err, &errs))
	is.Equal(len(errs), 2)
	is.Equal(errs[0].Detail, scrubbed)
	is.Equal(errs[1].Detail, scrubbed)
	_, err = c.Get(t.Context(), "before") // control: a call of its own
	is.Equal(detail(err), quoting(weak).Detail)
}

// The value in the error may not have passed the layer yet. It is in the answer to the whole call.
func TestErrorsAreSearchedForTheAnswerToTheWholeCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := secrets.NewBatcher(2, time.Second, func(_ context.Context, refs []secrets.Ref) []secrets.Result {
			return slices.Repeat([]secrets.Result{{Secret: secrets.NewSecret(canary, secrets.Meta{}), Err: quoting(canary)}}, len(refs))
		})
		for _, looked := range []bool{true, false} {
			refused := over(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
				if !looked { // control: the call is not recorded
					ctx = fetchctx.With(ctx, fetchctx.Fetch{})
				}
				_, err := b.Fetch(ctx, ref)
				return secrets.Secret{}, err
			})
			var other sync.WaitGroup
			other.Go(func() { _, _ = b.Fetch(t.Context(), secrets.Ref{Path: "other"}) })
			_, err := refused.Fetch(t.Context(), secrets.Ref{Path: "key"})
			is.Equal(detail(err) == scrubbed, looked)
			other.Wait()
		}
	})
}

// The layer must not change the answer of a backend.
func TestTheAnswerOfTheBackendIsNotChanged(t *testing.T) {
	is := is.New(t)
	answer := []secrets.Result{{Secret: secrets.NewSecret(canary, secrets.Meta{})}, {Err: quoting(canary)}}
	b := secrets.NewBatcher(2, 0, func(_ context.Context, refs []secrets.Ref) []secrets.Result {
		if refs[0].Path == "b" {
			return []secrets.Result{answer[1], answer[0]}
		}
		return answer
	})
	c := client(t, secrets.NewBackend(secrets.Info{Name: "b", Batch: 2}, b.Fetch), secrets.WithRedaction(redact.New()))
	for range 2 {
		got, err := c.GetMany(t.Context(), "a", "b")
		is.Equal(got["a"].Reveal(), canary)
		is.Equal(detail(err), scrubbed)
		is.Equal(detail(answer[1].Err), quoting(canary).Detail)
	}
}

// A value that comes with an error is masked in it. If the number of answers is wrong, the error shows none of them.
func TestABatchOfTheWrongNumberShowsNothing(t *testing.T) {
	for _, answers := range []int{0, 1, 2, 3, 5} {
		is := is.New(t)
		b := secrets.NewBatcher(3, 0, func(context.Context, []secrets.Ref) []secrets.Result {
			return slices.Repeat([]secrets.Result{{Secret: secrets.NewSecret(canary, secrets.Meta{}), Err: quoting(canary)}}, answers)
		})
		c := client(t, secrets.NewBackend(secrets.Info{Name: "b", Batch: 3}, b.Fetch), secrets.WithRedaction(redact.New()))
		got, err := c.GetMany(t.Context(), "a", "b", "c")
		is.Equal(len(got), 0)
		secretstest.AssertNoLeak(t, canary, err)
		var errs secrets.Errors
		is.True(errors.As(err, &errs))
		is.Equal(len(errs), 3)
		for _, e := range errs {
			if answers == 3 {
				is.Equal(e.Detail, scrubbed)
			} else {
				is.Equal(e.Err, secrets.ErrUnknown)
			}
		}
	}
}

// A weak value, which is masked only in errors of its own document.
func TestTheLastTwoValuesOfADocumentAreMaskedInItsErrors(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(nil)
	c := client(t, b, secrets.WithRedaction(redact.New()))
	weak := []string{"alphaalpha", "betabeta", "gammagamma", "deltadelta"}
	said := func(key, value string) string {
		t.Helper()
		b.Fail(quoting(value))
		defer b.Recover()
		_, err := c.Get(t.Context(), key)
		return detail(err)
	}
	for i := range weak {
		b.Set("key", weak[i])
		for range 3 { // an unchanged value drops none
			_, err := c.Get(t.Context(), "key")
			is.NoErr(err)
		}
		for k := range i + 1 {
			is.Equal(said("key", weak[k]) == scrubbed, k >= i-1)
		}
	}
	// A version in the key makes a document of its own.
	_, err := c.Get(t.Context(), "key?version=1")
	is.NoErr(err)
	is.Equal(said("key?version=1", weak[0]), scrubbed)
	is.Equal(said("key?version=1", weak[3]), quoting(weak[3]).Detail)
	is.Equal(said("key", weak[3]), scrubbed)
	is.Equal(said("key", weak[2]), scrubbed)
}

// Returned values are masked in the errors of all backends that have answered. The rest of a document is masked only in its own errors.
func TestReturnedValuesAreMaskedInAllErrors(t *testing.T) {
	is := is.New(t)
	shared := redact.New()
	a := secretstest.NewBackend(map[string]string{"doc": `{"password":"` + canary + `","other":"not-asked-for-1"}`}, secretstest.WithName("a"))
	b := secretstest.NewBackend(map[string]string{"answered": "value-of-b"}, secretstest.WithName("b"))
	one := client(t, a, secrets.WithRedaction(shared), secrets.WithFallback(fallback.To(b)))
	two := client(t, b, secrets.WithRedaction(shared))
	_, err := one.Get(t.Context(), "doc#password")
	is.NoErr(err)
	both, other := canary+" not-asked-for-1", mark+" not-asked-for-1"

	b.FailPath("key", quoting(both))
	_, err = two.Get(t.Context(), "key")
	is.Equal(detail(err), quoting(both).Detail) // it has not answered, so it has no value to quote
	_, err = two.Get(t.Context(), "answered")
	is.NoErr(err)
	_, err = two.Get(t.Context(), "key")
	is.Equal(detail(err), quoting(other).Detail)

	a.FailPath("doc", quoting(both))
	_, err = one.Get(t.Context(), "doc#password")
	var e *secrets.Error
	is.True(errors.As(err, &e))
	is.Equal(e.Backend+": "+e.Detail, "a: "+quoting(mark+" "+mark).Detail)

	b.Fail(quoting(both))
	_, err = client(t, b, secrets.WithRedaction(redact.New())).Get(t.Context(), "key") // control: another Redactor
	is.Equal(detail(err), quoting(both).Detail)
}

const withheld = "the detail is withheld: the documents of the call are too large to look for them in it"

func TestADetailIsWithheldIfTheDocumentsAreTooLarge(t *testing.T) {
	is := is.New(t)
	text := func(n int) string { return canary + "\n" + strings.Repeat("x", n-len(canary)-1) }
	denied := func() error {
		return &secrets.Error{
			Backend: "vault", Key: "key", Err: secrets.ErrPermissionDenied, Detail: quoting(canary).Detail,
			Causes: []*secrets.Error{quoting(canary), {Err: secrets.ErrNotFound}},
		}
	}
	for _, c := range []struct {
		size int
		want string
	}{{2 << 20, scrubbed}, {2<<20 + 1, withheld}} {
		err := document(t, text(c.size), denied)("key")
		e, ok := errors.AsType[*secrets.Error](err)
		is.True(ok)
		is.Equal(e.Err, secrets.ErrPermissionDenied)
		is.Equal(e.Backend+" "+e.Key, "vault key")
		is.Equal(e.Detail, c.want)
		is.Equal(e.Causes[0].Detail, c.want)
		is.Equal(secrets.Class(e.Causes[0]), secrets.ErrUnavailable)
		is.Equal(e.Causes[1].Detail, "")                                                       // there was no detail
		is.Equal(detail(document(t, text(c.size), denied)("another")), quoting(canary).Detail) // another document
	}
	is.Equal(scrubber(text(1<<20), text(1<<20+1))(canary), withheld) // all documents of the call together
}

func TestALargeDocumentIsSearchedInTime(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	var b strings.Builder
	for i := 0; b.Len() < 1<<19; i++ {
		fmt.Fprintf(&b, `,"key%04d":"%d-of/many+values"`, i, i*7919)
	}
	scrub := scrubber("{" + b.String()[1:] + "}")
	is.Equal(scrub("is 7919-of/many+values, or 79190-of%2Fmany%2Bvalues"), "is "+mark+", or "+mark)
}

func TestALongDetailIsMasked(t *testing.T) {
	is := is.New(t)
	scrub := scrubber(canary)
	long := strings.Repeat("0123456789 %41\\u0041 ", 1<<16)
	is.True(scrub(long+canary+long) == long+mark+long)
}

// A value that is found at every position takes no more time per position.
func TestAPeriodicValueIsMaskedInTime(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	for _, period := range []string{"a", "ab1-", `\\`, "%25", "a\n", `""`, "&amp;"} {
		value := strings.Repeat(period, (1<<12)/len(period))
		scrub := scrubber("x1" + value + "y2")
		is.Equal(scrub("<x1"+value+"y2>"), "<"+mark+">")
		scrub(value + value[1:] + "b" + value)
	}
}

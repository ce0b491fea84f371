package redact_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/middleware/redact"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const canary = "canary-7f3Kq9ZxWv2m"

func client(t *testing.T, b secrets.Backend, opts ...secrets.Option) *secrets.Client {
	t.Helper()
	c, err := secrets.New(b, opts...)
	is.New(t).NoErr(err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// over returns a layer of its own over fetch.
func over(fetch func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error)) secrets.Redaction {
	b := secrets.NewBackend(secrets.Info{Name: "b"}, fetch)
	return redact.New().NewRedaction(b.Info(), b)
}

func quoting(value string) *secrets.Error {
	return &secrets.Error{Err: secrets.ErrUnavailable, Detail: "the server says: " + value + " is wrong"}
}

const scrubbed = "the server says: [REDACTED] is wrong"

// detail returns the Detail of an error of the library.
func detail(err error) string {
	var e *secrets.Error
	if !errors.As(err, &e) {
		return fmt.Sprintf("not an error of the library: %v", err)
	}
	return e.Detail
}

// leaksOf tells what shows of a value in the errors of a client whose backend quotes it wherever it can.
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
		is.True(len(leaksOf(t)) > 100)
	})
}

func TestWhatAnErrorTellsBesideTheValueSurvives(t *testing.T) {
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
		layer := over(func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
			if ref.Path == "key" {
				return secrets.NewSecret(canary, secrets.Meta{}), nil
			}
			return secrets.Secret{}, fmt.Errorf("wrapped: %w", given)
		})
		_, err := layer.Fetch(t.Context(), secrets.Ref{Path: "key"})
		is.NoErr(err)
		_, err = layer.Fetch(t.Context(), secrets.Ref{Path: "other"})
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
		// The backend may keep its error: it is not written to.
		is.Equal(given.Detail, "about "+canary)
		is.Equal(given.Causes[0].Detail, canary)
	}
}

// A denial that is joined to an absence stays a denial.
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

// The layer leaves a foreign error to the Client, which keeps nothing of it but the class.
func TestForeignErrorsPassThroughAndAreDroppedAtTheClient(t *testing.T) {
	is := is.New(t)
	sdk := foreign{"body: " + canary}
	b := secretstest.NewBackend(map[string]string{"key": canary})
	layer := over(b.Fetch)
	_, err := layer.Fetch(t.Context(), secrets.Ref{Path: "key"})
	is.NoErr(err)
	var none *secrets.Error
	for _, given := range []error{sdk, context.Canceled, secrets.ErrNotFound, none, fmt.Errorf("no value: %w", none)} {
		b.OnCall(func(context.Context, []secrets.Ref) error { return given })
		_, err = layer.Fetch(t.Context(), secrets.Ref{Path: "key"})
		is.True(err != nil)
		is.Equal(secrets.Class(err), secrets.Class(given))
	}
	b.OnCall(func(context.Context, []secrets.Ref) error { return sdk })
	_, err = layer.Fetch(t.Context(), secrets.Ref{Path: "key"})
	is.Equal(err, sdk)

	c := client(t, b, secrets.WithRedaction(redact.New()))
	_, err = c.Get(t.Context(), "key")
	is.True(errors.Is(err, secrets.ErrUnknown))
	is.True(!errors.As(err, new(foreign)))
	secretstest.AssertNoLeak(t, canary, err)
}

func TestAnErrorOfABatchMayQuoteTheValueOfAnother(t *testing.T) {
	for name, opts := range map[string][]secretstest.Option{"batches": {secretstest.WithBatch(20)}, "single calls": nil} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			b := secretstest.NewBackend(map[string]string{"key": canary}, opts...)
			c := client(t, b, secrets.WithRedaction(redact.New()))
			if opts == nil { // what no call has brought is not known
				_, err := c.Get(t.Context(), "key")
				is.NoErr(err)
			}
			b.FailPath("before", quoting(canary))
			b.FailPath("behind", quoting(canary))
			found, err := c.GetMany(t.Context(), "before", "key", "behind")
			is.Equal(found["key"].Reveal(), canary)
			var errs secrets.Errors
			is.True(errors.As(err, &errs))
			is.Equal(len(errs), 2)
			is.Equal(errs[0].Detail, scrubbed)
			is.Equal(errs[1].Detail, scrubbed)
		})
	}
}

// The value that the error quotes may not have come through the layer yet: it is in the answer to the whole call.
func TestTheAnswerToTheWholeCallIsLookedThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := secrets.NewBatcher(2, time.Second, func(_ context.Context, refs []secrets.Ref) []secrets.Result {
			return slices.Repeat([]secrets.Result{{Secret: secrets.NewSecret(canary, secrets.Meta{}), Err: quoting(canary)}}, len(refs))
		})
		for _, looked := range []bool{true, false} {
			refused := over(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
				if !looked { // the control: nobody learns of the call
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

// The answer of a backend is the backend's: the layer must not write into it.
func TestTheAnswerOfTheBackendIsNotWrittenTo(t *testing.T) {
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
		found, err := c.GetMany(t.Context(), "a", "b")
		is.Equal(found["a"].Reveal(), canary)
		is.Equal(detail(err), scrubbed)
		is.Equal(detail(answer[1].Err), quoting(canary).Detail)
	}
}

// Values beside errors are scrubbed, and of a wrong number of answers nothing is told.
func TestABatchOfTheWrongNumberShowsNothing(t *testing.T) {
	for _, answers := range []int{0, 1, 2, 3, 5} {
		is := is.New(t)
		b := secrets.NewBatcher(3, 0, func(context.Context, []secrets.Ref) []secrets.Result {
			return slices.Repeat([]secrets.Result{{Secret: secrets.NewSecret(canary, secrets.Meta{}), Err: quoting(canary)}}, answers)
		})
		c := client(t, secrets.NewBackend(secrets.Info{Name: "b", Batch: 3}, b.Fetch), secrets.WithRedaction(redact.New()))
		found, err := c.GetMany(t.Context(), "a", "b", "c")
		is.Equal(len(found), 0)
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

func TestTheCurrentAndThePreviousValueAreRemembered(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(nil)
	c := client(t, b, secrets.WithRedaction(redact.New()))
	said := func(value string) string {
		t.Helper()
		b.FailPath("other", quoting(value))
		_, err := c.Get(t.Context(), "other")
		return detail(err)
	}
	for i := range 4 {
		b.Set("key", canary+strconv.Itoa(i))
		for range 3 { // an unchanged value pushes none out
			_, err := c.Get(t.Context(), "key")
			is.NoErr(err)
		}
		for k := range i + 1 {
			value := canary + strconv.Itoa(k)
			is.Equal(said(value) == scrubbed, k >= i-1)
		}
	}
	// A version that is asked for by name is a document of its own.
	_, err := c.Get(t.Context(), "key?version=1")
	is.NoErr(err)
	is.Equal(said(canary+"0"), scrubbed)
	is.Equal(said(canary+"3"), scrubbed)
	is.Equal(said(canary+"2"), scrubbed)
}

func TestWithSizeBoundsTheMemory(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(nil)
	c := client(t, b, secrets.WithRedaction(redact.New(redact.WithSize(3))))
	value := func(i int) string { return fmt.Sprintf("value-%d-of-many", i) }
	known := func() (all []int) {
		for i := range 10 {
			b.FailPath("bad", quoting(value(i)))
			if _, err := c.Get(t.Context(), "bad"); detail(err) == scrubbed {
				all = append(all, i)
			}
		}
		return all
	}
	get := func(i int) {
		_, err := c.Get(t.Context(), "key"+strconv.Itoa(i))
		is.NoErr(err)
	}
	for i := range 10 {
		b.Set("key"+strconv.Itoa(i), value(i))
		get(i)
	}
	is.Equal(known(), []int{7, 8, 9})
	get(7) // the order is that of the last fetch
	get(0)
	is.Equal(known(), []int{0, 7, 9})
}

// Two Clients share the layer value, and nothing of what passes through it.
func TestClientsThatShareALayerDoNotShareValues(t *testing.T) {
	is := is.New(t)
	shared := redact.New()
	a := secretstest.NewBackend(map[string]string{"key": canary})
	b := secretstest.NewBackend(nil)
	one, two := client(t, a, secrets.WithRedaction(shared)), client(t, b, secrets.WithRedaction(shared))
	_, err := one.Get(t.Context(), "key")
	is.NoErr(err)

	b.Fail(quoting(canary))
	_, err = two.Get(t.Context(), "key")
	is.Equal(detail(err), quoting(canary).Detail)
	a.Fail(quoting(canary))
	is.NoErr(two.Close())
	_, err = one.Get(t.Context(), "key") // what the other closed was its own
	is.Equal(detail(err), scrubbed)
}

// So do the backends of one Client.
func TestEachBackendHasAMemoryOfItsOwn(t *testing.T) {
	is := is.New(t)
	a := secretstest.NewBackend(map[string]string{"key": canary}, secretstest.WithName("a"))
	b := secretstest.NewBackend(nil, secretstest.WithName("b"))
	b.Fail(quoting(canary))
	c := client(t, a, secrets.WithRedaction(redact.New()), secrets.WithFallback(fallback.To(b)))
	_, err := c.Get(t.Context(), "key")
	is.NoErr(err)
	a.FailPath("other", quoting(canary))
	_, err = c.Get(t.Context(), "other")
	var e *secrets.Error
	is.True(errors.As(err, &e))
	is.Equal(e.Backend+": "+e.Detail, "a: "+scrubbed)
	is.Equal(e.Causes[0].Backend+": "+e.Causes[0].Detail, "b: "+quoting(canary).Detail)
}

func TestCloseForgets(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(map[string]string{"key": canary})
	layer := over(b.Fetch)
	fetch := func(path string) string {
		_, err := layer.Fetch(t.Context(), secrets.Ref{Path: path})
		return detail(err)
	}
	b.FailPath("other", quoting(canary))
	fetch("key")
	is.Equal(fetch("other"), scrubbed)
	for range 2 {
		is.NoErr(layer.Close())
		is.Equal(fetch("other"), quoting(canary).Detail)
		fetch("key") // a fetch that ends late leaves nothing behind
		is.Equal(fetch("other"), quoting(canary).Detail)
	}
}

// Nobody who dumps the layer finds a value in it.
func TestTheLayerShowsNothingOfItsMemory(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(map[string]string{"key": canary, "doc": `{"password":"` + canary + `"}`})
	layer := over(b.Fetch)
	look := func() {
		for _, path := range []string{"key", "doc"} {
			_, err := layer.Fetch(t.Context(), secrets.Ref{Path: path})
			is.NoErr(err)
		}
		secretstest.AssertNoLeak(t, canary, layer)
	}
	look()
	b.FailPath("other", quoting(canary))
	_, err := layer.Fetch(t.Context(), secrets.Ref{Path: "other"})
	is.Equal(detail(err), scrubbed)
	b.Recover() // the dump goes on into the backend, which holds the error
	look()      // after the needles were made
}

func TestFaultsOfTheOptionsAreReportedByNew(t *testing.T) {
	for _, c := range []struct {
		opts []redact.Option
		want []string
	}{
		{nil, nil},
		{[]redact.Option{redact.WithSize(1)}, nil},
		{[]redact.Option{redact.WithSize(0), redact.WithSize(5)}, nil}, // the last one counts
		{[]redact.Option{redact.WithSize(0)}, []string{"redact: WithSize: 0 is not more than 0"}},
		{[]redact.Option{redact.WithSize(-3), nil}, []string{"redact: WithSize: -3", "redact: option 2 is nil"}},
	} {
		is := is.New(t)
		b := secretstest.NewBackend(nil)
		made, err := secrets.New(b, secrets.WithRedaction(redact.New(c.opts...)))
		is.Equal(err == nil, len(c.want) == 0)
		is.Equal(made != nil, len(c.want) == 0)
		for _, want := range c.want {
			is.True(strings.Contains(err.Error(), want)) // the fault is told
		}
		if made != nil {
			is.NoErr(made.Close())
		}
	}
	is := is.New(t)
	_, err := secrets.New(secretstest.NewBackend(nil), secrets.WithRedaction(&redact.Redactor{}))
	is.True(err != nil)
	is.Equal(err.Error(), "redact: a zero Redactor; make it with redact.New")
}

func TestConcurrentUse(t *testing.T) {
	b := secretstest.NewBackend(nil)
	for i := range 20 {
		b.Set("key"+strconv.Itoa(i), canary+strconv.Itoa(i))
		b.FailPath("bad"+strconv.Itoa(i), quoting(canary+strconv.Itoa(i)))
	}
	c := client(t, b, secrets.WithRedaction(redact.New(redact.WithSize(40))))
	for i := range 20 { // a value that was never fetched is not known
		_, err := c.Get(t.Context(), "key"+strconv.Itoa(i))
		is.New(t).NoErr(err)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				n := strconv.Itoa((g + i) % 20)
				if g == 0 {
					b.Set("key"+n, canary+n+strings.Repeat("x", i%2)) // rotates
				}
				if _, err := c.GetMany(t.Context(), "key"+n, "bad"+n); !strings.HasPrefix(detail(err), "the server says: "+mark) {
					t.Errorf("%v", detail(err))
				}
				_, _ = c.Get(t.Context(), "key"+n)
			}
		})
	}
	wg.Wait()
}

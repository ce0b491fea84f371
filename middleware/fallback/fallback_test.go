package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func fake(name string, documents map[string]string) *secretstest.Backend {
	return secretstest.NewBackend(documents, secretstest.WithName(name))
}

// One batch holds a key for every combination of answers. Each source is asked once, for the keys alone that the sources
// before it left open.
func TestABatchAsksEachSourceOnceForWhatIsOpen(t *testing.T) {
	for _, p := range policies {
		t.Run(p.name, func(t *testing.T) {
			is := is.New(t)
			said := make(map[string]cell)
			var refs []secrets.Ref
			var open [sourceCount][]string
			for _, c := range cells() {
				ends := slices.ContainsFunc(c.kinds[:], func(k int) bool { return table[k].answer.ends })
				if c.policy.name != p.name || ends {
					continue
				}
				path := fmt.Sprintf("k%d-%d-%d", c.kinds[0], c.kinds[1], c.kinds[2])
				said[path] = c
				refs = append(refs, secrets.Ref{Path: path})
				for i, n := range c.want().asked {
					if n > 0 {
						open[i] = append(open[i], path)
					}
				}
			}
			all := make([]*source, sourceCount)
			for i := range all {
				all[i] = &source{name: names[i], say: func(path string) answer { return said[path].answers()[i] }}
			}

			results := p.chain().Chain(as[secrets.Fetcher](all)).FetchMany(t.Context(), refs)

			is.Equal(len(results), 11*11*11)
			for i, s := range all {
				is.Equal(s.calls, 1)
				is.Equal(s.keys, open[i])
			}
			for i, r := range results {
				want := said[refs[i].Path].want()
				if r.Err == nil {
					is.Equal(r.Secret.Reveal(), want.value)
					is.Equal(r.Secret.Meta().Backend, want.backend)
					continue
				}
				is.Equal(secrets.Class(r.Err).Error(), want.failure)
			}
		})
	}
}

func TestGetManyWithMixedOutcomes(t *testing.T) {
	is := is.New(t)
	vault := fake("vault", map[string]string{"a": "a of vault", "doc": `{"user":"app"}`})
	vault.FailPath("denied", secrets.ErrPermissionDenied)
	vault.FailPath("down", secrets.ErrUnavailable)
	env := fake("env", map[string]string{
		"a": "a of env", "b": "b of env", "denied": "weak", "down": "down of env", "doc": `{"password":"of another user"}`,
	})
	c := client(t, vault, secrets.WithFallback(fallback.To(env)), middleware.Standard())

	found, err := c.GetMany(t.Context(), "a", "b", "denied", "down", "doc#password", "nowhere")

	values := make(map[string]string)
	for key, s := range found {
		values[key] = s.Meta().Backend + ": " + s.Reveal()
	}
	is.Equal(values, map[string]string{"a": "vault: a of vault", "b": "env: b of env", "down": "env: down of env"})
	var errs secrets.Errors
	is.True(errors.As(err, &errs))
	var classes []string
	for _, e := range errs {
		classes = append(classes, e.Backend+" "+e.Key+" "+e.Err.Error())
	}
	is.Equal(classes, []string{
		"vault denied secrets: permission denied",
		"vault doc#password secrets: field not found",
		"vault nowhere secrets: not found",
	})
	is.Equal(vault.Batches(), [][]string{{"a", "b", "denied", "down", "doc", "nowhere"}})
	is.Equal(env.Batches(), [][]string{{"b", "down", "nowhere"}})
}

// deniedReaches counts how often the weaker source is asked after a denial by the first one.
func deniedReaches(t *testing.T, chain func(...secrets.Backend) secrets.Fallback) (weaker int) {
	t.Helper()
	is := is.New(t)
	ctx := t.Context()
	for _, denial := range []error{secrets.ErrPermissionDenied, secrets.ErrUnauthenticated} {
		for _, warm := range []bool{false, true} {
			strong, weak := fake("strong", map[string]string{"key": "v"}), fake("weak", map[string]string{"key": "weak"})
			c := client(t, strong, secrets.WithFallback(chain(weak)), middleware.Standard())
			if warm {
				_, err := c.Get(ctx, "key")
				is.NoErr(err)
			}
			strong.Fail(denial)
			_, err := c.Refresh(ctx, "key")
			is.True(err != nil || weak.Calls() > 0)
			for range 2 {
				_, _ = c.Get(ctx, "key")
				_, _ = c.GetOr(ctx, "key", "default")
				_, _ = c.GetMany(ctx, "key")
				_, _ = c.Has(ctx, "key")
				_, _ = c.Refresh(ctx, "key")
			}
			weaker += weak.Calls()
		}
	}
	return weaker
}

func TestADenialNeverReachesTheWeakerSource(t *testing.T) {
	for _, p := range policies {
		is.New(t).Equal(deniedReaches(t, func(next ...secrets.Backend) secrets.Fallback { return p.chain(next...) }), 0)
	}
	t.Run("control: a chain that always goes on", func(t *testing.T) {
		is.New(t).True(deniedReaches(t, func(next ...secrets.Backend) secrets.Fallback {
			return broken{next, func(error) bool { return true }, last}
		}) > 0)
	})
}

// outagesThatReadAsAbsence counts the calls that take an outage of the first source for an absence, because the next has
// deleted the secret, or has its document without the field.
func outagesThatReadAsAbsence(t *testing.T, chain func(...secrets.Backend) secrets.Fallback) (wrong int) {
	t.Helper()
	is := is.New(t)
	ctx := t.Context()
	for _, absence := range []error{secrets.ErrFieldNotFound, secrets.ErrDeleted} {
		down, next := fake("down", nil), fake("next", map[string]string{"db": `{"user":"app"}`})
		down.Fail(&secrets.Error{Err: secrets.ErrUnavailable, Detail: "sealed"})
		if absence == secrets.ErrDeleted {
			next.Delete("db")
		}
		c := client(t, down, secrets.WithFallback(chain(next)), middleware.Standard())
		for range 2 { // from the backends, and from memory
			_, err := c.GetOr(ctx, "db#password", "default")
			_, errHas := c.Has(ctx, "db#password")
			_, errMany := c.GetMany(ctx, "db#password")
			_, errFresh := c.Refresh(ctx, "db#password")
			for _, err := range []error{err, errHas, errMany, errFresh} {
				if err == nil || errors.Is(err, secrets.ErrNotFound) {
					wrong++
					continue
				}
				e, ok := errors.AsType[*secrets.Error](err)
				is.True(ok)
				is.Equal(e.Backend, "down")
				is.Equal(e.Err, secrets.ErrUnavailable)
				is.Equal(len(e.Causes), 1) // what stopped the chain is told
				is.Equal(e.Causes[0].Backend, "next")
				is.Equal(e.Causes[0].Err, absence)
			}
		}
	}
	return wrong
}

func TestAnOutageBeforeAnAbsenceIsNoAbsence(t *testing.T) {
	is.New(t).Equal(outagesThatReadAsAbsence(t, func(next ...secrets.Backend) secrets.Fallback { return fallback.To(next...) }), 0)
	t.Run("control: a chain whose last answer counts", func(t *testing.T) {
		goesOn := func(class error) bool {
			return class == secrets.ErrNotFound || class == secrets.ErrUnavailable
		}
		is.New(t).True(outagesThatReadAsAbsence(t, func(next ...secrets.Backend) secrets.Fallback {
			return broken{next, goesOn, lastOrOutage(goesOn)}
		}) > 0)
	})
}

// The end of the caller's context between two sources is the answer: whoever was not asked might have had the secret.
func TestTheCallerGivesUpBetweenTwoSources(t *testing.T) {
	for _, p := range policies {
		for _, first := range []error{secrets.ErrNotFound, secrets.ErrUnavailable} {
			for _, many := range []bool{false, true} {
				is := is.New(t)
				ctx, cancel := context.WithCancel(t.Context())
				strong, weak := fake("strong", nil), fake("weak", map[string]string{"key": "weak"})
				strong.Fail(first)
				// The caller goes when the first source has answered.
				leave := secrets.Intercept(func(
					ctx context.Context, refs []secrets.Ref, next func(context.Context, []secrets.Ref) []secrets.Result,
				) []secrets.Result {
					defer cancel()
					return next(ctx, refs)
				})
				sources := []secrets.Fetcher{leave.Wrap(strong), weak}
				chain := p.chain(weak).Chain(sources)

				var err error
				if many {
					err = chain.FetchMany(ctx, []secrets.Ref{{Path: "key"}})[0].Err
				} else {
					_, err = chain.Fetch(ctx, secrets.Ref{Path: "key"})
				}
				is.True(errors.Is(err, context.Canceled))
				is.True(!errors.Is(err, secrets.ErrNotFound))
				is.Equal(weak.Calls(), 0)
			}
		}
	}
}

func TestADeadlineBetweenTwoSourcesIsNoAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		strong, weak := fake("strong", nil), fake("weak", nil)
		strong.SetLatency(time.Second)
		weak.SetLatency(time.Second)
		c := client(t, strong, secrets.WithFallback(fallback.To(weak)), middleware.Standard())
		for _, patience := range []time.Duration{time.Second / 2, time.Second, time.Second + time.Second/2} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			s, err := c.GetOr(ctx, fmt.Sprint("key-", patience), "default")
			is.True(errors.Is(err, context.DeadlineExceeded))
			is.True(s.IsZero())
		}
		s, err := c.GetOr(t.Context(), "key", "default")
		is.NoErr(err) // both were asked in full
		is.Equal(s.Meta().Backend, "default")
	})
}

// miscounting answers a batch with too few or too many results.
type miscounting struct {
	secrets.Fetcher
	by int
}

func (m miscounting) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	return append(m.Fetcher.FetchMany(ctx, refs), make([]secrets.Result, max(0, m.by))...)[:max(0, len(refs)+m.by)]
}

func TestASourceThatAnswersInTheWrongNumberIsBelievedNothing(t *testing.T) {
	for _, by := range []int{-3, -1, 1} {
		is := is.New(t)
		strong, weak := fake("strong", map[string]string{"a": "1", "b": "2"}), fake("weak", map[string]string{"c": "weak"})
		keys := []string{"a", "b", "c"}
		layer := secrets.MiddlewareFunc(func(next secrets.Fetcher) secrets.Fetcher { return miscounting{next, by} })

		refs := []secrets.Ref{{Path: "a"}, {Path: "b"}, {Path: "c"}}
		results := fallback.To().Chain([]secrets.Fetcher{layer.Wrap(strong), weak}).FetchMany(t.Context(), refs)
		is.Equal(len(results), len(refs))
		for _, r := range results {
			is.True(errors.Is(r.Err, secrets.ErrUnknown))
			is.True(r.Secret.IsZero())
		}

		c := client(t, strong, secrets.WithFallback(fallback.To(weak)), secrets.WithTracing(layer))
		found, err := c.GetMany(t.Context(), keys...)
		is.Equal(len(found), 0)
		is.True(errors.Is(err, secrets.ErrUnknown))
		is.True(!errors.Is(err, secrets.ErrNotFound))
		is.Equal(weak.Calls(), 0)
	}
}

// Layers above the guard may hand the chain what no backend can.
func TestErrorsOfLayersAreJudgedByTheirClass(t *testing.T) {
	notFound := &secrets.Error{Backend: "strong", Err: secrets.ErrNotFound}
	for name, c := range map[string]struct {
		err  error
		want error
		next bool
	}{
		"a foreign error":          {errors.New("boom"), secrets.ErrUnknown, false},
		"a sentinel":               {secrets.ErrPermissionDenied, secrets.ErrPermissionDenied, false},
		"a nil error of ours":      {(*secrets.Error)(nil), secrets.ErrUnknown, false},
		"an absence and a denial":  {errors.Join(notFound, secrets.ErrPermissionDenied), secrets.ErrPermissionDenied, false},
		"an absence and an outage": {errors.Join(notFound, secrets.ErrUnavailable), secrets.ErrUnavailable, true},
		"a context of its own":     {context.DeadlineExceeded, secrets.ErrUnavailable, true},
		"a wrapped absence":        {fmt.Errorf("layer: %w", notFound), secrets.ErrNotFound, true},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			strong, weak := fake("strong", nil), fake("weak", nil)
			strong.OnCall(func(context.Context, []secrets.Ref) error { return c.err })
			chain := fallback.To(weak).Chain([]secrets.Fetcher{strong, weak})

			_, one := chain.Fetch(t.Context(), secrets.Ref{Path: "key"})
			many := chain.FetchMany(t.Context(), []secrets.Ref{{Path: "key"}})[0].Err
			for _, err := range []error{one, many} {
				var e *secrets.Error
				is.True(errors.As(err, &e))
				is.Equal(e.Err, c.want)
				is.Equal(e.Backend, "strong")
				is.Equal(len(e.Causes) == 1, c.next)
			}
			is.Equal(weak.Calls() == 2, c.next)
			is.Equal(notFound.Causes, nil) // the error of the layer is not written to
		})
	}
}

// What a source says of itself comes before the name that the Client gives it.
func TestTheBackendOfAnErrorIsKept(t *testing.T) {
	is := is.New(t)
	b := fake("name", nil)
	b.Fail(&secrets.Error{Backend: "other", Err: secrets.ErrNotFound})
	_, err := fallback.To(b).Chain([]secrets.Fetcher{b, b}).Fetch(t.Context(), secrets.Ref{Path: "key"})
	var e *secrets.Error
	is.True(errors.As(err, &e))
	is.Equal(e.Backend, "other")
	is.Equal(e.Causes[0].Backend, "other")
}

// An error that a source hands out again and again is not written to, nor what stands behind its Causes.
func TestTheErrorOfASourceIsNotWrittenTo(t *testing.T) {
	is := is.New(t)
	behind := make([]*secrets.Error, 3)
	behind[0] = &secrets.Error{Backend: "below", Err: secrets.ErrNotFound}
	given := &secrets.Error{Err: secrets.ErrUnavailable, Causes: behind[:1]}
	second := fake("second", nil)
	_, err := fallback.To(second).Chain([]secrets.Fetcher{
		secrets.FetcherFunc(func(context.Context, secrets.Ref) (secrets.Secret, error) { return secrets.Secret{}, given }), second,
	}).Fetch(t.Context(), secrets.Ref{Path: "key"})
	var e *secrets.Error
	is.True(errors.As(err, &e))
	is.Equal(len(e.Causes), 2)
	is.Equal(e.Causes[1].Backend, "second")
	is.Equal(behind[1], nil)
	is.Equal(len(given.Causes), 1)
}

// A chain within a chain keeps all it knows.
func TestCausesOfASourceAreKept(t *testing.T) {
	is := is.New(t)
	a, b, c := fake("a", nil), fake("b", nil), fake("c", nil)
	a.Fail(secrets.ErrUnavailable)
	inner := fallback.To(b).Chain([]secrets.Fetcher{a, b})
	for range 2 {
		_, err := fallback.To(c).Chain([]secrets.Fetcher{inner, c}).Fetch(t.Context(), secrets.Ref{Path: "key"})
		var e *secrets.Error
		is.True(errors.As(err, &e))
		is.True(errors.Is(err, secrets.ErrUnavailable))
		is.Equal(len(e.Causes), 2)
		is.Equal(e.Causes[0].Backend, "b")
		is.Equal(e.Causes[1].Backend, "c")
	}
}

func TestTheErrorTellsWhatEachBackendSaid(t *testing.T) {
	is := is.New(t)
	vault, env := fake("vault", nil), fake("env", nil)
	vault.Fail(&secrets.Error{Err: secrets.ErrUnavailable, Detail: "sealed"})
	_, err := client(t, vault, secrets.WithFallback(fallback.To(env))).Get(t.Context(), "database")
	is.True(strings.HasPrefix(err.Error(), "secrets: vault: database: unavailable: sealed; env: database: not found: "))
	is.True(!errors.Is(err, secrets.ErrNotFound)) // the cause is told, and not matched
}

// A user name of one backend must not meet a password of another.
func TestFieldsOfOneDocumentComeFromOneBackend(t *testing.T) {
	for _, p := range policies {
		is := is.New(t)
		vault := fake("vault", map[string]string{"db": `{"user":"app","password":null}`, "gone": "x"})
		vault.Delete("gone")
		env := fake("env", map[string]string{"db": `{"user":"root","password":"toor"}`, "gone": "old"})
		c := client(t, vault, secrets.WithFallback(p.chain(env)), middleware.Standard())
		for key, want := range map[string]error{
			"db#password": secrets.ErrFieldNotFound, "db#host": secrets.ErrFieldNotFound, "gone": secrets.ErrDeleted,
		} {
			for range 2 { // from the backend, and from memory
				_, err := c.Get(t.Context(), key)
				is.True(errors.Is(err, want))
				_, err = c.GetMany(t.Context(), key)
				is.True(errors.Is(err, want))
			}
			// The application's own default is its choice.
			s, err := c.GetOr(t.Context(), key, "default")
			is.NoErr(err)
			is.Equal(s.Reveal(), "default")
		}
		is.Equal(env.Calls(), 0)
	}
}

// What memory knows of the sources is subject to the same rules as what they answer.
func TestAWeakerValueInMemoryDoesNotOutliveWhatMadeItGood(t *testing.T) {
	for _, failure := range []error{
		secrets.ErrDeleted, secrets.ErrFieldNotFound, secrets.ErrPermissionDenied, secrets.ErrMalformed,
	} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			primary, next := fake("primary", nil), fake("next", map[string]string{"key": "weaker"})
			c := client(t, primary, secrets.WithFallback(fallback.To(next)), middleware.Standard())
			for range 10 { // a not-found in memory, and a value in memory
				s, err := c.Get(t.Context(), "key")
				is.NoErr(err)
				is.Equal(s.Meta().Backend, "next")
				many, err := c.GetMany(t.Context(), "key")
				is.NoErr(err)
				is.Equal(many["key"].Reveal(), "weaker")
			}
			is.Equal(primary.Calls(), 1)
			is.Equal(next.Calls(), 1)

			primary.Fail(failure)
			time.Sleep(6 * time.Second) // longer than a not-found is remembered
			for range 3 {
				_, err := c.Get(t.Context(), "key")
				is.True(errors.Is(err, failure))
				_, err = c.GetMany(t.Context(), "key")
				is.True(errors.Is(err, failure))
			}
			is.Equal(next.Calls(), 1)

			primary.Recover()
			primary.Set("key", "good")
			time.Sleep(6 * time.Second)
			s, err := c.Get(t.Context(), "key")
			is.NoErr(err)
			is.Equal(s.Reveal(), "good")
		})
	}
}

// recalling is a source with a memory: a key is known to be absent, to have a value, or not known.
type recalling struct {
	secrets.Fetcher
	memory map[string]secrets.Secret
}

func (r recalling) Recall(key string) (secrets.Secret, bool) {
	s, known := r.memory[key]
	return s, known
}

func (r recalling) RecallMany(keys []string, found map[string]secrets.Secret) bool {
	for _, key := range keys {
		s, known := r.memory[key]
		if !known || s.IsZero() {
			return false
		}
		found[key] = s
	}
	return true
}

func TestAChainRemembersWhatItsSourcesRemember(t *testing.T) {
	is := is.New(t)
	value := func(source string) secrets.Secret { return secrets.NewSecret(source, secrets.Meta{}) }
	absent := secrets.Secret{}
	first := recalling{fake("a", nil), map[string]secrets.Secret{"v": value("a"), "av": absent, "aa": absent, "au": absent}}
	second := recalling{fake("b", nil), map[string]secrets.Secret{
		"v": value("b"), "av": value("b"), "aa": absent, "uv": value("b"),
	}}
	type recaller interface {
		Recall(key string) (secrets.Secret, bool)
		RecallMany(keys []string, found map[string]secrets.Secret) bool
	}
	for _, sources := range [][]secrets.Fetcher{
		{first, second}, {first, second, fake("c", nil)}, {first, fake("c", nil), second}, {fake("c", nil), first, second},
	} {
		_, begins := sources[0].(recalling)
		_, follows := sources[1].(recalling)
		c := fallback.To().Chain(sources).(recaller)
		for key, want := range map[string]string{"v": "a", "av": "b", "aa": "", "au": "", "uv": "", "uu": ""} {
			if !begins || !follows && want == "b" {
				want = "" // nothing is known without asking who has no memory
			}
			s, _ := c.Recall(key)
			is.Equal(s.Reveal(), want)
		}
		is.Equal(c.RecallMany([]string{"v"}, make(map[string]secrets.Secret)), begins)
		is.True(!c.RecallMany([]string{"v", "av"}, make(map[string]secrets.Secret)))
	}
}

func TestAStaleValueOfThePrimaryComesBeforeTheNextSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		primary, next := fake("primary", map[string]string{"key": "good"}), fake("next", map[string]string{"key": "weaker"})
		c := client(t, primary, secrets.WithFallback(fallback.To(next)),
			middleware.Standard(cache.WithTTL(time.Minute), cache.WithMaxStale(time.Hour), cache.WithJitter(0)))
		check := func(value, backend string, stale bool) {
			t.Helper()
			is := is.New(t)
			s, err := c.Get(t.Context(), "key")
			is.NoErr(err)
			is.Equal(s.Reveal(), value)
			is.Equal(s.Meta().Backend, backend)
			is.Equal(s.Meta().Stale, stale)
			many, err := c.GetMany(t.Context(), "key")
			is.NoErr(err)
			is.Equal(many["key"].Reveal(), value)
		}
		check("good", "primary", false)
		primary.Fail(secrets.ErrUnavailable)
		time.Sleep(2 * time.Minute)
		check("good", "primary", true)
		time.Sleep(58 * time.Minute)
		check("good", "primary", true)
		is.Equal(next.Calls(), 0)

		time.Sleep(time.Minute) // TTL and MaxStale are over
		check("weaker", "next", false)

		primary.Recover()
		time.Sleep(20 * time.Second) // the back-off too
		check("good", "primary", false)
	})
}

func TestAValueOfTheNextSourceIsNeverKeptAsThePrimarys(t *testing.T) {
	for _, failure := range []error{secrets.ErrUnavailable, secrets.ErrNotFound} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			primary, next := fake("primary", map[string]string{"key": "good"}), fake("next", map[string]string{"key": "weaker"})
			primary.Fail(failure)
			c := client(t, primary, secrets.WithFallback(fallback.To(next)), middleware.Standard())

			s, err := c.Get(t.Context(), "key")
			is.NoErr(err)
			is.Equal(s.Meta().Backend, "next")

			primary.Recover()
			s, err = c.Refresh(t.Context(), "key") // at once
			is.NoErr(err)
			is.Equal(s.Meta().Backend, "primary")
			s, err = c.Get(t.Context(), "key")
			is.NoErr(err)
			is.Equal(s.Reveal(), "good")

			c.Invalidate("key")
			primary.Fail(failure)
			_, err = c.Get(t.Context(), "key")
			is.NoErr(err)
			primary.Recover()
			time.Sleep(15 * time.Second) // longer than a back-off and a not-found are remembered, shorter than the TTL of a value
			many, err := c.GetMany(t.Context(), "key")
			is.NoErr(err)
			is.Equal(many["key"].Meta().Backend, "primary")
		})
	}
}

func TestFaultsAreReportedByNew(t *testing.T) {
	primary := fake("primary", nil)
	var none *secretstest.Backend
	for name, c := range map[string]struct {
		fallback secrets.Fallback
		want     []string
	}{
		"no backends":       {fallback.To(), []string{"no backend to fall back to"}},
		"no backends again": {fallback.OnNotFound(), []string{"no backend to fall back to"}},
		"the zero value":    {&fallback.Fallback{}, []string{"no backend to fall back to"}},
		"a nil Fallback":    {(*fallback.Fallback)(nil), []string{"a nil Fallback"}},
		"nil backends":      {fallback.To(nil, none), []string{"backend 2 is nil", "backend 3 is nil"}},
		"the primary again": {fallback.To(primary), []string{`two backends have the name "primary"`}},
		"one name twice": {
			fallback.OnNotFound(fake("x", nil), fake("x", nil), nil),
			[]string{`two backends have the name "x"`, "backend 4 is nil"},
		},
		"no name": {fallback.To(fake("", nil)), []string{"backend 2 has an empty name"}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			made, err := secrets.New(primary, secrets.WithFallback(c.fallback))
			is.True(made == nil)
			is.True(err != nil)
			for _, want := range c.want {
				is.True(strings.Contains(err.Error(), want)) // the fault is told
			}
			is.Equal(primary.Calls(), 0)
		})
	}
}

func TestTheClientOwnsTheBackends(t *testing.T) {
	is := is.New(t)
	primary, next := fake("primary", nil), fake("next", nil)
	c, err := secrets.New(primary, secrets.WithFallback(fallback.To(next)))
	is.NoErr(err)
	is.NoErr(c.Close())
	is.Equal(primary.Closes(), 1)
	is.Equal(next.Closes(), 1)
}

// A Fallback does not share its slices with anybody.
func TestAFallbackIsImmutable(t *testing.T) {
	is := is.New(t)
	backends := []secrets.Backend{fake("next", map[string]string{"key": "value"})}
	f := fallback.To(backends...)
	backends[0] = nil
	is.Equal(f.Backends()[0].Name(), "next")
	f.Backends()[0] = nil
	is.Equal(f.Backends()[0].Name(), "next")

	sources := []secrets.Fetcher{fake("first", nil), f.Backends()[0]}
	chain := f.Chain(sources)
	sources[0], sources[1] = nil, nil
	s, err := chain.Fetch(t.Context(), secrets.Ref{Path: "key"})
	is.NoErr(err)
	is.Equal(s.Reveal(), "value")
}

// New lets no such chain come about; asked nevertheless, it does not say that a secret is absent.
func TestAChainWithoutSourcesKnowsNothing(t *testing.T) {
	is := is.New(t)
	chain := fallback.To().Chain(nil)
	_, err := chain.Fetch(t.Context(), secrets.Ref{Path: "key"})
	is.True(errors.Is(err, secrets.ErrUnknown))
	is.True(errors.Is(chain.FetchMany(t.Context(), []secrets.Ref{{Path: "key"}})[0].Err, secrets.ErrUnknown))
	is.Equal(len(chain.FetchMany(t.Context(), nil)), 0)
}

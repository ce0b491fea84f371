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

func fake(name string, documents map[string]string, opts ...secretstest.Option) *secretstest.Backend {
	return secretstest.NewBackend(documents, append(opts, secretstest.WithName(name))...)
}

// above is a layer above the guard: it can return results to the chain that no backend can.
type above func(info secrets.Info, next secrets.Fetcher) secrets.Fetcher

func (above) Validate() error { return nil }

func (a above) NewTracing(info secrets.Info, next secrets.Fetcher) secrets.Fetcher {
	return a(info, next)
}

func (above) Observe(secrets.Info, secrets.CacheMonitor) (stop func(), err error) { return nil, nil }

var _ secrets.TracingLayer = above(nil)

// answering returns a layer that answers with the error in errs for the backends named there.
func answering(errs map[string]error) secrets.Option {
	return secrets.WithTracing(above(func(info secrets.Info, next secrets.Fetcher) secrets.Fetcher {
		if err, ok := errs[info.Name]; ok {
			return secrets.NewBackend(info, func(context.Context, secrets.Ref) (secrets.Secret, error) { return secrets.Secret{}, err })
		}
		return next
	}))
}

// One GetMany has a key for every combination of answers. Each source is called once, for only the keys that are still open after the
// sources before it.
func TestABatchAsksEachSourceOnceForTheOpenKeys(t *testing.T) {
	for _, p := range policies {
		t.Run(p.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				said := make(map[string]cell)
				var keys []string
				var open [sourceCount][]string
				for _, c := range cells() {
					ends := slices.ContainsFunc(c.kinds[:], func(k int) bool { return table[k].answer.ends })
					if c.policy.name != p.name || ends {
						continue
					}
					path := fmt.Sprintf("k%d-%d-%d", c.kinds[0], c.kinds[1], c.kinds[2])
					said[path] = c
					keys = append(keys, path)
					for i, n := range c.want().asked {
						if n > 0 {
							open[i] = append(open[i], path)
						}
					}
				}
				all := make([]*source, sourceCount)
				for i := range all {
					all[i] = &source{name: names[i], say: func(path string) answer { return said[path].answers()[i] }}
					all[i].batcher = secrets.NewBatcher(maxBatch, 0, all[i].call)
				}
				c, err := p.by(backends(all))
				is.NoErr(err)
				defer c.Close()

				found, err := c.GetMany(t.Context(), keys...)

				var errs secrets.Errors
				is.True(errors.As(err, &errs))
				is.Equal(len(found)+len(errs), 11*11*11)
				for i, s := range all {
					is.Equal(s.calls, 1)
					slices.Sort(s.keys)
					slices.Sort(open[i])
					is.Equal(s.keys, open[i])
				}
				for path, s := range found {
					is.Equal(s.Reveal(), said[path].want().value)
					is.Equal(s.Meta().Backend, said[path].want().backend)
				}
				for _, e := range errs {
					is.Equal(e.Err.Error(), said[e.Key].want().failure)
				}
			})
		})
	}
}

// New calls GoesOn once for each class after which a chain may go on.
func TestAPolicyIsAskedOnceForEachClass(t *testing.T) {
	is := is.New(t)
	policy := &own{backends: []secrets.Backend{fake("next", nil)}}
	first := fake("first", nil)
	c := client(t, first, secrets.WithFallback(policy), middleware.Standard())
	first.Fail(secrets.ErrMalformed)
	for range 3 {
		_, err := c.Get(t.Context(), "key")
		is.True(errors.Is(err, secrets.ErrMalformed))
		_, _ = c.GetMany(t.Context(), "key", "other")
	}
	for _, row := range table {
		times := 0
		for _, class := range policy.asked {
			if class == row.answer.class {
				times++
			}
		}
		is.True(times <= 1)
		is.True(times == 1 || !row.any)
	}
}

func TestGetManyWithMixedOutcomes(t *testing.T) {
	synctest.Test(t, testGetManyWithMixedOutcomes)
}

func testGetManyWithMixedOutcomes(t *testing.T) {
	t.Helper()
	is := is.New(t)
	vault := fake("vault", map[string]string{"a": "a of vault", "doc": `{"user":"app"}`}, secretstest.WithBatch(20))
	vault.FailPath("denied", secrets.ErrPermissionDenied)
	vault.FailPath("down", secrets.ErrUnavailable)
	env := fake("env", map[string]string{
		"a": "a of env", "b": "b of env", "denied": "weak", "down": "down of env", "doc": `{"password":"of another user"}`,
	}, secretstest.WithBatch(20))
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
	batches := func(b *secretstest.Backend) [][]string {
		all := b.Batches()
		for _, batch := range all {
			slices.Sort(batch)
		}
		return all
	}
	is.Equal(batches(vault), [][]string{{"a", "b", "denied", "doc", "down", "nowhere"}})
	is.Equal(batches(env), [][]string{{"b", "down", "nowhere"}})
}

// deniedReaches counts the calls of the weaker source after a denial by the first one.
func deniedReaches(t *testing.T, by connect) (weaker int) {
	t.Helper()
	is := is.New(t)
	ctx := t.Context()
	for _, denial := range []error{secrets.ErrPermissionDenied, secrets.ErrUnauthenticated} {
		for _, warm := range []bool{false, true} {
			strong, weak := fake("strong", map[string]string{"key": "v"}), fake("weak", map[string]string{"key": "weak"})
			c, err := by([]secrets.Backend{strong, weak}, middleware.Standard())
			is.NoErr(err)
			defer c.Close()
			if warm {
				_, err := c.Get(ctx, "key")
				is.NoErr(err)
			}
			strong.Fail(denial)
			_, err = c.Refresh(ctx, "key")
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
		is.New(t).Equal(deniedReaches(t, p.by), 0)
	}
	t.Run("control: a chain that always goes on", func(t *testing.T) {
		is.New(t).True(deniedReaches(t, broken{func(error) bool { return true }, last}.by) > 0)
	})
}

// outagesThatReadAsAbsence counts the calls that return a not-found after an outage of the first source, because the next one has deleted
// the secret or lacks the field.
func outagesThatReadAsAbsence(t *testing.T, by connect) (wrong int) {
	t.Helper()
	is := is.New(t)
	ctx := t.Context()
	for _, absence := range []error{secrets.ErrFieldNotFound, secrets.ErrDeleted} {
		down, next := fake("down", nil), fake("next", map[string]string{"db": `{"user":"app"}`})
		down.Fail(&secrets.Error{Err: secrets.ErrUnavailable, Detail: "sealed"})
		if absence == secrets.ErrDeleted {
			next.Delete("db")
		}
		c, err := by([]secrets.Backend{down, next}, middleware.Standard())
		is.NoErr(err)
		defer c.Close()
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
				is.Equal(len(e.Causes), 1) // the failure that stopped the chain
				is.Equal(e.Causes[0].Backend, "next")
				is.Equal(e.Causes[0].Err, absence)
			}
		}
	}
	return wrong
}

func TestAnOutageBeforeAnAbsenceIsNoAbsence(t *testing.T) {
	to := policies[0]
	is.New(t).Equal(outagesThatReadAsAbsence(t, to.by), 0)
	t.Run("control: a chain whose last answer counts", func(t *testing.T) {
		goesOn := cell{policy: to}.goesOn
		is.New(t).True(outagesThatReadAsAbsence(t, broken{goesOn, lastOrOutage(goesOn)}.by) > 0)
	})
}

// If the caller's context ends between two sources, its error is returned: the next source might have had the secret.
func TestTheCallerGivesUpBetweenTwoSources(t *testing.T) {
	for _, p := range policies {
		for _, first := range []error{secrets.ErrNotFound, secrets.ErrUnavailable} {
			for _, many := range []bool{false, true} {
				is := is.New(t)
				ctx, cancel := context.WithCancel(t.Context())
				strong, weak := fake("strong", nil), fake("weak", map[string]string{"key": "weak"})
				strong.Fail(first)
				// The context ends when the first source has answered.
				leave := above(func(info secrets.Info, next secrets.Fetcher) secrets.Fetcher {
					return secrets.NewBackend(info, func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
						defer cancel()
						return next.Fetch(ctx, ref)
					})
				})
				c := client(t, strong, secrets.WithFallback(p.of(weak)), secrets.WithTracing(leave))

				var err error
				if many {
					_, err = c.GetMany(ctx, "key")
				} else {
					_, err = c.Get(ctx, "key")
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
		is.NoErr(err) // both were asked
		is.Equal(s.Meta().Backend, "default")
	})
}

func TestTheWrongNumberOfResultsFromASourceIsDiscarded(t *testing.T) {
	for _, by := range []int{-3, -1, 1} {
		is := is.New(t)
		call := func(_ context.Context, refs []secrets.Ref) []secrets.Result {
			results := make([]secrets.Result, len(refs)+by)
			for i := range results {
				results[i] = secrets.Result{Secret: secrets.NewSecret("1", secrets.Meta{})}
			}
			return results
		}
		strong := secrets.NewBackend(secrets.Info{Name: "strong", Batch: 3}, secrets.NewBatcher(3, 0, call).Fetch)
		weak := fake("weak", map[string]string{"c": "weak"})
		c := client(t, strong, secrets.WithFallback(fallback.To(weak)))
		found, err := c.GetMany(t.Context(), "a", "b", "c")
		is.Equal(len(found), 0)
		is.True(errors.Is(err, secrets.ErrUnknown))
		is.True(!errors.Is(err, secrets.ErrNotFound))
		is.Equal(weak.Calls(), 0)
	}
}

// Layers above the guard may return results to the chain that no backend can.
func TestErrorsOfLayersCountByTheirClass(t *testing.T) {
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
			client := client(t, strong, secrets.WithFallback(fallback.To(weak)), answering(map[string]error{"strong": c.err}))

			_, one := client.Get(t.Context(), "key")
			_, many := client.GetMany(t.Context(), "key")
			for _, err := range []error{one, many} {
				var e *secrets.Error
				is.True(errors.As(err, &e))
				is.Equal(e.Err, c.want)
				is.Equal(e.Backend, "strong")
				is.Equal(len(e.Causes) == 1, c.next)
			}
			is.Equal(weak.Calls() == 2, c.next)
			is.Equal(notFound.Causes, nil) // the error of the layer is unchanged
		})
	}
}

// The backend name in an error of a source takes precedence over the name from the Client.
func TestTheBackendOfAnErrorIsKept(t *testing.T) {
	is := is.New(t)
	theirs := &secrets.Error{Backend: "other", Err: secrets.ErrNotFound}
	c := client(t, fake("a", nil), secrets.WithFallback(fallback.To(fake("b", nil))),
		answering(map[string]error{"a": theirs, "b": theirs}))
	_, err := c.Get(t.Context(), "key")
	var e *secrets.Error
	is.True(errors.As(err, &e))
	is.Equal(e.Backend, "other")
	is.Equal(e.Causes[0].Backend, "other")
}

// An error that a source returns again and again is not changed, and neither are its Causes.
func TestTheErrorOfASourceIsNotChanged(t *testing.T) {
	is := is.New(t)
	behind := make([]*secrets.Error, 3)
	behind[0] = &secrets.Error{Backend: "below", Err: secrets.ErrNotFound}
	given := &secrets.Error{Err: secrets.ErrUnavailable, Causes: behind[:1]}
	c := client(t, fake("first", nil), secrets.WithFallback(fallback.To(fake("second", nil))),
		answering(map[string]error{"first": given}))
	_, err := c.Get(t.Context(), "key")
	var e *secrets.Error
	is.True(errors.As(err, &e))
	is.Equal(len(e.Causes), 2)
	is.Equal(e.Causes[1].Backend, "second")
	is.Equal(behind[1], nil)
	is.Equal(len(given.Causes), 1)
}

// A layer below the chain may be a chain of its own.
func TestCausesOfASourceAreKept(t *testing.T) {
	is := is.New(t)
	inner := &secrets.Error{
		Backend: "a", Err: secrets.ErrUnavailable, Causes: []*secrets.Error{{Backend: "b", Err: secrets.ErrNotFound}},
	}
	client := client(t, fake("a", nil), secrets.WithFallback(fallback.To(fake("c", nil))), answering(map[string]error{"a": inner}))
	for range 2 {
		_, err := client.Get(t.Context(), "key")
		var e *secrets.Error
		is.True(errors.As(err, &e))
		is.True(errors.Is(err, secrets.ErrUnavailable))
		is.Equal(len(e.Causes), 2)
		is.Equal(e.Causes[0].Backend, "b")
		is.Equal(e.Causes[1].Backend, "c")
	}
}

func TestTheErrorHasTheFailureOfEachBackend(t *testing.T) {
	is := is.New(t)
	vault, env := fake("vault", nil), fake("env", nil)
	vault.Fail(&secrets.Error{Err: secrets.ErrUnavailable, Detail: "sealed"})
	_, err := client(t, vault, secrets.WithFallback(fallback.To(env))).Get(t.Context(), "database")
	is.True(strings.HasPrefix(err.Error(), "secrets: vault: database: unavailable: sealed; env: database: not found: "))
	is.True(!errors.Is(err, secrets.ErrNotFound)) // causes are in the text, but are not matched
}

// A user name of one backend must not be combined with a password of another.
func TestFieldsOfOneDocumentComeFromOneBackend(t *testing.T) {
	for _, p := range policies {
		is := is.New(t)
		vault := fake("vault", map[string]string{"db": `{"user":"app","password":null}`, "gone": "x"})
		vault.Delete("gone")
		env := fake("env", map[string]string{"db": `{"user":"root","password":"toor"}`, "gone": "old"})
		c := client(t, vault, secrets.WithFallback(p.of(env)), middleware.Standard())
		for key, want := range map[string]error{
			"db#password": secrets.ErrFieldNotFound, "db#host": secrets.ErrFieldNotFound, "gone": secrets.ErrDeleted,
		} {
			for range 2 { // from the backend, and from memory
				_, err := c.Get(t.Context(), key)
				is.True(errors.Is(err, want))
				_, err = c.GetMany(t.Context(), key)
				is.True(errors.Is(err, want))
			}
			// A default of the application is allowed.
			s, err := c.GetOr(t.Context(), key, "default")
			is.NoErr(err)
			is.Equal(s.Reveal(), "default")
		}
		is.Equal(env.Calls(), 0)
	}
}

// Cached results of the sources follow the same rules as their answers.
func TestACachedValueOfTheNextSourceEndsWithTheNotFoundBeforeIt(t *testing.T) {
	for _, failure := range []error{
		secrets.ErrDeleted, secrets.ErrFieldNotFound, secrets.ErrPermissionDenied, secrets.ErrMalformed,
	} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			primary, next := fake("primary", nil), fake("next", map[string]string{"key": "weaker"})
			c := client(t, primary, secrets.WithFallback(fallback.To(next)), middleware.Standard())
			for range 10 { // a cached not-found and a cached value
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
			time.Sleep(6 * time.Second) // longer than a not-found is cached
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

// recalling is a cache with memos: a key is a known not-found, a known value, or unknown.
type recalling struct {
	secrets.Cache // nil: all other methods are not called
	memory        map[string]secrets.Secret
	fill          secrets.Fetcher
}

func (r *recalling) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	return r.fill.Fetch(ctx, ref)
}
func (r *recalling) Memorize(string, secrets.Ref, string) {}
func (r *recalling) Close() error                         { return nil }

func (r *recalling) Recall(key string) (secrets.Secret, bool) {
	s, known := r.memory[key]
	return s, known
}

func (r *recalling) RecallMany(keys []string, found map[string]secrets.Secret) bool {
	for _, key := range keys {
		s, known := r.memory[key]
		if !known || s.IsZero() {
			return false
		}
		found[key] = s
	}
	return true
}

// memories makes a recalling cache for each backend, by name.
type memories map[string]map[string]secrets.Secret

func (memories) Validate() error { return nil }

func (m memories) NewCache(info secrets.Info, below secrets.Fetcher, share func(secrets.Fetcher) secrets.Fetcher) secrets.Cache {
	return &recalling{memory: m[info.Name], fill: share(below)}
}

func TestAChainRecallsWhatItsSourcesRecall(t *testing.T) {
	is := is.New(t)
	value := func(source string) secrets.Secret { return secrets.NewSecret(source, secrets.Meta{}) }
	absent := secrets.Secret{}
	remembered := memories{
		"a": {"v": value("a"), "av": absent, "aa": absent, "au": absent},
		"b": {"v": value("b"), "av": value("b"), "aa": absent, "uv": value("b")},
	}
	for _, names := range [][]string{{"a", "b"}, {"a", "b", "local"}, {"a", "local", "b"}, {"local", "a", "b"}} {
		begins, follows := names[0] != "local", names[1] != "local"
		var all []secrets.Backend
		calls := 0
		for _, name := range names { // a local backend has no memos
			info := secrets.Info{Name: name, Local: name == "local", Nonblocking: true}
			all = append(all, secrets.NewBackend(info, func(context.Context, secrets.Ref) (secrets.Secret, error) {
				calls++
				return secrets.Secret{}, secrets.ErrNotFound
			}))
		}
		c := client(t, all[0], secrets.WithFallback(fallback.To(all[1:]...)), secrets.WithCache(remembered))
		for key, want := range map[string]string{"v": "a", "av": "b", "aa": "", "au": "", "uv": "", "uu": ""} {
			if !begins || !follows && want == "b" {
				want = "" // unknown, since a backend without memos has to be asked
			}
			calls = 0
			s, err := c.Get(t.Context(), key)
			is.Equal(s.Reveal(), want)
			is.Equal(errors.Is(err, secrets.ErrNotFound), want == "")
			is.Equal(calls > 0, want == "")
		}
		calls = 0
		found, _ := c.GetMany(t.Context(), "v")
		is.Equal(len(found) == 1, begins)
		is.Equal(calls == 0, begins)
		_, _ = c.GetMany(t.Context(), "v", "av")
		is.True(calls > 0)
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

func TestAValueOfTheNextSourceIsNotCachedForThePrimary(t *testing.T) {
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
			time.Sleep(15 * time.Second) // longer than a back-off and a cached not-found, shorter than the TTL of a value
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
		"the zero value":    {&fallback.Fallback{}, []string{"a zero Fallback"}},
		"a nil Fallback":    {(*fallback.Fallback)(nil), []string{"WithFallback: nil"}},
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
				is.True(strings.Contains(err.Error(), want)) // the fault is reported
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

// A Fallback shares its slices with no caller.
func TestAFallbackIsImmutable(t *testing.T) {
	is := is.New(t)
	backends := []secrets.Backend{fake("next", map[string]string{"key": "value"})}
	f := fallback.To(backends...)
	backends[0] = nil
	is.Equal(f.Backends()[0].Info().Name, "next")
	f.Backends()[0] = nil
	is.Equal(f.Backends()[0].Info().Name, "next")

	s, err := client(t, fake("first", nil), secrets.WithFallback(f)).Get(t.Context(), "key")
	is.NoErr(err)
	is.Equal(s.Reveal(), "value")
}

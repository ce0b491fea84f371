package secrets_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

func TestGet(t *testing.T) {
	allBytes := make([]byte, 256)
	for i := range allBytes {
		allBytes[i] = byte(i)
	}
	backend := newFake(
		"doc", " {\"user\":\"alice\",\n\"port\":5432}\n", "empty", "", "line", "value\r\n", "bytes", string(allBytes), "zero", "\x00", "a/b",
		"nested",
		"a#b", "hash", "space key", " ", "huge", strings.Repeat("x", 1<<20))
	client := open(t, backend)
	for key, want := range map[string]string{
		"doc": " {\"user\":\"alice\",\n\"port\":5432}\n", "doc#": " {\"user\":\"alice\",\n\"port\":5432}\n", "doc#user": "alice",
		"doc#port":      "5432",
		"doc?version=2": " {\"user\":\"alice\",\n\"port\":5432}\n", "doc?version=2#user": "alice",
		"empty": "", "line": "value\r\n", "bytes": string(allBytes), "zero": "\x00", "a/b": "nested", "a%23b": "hash", "space key": " ",
		"huge": strings.Repeat("x", 1<<20),
	} {
		t.Run(key, func(t *testing.T) {
			is := is.New(t)
			s, err := client.Get(t.Context(), key)
			is.NoErr(err)
			is.True(s.Reveal() == want) // byte for byte
			is.Equal(s.Meta().Backend, "fake")
			is.Equal(s.Meta().Version, "v1")
			s, err = client.Refresh(t.Context(), key)
			is.NoErr(err)
			is.True(s.Reveal() == want)
			s, err = client.GetOr(t.Context(), key, "default")
			is.NoErr(err)
			is.True(s.Reveal() == want)
			is.Equal(s.Meta().Backend, "fake")
			has, err := client.Has(t.Context(), key)
			is.NoErr(err)
			is.True(has)
			many, err := client.GetMany(t.Context(), key)
			is.NoErr(err)
			is.Equal(len(many), 1)
			is.True(many[key].Reveal() == want)
		})
	}
	// The backend gets documents, never fields.
	for _, ref := range backend.asked {
		if ref.Field != "" || ref.Whole {
			t.Errorf("the backend was asked for %#v", ref)
		}
	}
}

func TestGetOrReturnsTheDefaultOnlyForNotFound(t *testing.T) {
	for _, class := range sentinels() {
		t.Run(class.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				client := open(t, failing(returns(class)))
				s, err := client.GetOr(t.Context(), "a", "default")
				has, hasErr := client.Has(t.Context(), "a")
				is.True(!has)
				if !errors.Is(class, secrets.ErrNotFound) {
					checkClass(t, err, class)
					checkClass(t, hasErr, class)
					is.True(s.IsZero())
					return
				}
				is.NoErr(err)
				is.NoErr(hasErr)
				is.Equal(s.Reveal(), "default")
				is.Equal(s.Meta(), secrets.Meta{Backend: "default", FetchedAt: time.Now()})
			})
		})
	}
	t.Run("field", func(t *testing.T) {
		is := is.New(t)
		client := open(t, newFake("doc", `{"none":null}`, "text", "x"))
		for _, key := range []string{"doc#missing", "doc#none", "absent#x"} {
			s, err := client.GetOr(t.Context(), key, "")
			is.NoErr(err)
			is.True(!s.IsZero()) // an empty default is a value
			is.Equal(s.Reveal(), "")
		}
		_, err := client.GetOr(t.Context(), "text#x", "default")
		checkClass(t, err, secrets.ErrMalformed)
	})
}

func TestGetMany(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	backend := newFake("doc", `{"x":"1","y":"2"}`, "other", "o", "bad", "no JSON")
	client := open(t, backend, secrets.WithMiddleware(tr.middleware("user")), secrets.WithBackendMiddleware(tr.middleware("inner")))
	keys := []string{
		"doc#x", "none", "doc#y", "doc#x", "a//b", "doc", "doc#", "other", "bad#x", "doc#z", "none", "", "doc?version=2#x", "a//b", "none#x",
	}
	found, err := client.GetMany(t.Context(), keys...)
	values := map[string]string{}
	for key, s := range found {
		values[key] = s.Reveal()
	}
	doc := `{"x":"1","y":"2"}`
	is.Equal(values, map[string]string{"doc#x": "1", "doc#y": "2", "doc": doc, "doc#": doc, "other": "o", "doc?version=2#x": "1"})

	all, ok := err.(secrets.Errors)
	is.True(ok)
	var got []string
	for _, e := range all {
		got = append(got, e.Key+" "+secrets.Class(e).Error())
	}
	// One for each key, in the order of the keys.
	is.Equal(got, []string{
		"none secrets: not found", "a//b secrets: invalid key", "bad#x secrets: malformed", "doc#z secrets: field not found",
		" secrets: invalid key", "none#x secrets: not found",
	})
	// Every key passes the outer layers once, every document the inner layers once.
	is.Equal(tr.count(), map[string]int{"user": 10, "inner": 5})
	is.Equal(backend.takeAsked(), []string{"bad", "doc", "doc?version=2", "none", "other"})
	is.True(found["missing"].IsZero())
}

func TestGetManyOfNothing(t *testing.T) {
	is := is.New(t)
	backend := newFake()
	client := open(t, backend)
	found, err := client.GetMany(t.Context())
	is.NoErr(err)
	is.True(found != nil && len(found) == 0)
	found, err = client.GetMany(t.Context(), "/", "..", "/")
	is.Equal(len(err.(secrets.Errors)), 2)
	is.True(found != nil && len(found) == 0)
	is.Equal(backend.calls.Load(), int64(0))
}

func TestGetManyOfMany(t *testing.T) {
	is := is.New(t)
	backend := newFake()
	var keys []string
	for i := range 1000 {
		path := fmt.Sprintf("k%d", i)
		backend.docs[path] = fmt.Sprintf(`{"n":%d}`, i)
		keys = append(keys, path+"#n")
	}
	client := open(t, backend)
	found, err := client.GetMany(t.Context(), keys...)
	is.NoErr(err)
	is.Equal(len(found), 1000)
	for i, key := range keys {
		is.Equal(found[key].Reveal(), fmt.Sprint(i)) // no key has the value of another
	}
	is.Equal(backend.calls.Load(), int64(1000)) // each document once
}

// Found secrets are returned, even if other documents do not answer in time.
func TestGetManyKeepsWhatWasFoundWhenTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := failing(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
			switch ref.Path {
			case "a":
				return secrets.NewSecret("1", secrets.Meta{}), nil
			case "b":
				return secrets.Secret{}, secrets.ErrPermissionDenied
			}
			<-ctx.Done()
			if ref.Path == "c" {
				return secrets.Secret{}, ctx.Err()
			}
			return secrets.Secret{}, secrets.ErrUnavailable
		})
		client := open(t, backend)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		found, err := client.GetMany(ctx, "a", "b", "c", "d", "..")
		is.Equal(time.Since(start), time.Second)
		is.Equal(len(found), 1)
		is.Equal(found["a"].Reveal(), "1")
		all := err.(secrets.Errors)
		is.Equal(len(all), 4)
		is.Equal(all[0].Key, "b")
		checkClass(t, all[0], secrets.ErrPermissionDenied)
		checkEnded(t, all[1], context.DeadlineExceeded, "fake", "c")
		checkEnded(t, all[2], context.DeadlineExceeded, "fake", "d") // ErrUnavailable is only the effect of the ended context
		is.Equal(all[3].Key, "..")
		checkClass(t, all[3], secrets.ErrInvalidKey)

		// If only the context failed, each key has its error.
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		found, err = client.GetMany(ctx, "c", "d", "c")
		is.Equal(len(found), 0)
		all = err.(secrets.Errors)
		is.Equal(len(all), 2)
		checkEnded(t, all[0], context.DeadlineExceeded, "fake", "c")
		checkEnded(t, all[1], context.DeadlineExceeded, "fake", "d")
	})
}

func TestRefreshIsFresh(t *testing.T) {
	is := is.New(t)
	var fresh []bool
	backend := failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
		fresh = append(fresh, fetchctx.Of(ctx).Fresh)
		return secrets.NewSecret("x", secrets.Meta{}), nil
	})
	client := open(t, backend)
	_, err := client.Get(t.Context(), "a")
	is.NoErr(err)
	_, err = client.Refresh(t.Context(), "a")
	is.NoErr(err)
	_, err = client.GetMany(t.Context(), "a")
	is.NoErr(err)
	is.Equal(fresh, []bool{false, true, false})
}

// The values of the caller's context, such as its span, reach the backend.
func TestContextValuesReachTheBackend(t *testing.T) {
	is := is.New(t)
	backend := failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
		return secrets.NewSecret(fmt.Sprint(ctx.Value(contextKey{})), secrets.Meta{}), nil
	})
	s, err := open(t, backend).Get(context.WithValue(t.Context(), contextKey{}, "mine"), "a")
	is.NoErr(err)
	is.Equal(s.Reveal(), "mine")
}

func TestInvalidateReachesEveryBackend(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	second := named("second").resolvedBy(func(ref secrets.Ref) secrets.Ref { return secrets.Ref{Path: "second_" + ref.Path} })
	client := open(t, newFake(), to(second), secrets.WithCache(tr.cache()), secrets.WithMiddleware(tr.middleware("user")))
	client.Invalidate("a#f", "b")
	is.Equal(tr.take(), "forget [a b] forget [second_a second_b]")
	client.Invalidate()
	client.Invalidate("..")
	is.Equal(tr.take(), strings.TrimSpace(strings.Repeat("forget [] ", 4)))
}

// Middleware may rewrite refs. The new refs are checked like any key, for middleware in each place.
func TestRewrittenRefsAreChecked(t *testing.T) {
	for name, hostile := range badRefs() {
		hook := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
			if ref.Path == "key" {
				ref = hostile
			}
			return next.Fetch(ctx, ref)
		})
		for where, opts := range map[string][]secrets.Option{
			"user middleware":         {secrets.WithMiddleware(hook)},
			"inner user middleware":   {secrets.WithMiddleware(pass(), pass(), hook)},
			"backend middleware":      {secrets.WithBackendMiddleware(hook)},
			"with a fallback":         {secrets.WithMiddleware(hook), to(named("b"))},
			"inner backend, layers":   {secrets.WithBackendMiddleware(pass(), hook), secrets.WithMiddleware(pass())},
			"backend, other rewrites": {secrets.WithBackendMiddleware(hook, pass()), secrets.WithTracing(idle())},
		} {
			t.Run(name+" in "+where, func(t *testing.T) {
				is := is.New(t)
				backend := newFake("good", "1")
				client := open(t, backend, opts...)
				_, err := client.Get(t.Context(), "key")
				checkClass(t, err, secrets.ErrInvalidKey)
				checkPrintable(t, err.Error())
				is.Equal(err.(*secrets.Error).Key, "key") // the caller's
				s, err := client.GetOr(t.Context(), "key", "default")
				checkClass(t, err, secrets.ErrInvalidKey)
				is.True(s.IsZero())
				_, err = client.Refresh(t.Context(), "key")
				checkClass(t, err, secrets.ErrInvalidKey)
				is.Equal(backend.calls.Load(), int64(0))
				// The other keys of a GetMany are still fetched.
				found, err := client.GetMany(t.Context(), "key", "good", "good2")
				all := err.(secrets.Errors)
				is.Equal(len(all), 2)
				checkClass(t, all[0], secrets.ErrInvalidKey)
				checkClass(t, all[1], secrets.ErrNotFound)
				is.Equal(found["good"].Reveal(), "1")
				is.Equal(backend.takeAsked(), []string{"good", "good2"})
			})
		}
	}
}

// The control of the test above: valid rewritten refs pass the checks.
func TestRewrittenRefs(t *testing.T) {
	is := is.New(t)
	hook := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
		ref.Path = "team/" + ref.Path
		return next.Fetch(ctx, ref)
	})
	client := open(t, newFake("team/a", `{"x":"1"}`, "team/b", "2"), secrets.WithMiddleware(hook))
	found, err := client.GetMany(t.Context(), "a#x", "b", "c")
	is.Equal(found["a#x"].Reveal(), "1")
	is.Equal(found["b"].Reveal(), "2")
	is.Equal(err.Error(), "secrets: fake: c: not found") // the key as the caller gave it
}

func TestIntercept(t *testing.T) {
	is := is.New(t)
	backend := newFake("a", "1", "b", "2", "c", `{"x":"3"}`)
	tr := &trail{}
	client := open(t, backend, secrets.WithMiddleware(
		secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
			tr.add(ref.String())
			return next.Fetch(ctx, ref)
		})))
	_, err := client.Get(t.Context(), "c#x")
	is.NoErr(err)
	is.Equal(tr.take(), "c#x") // with the field
	_, err = client.GetMany(t.Context(), "a", "b", "c#x")
	is.NoErr(err)
	is.Equal(tr.count(), map[string]int{"a": 1, "b": 1, "c#x": 1}) // each key by itself
	_, err = client.GetMany(t.Context(), "a")
	is.NoErr(err)
	is.Equal(tr.take(), "a")
	is.Equal(backend.takeAsked(), []string{"a", "a", "b", "c", "c"})
}

// Intercept works without a Client.
func TestInterceptWithoutAClient(t *testing.T) {
	is := is.New(t)
	below := newFake("a", "1")
	s, err := pass().Wrap(below).Fetch(t.Context(), secrets.Ref{Path: "a"})
	is.NoErr(err)
	is.Equal(s.Reveal(), "1")
	_, err = instead(returns(secrets.ErrPermissionDenied)).Wrap(below).Fetch(t.Context(), secrets.Ref{Path: "a"})
	checkClass(t, err, secrets.ErrPermissionDenied)
	is.Equal(below.calls.Load(), int64(1))
	is.Equal(secrets.Intercept(nil), nil) // a fault of New
}

func TestInterceptAnswersItself(t *testing.T) {
	is := is.New(t)
	backend := newFake("a", "1", "b", "2")
	policy := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
		switch ref.Path {
		case "denied":
			return secrets.Secret{}, fmt.Errorf("policy of %s: %w", canary, secrets.ErrPermissionDenied)
		case "twice": // several calls, with other refs
			if _, err := next.Fetch(ctx, secrets.Ref{Path: "a"}); err != nil {
				return secrets.Secret{}, err
			}
			return next.Fetch(ctx, secrets.Ref{Path: "b"})
		case "own":
			return secrets.NewSecret("made up", secrets.Meta{Backend: "policy"}), nil
		case "nothing":
			return secrets.Secret{}, nil
		default:
			return next.Fetch(ctx, ref)
		}
	})
	client := open(t, backend, secrets.WithMiddleware(policy))
	found, err := client.GetMany(t.Context(), "denied", "a", "twice", "own", "nothing")
	is.Equal(found["a"].Reveal(), "1")
	is.Equal(found["twice"].Reveal(), "2")
	is.Equal(found["own"].Meta().Backend, "policy")
	all := err.(secrets.Errors)
	is.Equal(len(all), 2)
	is.Equal(all[0].Error(), "secrets: denied: permission denied")
	is.Equal(all[1].Error(), "secrets: nothing: unknown failure: the answer holds neither a secret nor an error")
	_, err = client.Get(t.Context(), "denied")
	is.Equal(err.Error(), "secrets: denied: permission denied")
}

// User middleware sees every call, including hits of a cache.
func TestUserMiddlewareIsNeverBypassed(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	hit := func() (secrets.Secret, error) { return secrets.NewSecret("cached", secrets.Meta{}), nil }
	cache := slot(instead(func(context.Context, secrets.Ref) (secrets.Secret, error) { return hit() }).Wrap)
	cache.recall = func(string) (secrets.Secret, bool) { s, _ := hit(); return s, true }
	backend := newFake()
	client := open(t, backend, secrets.WithMiddleware(tr.middleware("user")), secrets.WithCache(cache))
	for range 3 {
		_, err := client.Get(t.Context(), "a")
		is.NoErr(err)
		_, err = client.GetMany(t.Context(), "a", "b")
		is.NoErr(err)
	}
	is.Equal(tr.count(), map[string]int{"user": 9})
	is.Equal(backend.calls.Load(), int64(0))
}

func TestClientIsSafeForConcurrentUse(t *testing.T) {
	backend := newFake("doc", `{"x":"1"}`, "b", "2")
	client := open(t, backend, secrets.WithMiddleware(pass()))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 50 {
				s, err := client.Get(t.Context(), "doc#x")
				if err != nil || s.Reveal() != "1" {
					t.Error(text(s, err))
				}
				found, err := client.GetMany(t.Context(), "doc#x", "b", "none")
				if found["b"].Reveal() != "2" || len(found) != 2 || !errors.Is(err, secrets.ErrNotFound) {
					t.Error(found, err)
				}
				client.Invalidate("doc", "b")
			}
		})
	}
	wg.Wait()
}

// The bytes of an answer are the caller's own.
func TestBytesAreNotShared(t *testing.T) {
	is := is.New(t)
	client := open(t, newFake("a", "value"))
	s, err := client.Get(t.Context(), "a")
	is.NoErr(err)
	clear(s.Bytes())
	is.True(bytes.Equal(s.Bytes(), []byte("value")))
}

// memory returns a cache that has keys in memory; "" is a known not-found.
func memory(tr *trail, known map[string]string) *layer {
	l := slot(tr.middleware("layer").Wrap)
	l.recall = func(key string) (secrets.Secret, bool) {
		tr.add("recall " + key)
		value, ok := known[key]
		if value == "" {
			return secrets.Secret{}, ok
		}
		return secrets.NewSecret(value, secrets.Meta{}), ok
	}
	l.memorize = func(key string, doc secrets.Ref, field string) {
		tr.add(fmt.Sprintf("memorize %s = %v, %s", key, doc, field))
	}
	return l
}

func TestMemory(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	m := memory(tr, map[string]string{"hit": "remembered", "hit2": "two", "absent": ""})
	backend := newFake("doc", `{"x":"1"}`, "absent", "here by now")
	client, err := secrets.New(backend, secrets.WithCache(m))
	is.NoErr(err)
	for _, tc := range []struct {
		get   func() (secrets.Secret, error)
		value string
		trail string
	}{
		{func() (secrets.Secret, error) { return client.Get(t.Context(), "hit") }, "remembered", "recall hit"},
		{func() (secrets.Secret, error) { return client.GetOr(t.Context(), "hit", "") }, "remembered", "recall hit"},
		{func() (secrets.Secret, error) { return client.Get(t.Context(), "doc#x") }, "1", "recall doc#x layer memorize doc#x = doc, x"},
		{func() (secrets.Secret, error) { return client.Get(t.Context(), "none") }, "", "recall none layer"}, // a failure is not memorized
		{func() (secrets.Secret, error) { return client.Get(t.Context(), "..") }, "", "recall .."},
		// A known not-found goes through the layers, because their error says where they looked.
		{func() (secrets.Secret, error) { return client.Get(t.Context(), "absent") }, "here by now",
			"recall absent layer memorize absent = absent, "},
		// Refresh does not use memory.
		{func() (secrets.Secret, error) { return client.Refresh(t.Context(), "doc?version=2#x") }, "1",
			"layer memorize doc?version=2#x = doc?version=2, x"},
	} {
		s, err := tc.get()
		is.Equal(err != nil, tc.value == "")
		is.Equal(s.Reveal(), tc.value)
		is.Equal(tr.take(), tc.trail)
	}

	found, err := client.GetMany(t.Context(), "hit", "hit2", "hit")
	is.NoErr(err)
	is.Equal(len(found), 2)
	is.Equal(tr.take(), "recall hit recall hit2 recall hit")
	// Keys of one path come from memory only if all of them are there: the rest may have another version.
	backend.docs["hit"], backend.docs["hit2"] = `{"f":"newer"}`, "newer"
	found, err = client.GetMany(t.Context(), "hit", "none", "hit#f", "hit2")
	is.Equal(err.Error(), "secrets: fake: none: not found")
	is.Equal(len(found), 3)
	is.Equal(found["hit"].Reveal(), `{"f":"newer"}`)
	is.Equal(found["hit#f"].Reveal(), "newer")
	is.Equal(found["hit2"].Reveal(), "two") // the control: a path of its own
	steps := tr.count()
	is.Equal(steps["layer"], 2) // hit and none
	is.Equal(steps["memorize hit = hit, "], 1)
	is.Equal(steps["memorize hit#f = hit, f"], 1)
	is.Equal(steps["memorize hit2 = hit2, "], 0)

	// Calls that are refused do not use memory.
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = client.Get(ended, "hit")
	checkEnded(t, err, context.Canceled, "", "hit")
	is.NoErr(client.Close())
	_, err = client.Get(t.Context(), "hit")
	checkClass(t, err, secrets.ErrClosed)
	_, err = client.GetMany(t.Context(), "hit")
	checkClass(t, err, secrets.ErrClosed)
	is.Equal(tr.take(), "")
}

// Two paths of one document are one version, even if memory has only one of them, in any order.
func TestMemoryHasOneVersionOfADocument(t *testing.T) {
	backend := newFake("app", `{"user":"new","password":"new","host":"new"}`, "other", "new")
	backend.info.Resolve = func(ref secrets.Ref) secrets.Ref {
		if doc, field, ok := strings.Cut(ref.Path, "/"); ok && ref.Field == "" {
			return secrets.Ref{Path: doc, Field: field}
		}
		return ref
	}
	client := open(t, backend, secrets.WithCache(memory(&trail{}, map[string]string{"app#user": "old", "app/host": "old", "other": "old"})))
	keys := []string{"app#user", "other", "app/password", "app/host"}
	for range keys {
		is := is.New(t)
		found, err := client.GetMany(t.Context(), keys...)
		is.NoErr(err)
		is.Equal(len(found), len(keys))
		for key, s := range found {
			is.Equal(s.Reveal() == "old", key == "other") // the control: a document of its own
		}
		keys = append(keys[1:], keys[0])
	}
}

// Memory is used only if it gives the same answer as the layers.
func TestMemoryIsUsedOnlyWhereItMayAnswer(t *testing.T) {
	second := func() *fake { return named("second", "hit", "second") }
	for name, tc := range map[string]struct {
		backend *fake
		opt     secrets.Option
		known   string
		value   string
	}{
		"control":               {newFake("hit", "backend"), secrets.WithTimeout(time.Second), "remembered", "remembered"},
		"user middleware":       {newFake("hit", "backend"), secrets.WithMiddleware(pass()), "remembered", "backend"},
		"local backend":         {local(newFake("hit", "backend")), secrets.WithTimeout(time.Second), "remembered", "backend"},
		"a chain":               {newFake(), to(second()), "remembered", "remembered"},
		"an absence in a chain": {newFake(), to(local(second())), "", "second"},
		"a local first source":  {local(newFake()), to(second()), "remembered", "second"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			client := open(t, tc.backend, tc.opt, secrets.WithCache(memory(&trail{}, map[string]string{"hit": tc.known})))
			s, err := client.Get(t.Context(), "hit")
			is.NoErr(err)
			is.Equal(s.Reveal(), tc.value)
			found, err := client.GetMany(t.Context(), "hit")
			is.NoErr(err)
			is.Equal(found["hit"].Reveal(), tc.value)
		})
	}
}

// local returns b as a Local backend.
func local(b *fake) *fake { return b.with(func(b *fake) { b.info.Local = true }) }

package secrets_test

import (
	"bytes"
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
	// A backend is asked for documents, whatever field is wanted.
	for _, ref := range append(slices.Clone(backend.singles), slices.Concat(backend.batches...)...) {
		if ref.Field != "" || ref.Whole {
			t.Errorf("the backend was asked for %#v", ref)
		}
	}
}

func TestGetOrTakesTheDefaultForAbsenceAlone(t *testing.T) {
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
	client := open(t, backend, secrets.WithMiddleware(tr.layer("user")), secrets.WithBackendMiddleware(tr.layer("inner")))
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
	// One batch through each layer, without what is asked twice: every key once above, every document once below.
	is.Equal(tr.take(), "user*10 inner@fake*5")
	is.Equal(len(backend.singles), 0)
	is.Equal(backend.batches, [][]secrets.Ref{{{Path: "doc"}, {Path: "none"}, {Path: "other"}, {Path: "bad"}, {Path: "doc", Version: "2"}}})
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
	is.Equal(backend.calls.Load(), int64(1))
}

// The same text may be a good answer for one key and a failure for another; the secrets of one batch do not mix.
func TestGetManyKeepsWhatWasFoundWhenTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := &fake{name: "fake", fetchMany: func(ctx context.Context, _ []secrets.Ref) []secrets.Result {
			<-ctx.Done()
			return []secrets.Result{
				{Secret: secrets.NewSecret("1", secrets.Meta{})}, {Err: secrets.ErrPermissionDenied}, {Err: ctx.Err()}, {Err: secrets.ErrUnavailable},
			}
		}}
		client := open(t, backend)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		found, err := client.GetMany(ctx, "a", "b", "c", "d", "..")
		is.Equal(time.Since(start), time.Second)
		is.Equal(len(found), 1)
		is.Equal(found["a"].Reveal(), "1")
		is.True(errors.Is(err, context.DeadlineExceeded))
		var all secrets.Errors
		is.True(errors.As(err, &all)) // joined to the error of the context
		is.Equal(len(all), 2)
		is.Equal(all[0].Key, "b")
		checkClass(t, all[0], secrets.ErrPermissionDenied)
		is.Equal(all[1].Key, "..")

		// Where only the context failed, its error comes alone.
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		backend.fetchMany = func(ctx context.Context, refs []secrets.Ref) []secrets.Result {
			<-ctx.Done()
			return slices.Repeat([]secrets.Result{{Err: ctx.Err()}}, len(refs))
		}
		_, err = client.GetMany(ctx, "a", "b")
		is.True(err == context.DeadlineExceeded)
	})
}

func TestRefreshIsFresh(t *testing.T) {
	is := is.New(t)
	var fresh []bool
	backend := failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
		fresh = append(fresh, secrets.Fresh(ctx))
		return secrets.NewSecret("x", secrets.Meta{}), nil
	})
	client := open(t, backend)
	_, err := client.Get(t.Context(), "a")
	is.NoErr(err)
	_, err = client.Refresh(t.Context(), "a")
	is.NoErr(err)
	_, err = client.GetMany(secrets.WithFresh(t.Context()), "a")
	is.NoErr(err)
	_, err = client.GetMany(t.Context(), "a")
	is.NoErr(err)
	is.Equal(fresh, []bool{false, true, true, false})
}

// The values of the caller's context reach the backend: its span and its credentials are there.
func TestContextValuesReachTheBackend(t *testing.T) {
	is := is.New(t)
	backend := failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
		return secrets.NewSecret(fmt.Sprint(ctx.Value(contextKey{})), secrets.Meta{}), nil
	})
	s, err := open(t, backend).Get(context.WithValue(t.Context(), contextKey{}, "mine"), "a")
	is.NoErr(err)
	is.Equal(s.Reveal(), "mine")
}

func TestResolver(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	backend := &resolving{fake: newFake("m/a", `{"b":"1","c":"2"}`, "m/a/b", "file"), resolve: func(ref secrets.Ref) secrets.Ref {
		dir, last, found := strings.Cut(ref.Path, "/")
		if ref.Field != "" || ref.Whole || !found {
			ref.Path = "m/" + ref.Path
			return ref
		}
		return secrets.Ref{Path: "m/" + dir, Field: last, Version: ref.Version, Whole: true} // Whole says nothing here
	}}
	client := open(t, backend, secrets.WithMiddleware(tr.layer("user")), secrets.WithCache(splitCache{tr}))
	for key, want := range map[string]string{
		"a": `{"b":"1","c":"2"}`, "a/b": "1", "a#b": "1", "a/b#": "file", "a/c?version=9": "2",
	} {
		s, err := client.Get(t.Context(), key)
		is.NoErr(err)
		is.Equal(s.Reveal(), want)
	}
	tr.take()
	// Keys that mean the same document share it, however they are written.
	found, err := client.GetMany(t.Context(), "a", "a/b", "a#b", "a/c", "a#")
	is.NoErr(err)
	is.Equal(len(found), 5)
	is.Equal(tr.take(), "user*5 read*1 fill*1")
	client.Invalidate("a/b", "a#c", "a/b#", "bad//key", "a?version=3")
	is.Equal(tr.take(), "forget [m/a m/a m/a/b m/a?version=3]")
}

func TestInvalidateReachesEveryBackend(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	second := &resolving{fake: newFake(), resolve: func(ref secrets.Ref) secrets.Ref { return secrets.Ref{Path: "second_" + ref.Path} }}
	second.name = "second"
	client := open(t, newFake(), secrets.WithFallback(&chain{backends: []secrets.Backend{second}}), secrets.WithCache(splitCache{tr}),
		secrets.WithMiddleware(tr.layer("user")))
	client.Invalidate("a#f", "b")
	is.Equal(tr.take(), "forget [a b] forget [second_a second_b]")
	client.Invalidate()
	client.Invalidate("..")
	is.Equal(tr.take(), strings.TrimSpace(strings.Repeat("forget [] ", 4)))
}

// Middleware may rewrite refs. What it makes of them is checked like any key, wherever it stands.
func TestRewrittenRefsAreChecked(t *testing.T) {
	for name, hostile := range map[string]secrets.Ref{
		"zero": {}, "up": {Path: "../sys/seal-status"}, "absolute": {Path: "/etc/passwd"}, "double": {Path: "a//b"}, "dot": {Path: "a/./b"},
		"nul": {Path: "a\x00b"}, "newline": {Path: "a", Version: "1\nX-Header: y"}, "bidi": {Path: "a\u202e"}, "utf8": {Path: "a\xff"},
		"long": {Path: strings.Repeat("a", 513)}, "long in all": {Path: strings.Repeat("a", 300), Field: strings.Repeat("b", 300)},
		"long when escaped": {Path: strings.Repeat("%", 200)}, "field": {Path: "a", Field: "x\n"}, "both": {Path: "a", Field: "x", Whole: true},
		"version in field": {Path: "a", Field: "x?version=1"}, "hash in version": {Path: "a", Version: "1#x"},
		"query in version": {Path: "a", Version: "1&x=1"},
	} {
		rewrite := func(refs []secrets.Ref) []secrets.Ref {
			refs = slices.Clone(refs)
			refs[0] = hostile
			return refs
		}
		hook := secrets.Intercept(func(ctx context.Context, refs []secrets.Ref,
			next func(context.Context, []secrets.Ref) []secrets.Result) []secrets.Result {
			return next(ctx, rewrite(refs))
		})
		for where, opts := range map[string][]secrets.Option{
			"user middleware":         {secrets.WithMiddleware(hook)},
			"inner user middleware":   {secrets.WithMiddleware(pass(), secrets.Intercept(passHook), hook)},
			"backend middleware":      {secrets.WithBackendMiddleware(hook)},
			"with a fallback":         {secrets.WithMiddleware(hook), secrets.WithFallback(&chain{backends: []secrets.Backend{&fake{name: "b"}}})},
			"inner backend, layers":   {secrets.WithBackendMiddleware(pass(), hook), secrets.WithMiddleware(secrets.Intercept(passHook))},
			"backend, other rewrites": {secrets.WithBackendMiddleware(hook, secrets.Intercept(passHook)), secrets.WithTracing(pass())},
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
				// The others of the batch are asked all the same.
				found, err := client.GetMany(t.Context(), "key", "good", "good2")
				all := err.(secrets.Errors)
				is.Equal(len(all), 2)
				checkClass(t, all[0], secrets.ErrInvalidKey)
				checkClass(t, all[1], secrets.ErrNotFound)
				if strings.Contains(where, "fallback") {
					return // this chain has no batches
				}
				is.Equal(found["good"].Reveal(), "1")
				is.Equal(backend.batches, [][]secrets.Ref{{{Path: "good"}, {Path: "good2"}}})
			})
		}
	}
}

// A good ref passes the same checks: what stops the hostile ones is not the rewriting.
func TestRewrittenRefs(t *testing.T) {
	is := is.New(t)
	hook := secrets.Intercept(func(ctx context.Context, refs []secrets.Ref,
		next func(context.Context, []secrets.Ref) []secrets.Result) []secrets.Result {
		for i := range refs {
			refs[i].Path = "team/" + refs[i].Path // in place, as it should not be done
		}
		return next(ctx, refs)
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
	var seen [][]secrets.Ref
	hook := secrets.Intercept(func(ctx context.Context, refs []secrets.Ref,
		next func(context.Context, []secrets.Ref) []secrets.Result) []secrets.Result {
		seen = append(seen, slices.Clone(refs))
		return next(ctx, refs)
	})
	client := open(t, backend, secrets.WithMiddleware(hook))
	_, err := client.Get(t.Context(), "c#x")
	is.NoErr(err)
	_, err = client.GetMany(t.Context(), "a", "b", "c#x")
	is.NoErr(err)
	_, err = client.GetMany(t.Context(), "a")
	is.NoErr(err)
	c := secrets.Ref{Path: "c", Field: "x"}
	is.Equal(seen, [][]secrets.Ref{{c}, {{Path: "a"}, {Path: "b"}, c}, {{Path: "a"}}}) // batches whole, fields in sight
	// A single fetch stays single below.
	is.Equal(backend.singles, []secrets.Ref{{Path: "c"}, {Path: "a"}})
	is.Equal(len(backend.batches), 1)
}

func TestInterceptAnswersItself(t *testing.T) {
	is := is.New(t)
	backend := newFake("a", "1", "b", "2")
	policy := secrets.Intercept(func(ctx context.Context, refs []secrets.Ref,
		next func(context.Context, []secrets.Ref) []secrets.Result) []secrets.Result {
		results := make([]secrets.Result, len(refs))
		for i, ref := range refs {
			switch ref.Path {
			case "denied":
				results[i].Err = fmt.Errorf("policy of %s: %w", canary, secrets.ErrPermissionDenied)
			case "twice": // it may ask several times, and for other refs
				next(ctx, []secrets.Ref{{Path: "a"}, {Path: "b"}})
				results[i] = next(ctx, []secrets.Ref{{Path: "b"}})[0]
			case "own":
				results[i].Secret = secrets.NewSecret("made up", secrets.Meta{Backend: "policy"})
			case "nothing":
			default:
				results[i] = next(ctx, []secrets.Ref{ref})[0]
			}
		}
		return results
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

// User middleware sees every call, hits of a cache included.
func TestUserMiddlewareIsNeverBypassed(t *testing.T) {
	is := is.New(t)
	tr := &trail{}
	hit := secrets.MiddlewareFunc(func(secrets.Fetcher) secrets.Fetcher {
		return secrets.FetcherFunc(func(context.Context, secrets.Ref) (secrets.Secret, error) {
			return secrets.NewSecret("cached", secrets.Meta{}), nil
		})
	})
	backend := newFake()
	client := open(t, backend, secrets.WithMiddleware(tr.layer("user")), secrets.WithCache(hit))
	for range 3 {
		_, err := client.Get(t.Context(), "a")
		is.NoErr(err)
	}
	is.Equal(len(strings.Fields(tr.take())), 3)
	is.Equal(backend.calls.Load(), int64(0))
}

func TestClientIsSafeForConcurrentUse(t *testing.T) {
	backend := newFake("doc", `{"x":"1"}`, "b", "2")
	client := open(t, backend, secrets.WithMiddleware(secrets.Intercept(passHook)))
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

// memory is a cache that remembers keys: the Client asks it before any layer.
type memory struct {
	trail *trail
	known map[string]string
}

func (m *memory) Wrap(next secrets.Fetcher) secrets.Fetcher {
	return &memoryPart{recorder{m.trail, "layer", next}, m}
}

type memoryPart struct {
	recorder
	*memory
}

func (m *memory) Recall(key string) (secrets.Secret, bool) {
	m.trail.add("recall " + key)
	value, known := m.known[key]
	if value == "" {
		return secrets.Secret{}, known // a known absence
	}
	return secrets.NewSecret(value, secrets.Meta{}), known
}

func (m *memory) RecallMany(keys []string, found map[string]secrets.Secret) bool {
	all := true
	for _, key := range keys {
		s, known := m.Recall(key)
		found[key] = s
		all = all && known && !s.IsZero()
	}
	return all
}

func (m *memory) Memorize(key string, doc secrets.Ref, field string) {
	m.trail.add(fmt.Sprintf("memorize %s = %v, %s", key, doc, field))
}

func TestMemory(t *testing.T) {
	is := is.New(t)
	m := &memory{&trail{}, map[string]string{"hit": "remembered", "hit2": "two", "absent": ""}}
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
		{func() (secrets.Secret, error) { return client.Get(t.Context(), "none") }, "", "recall none layer"}, // a failure is not learned
		{func() (secrets.Secret, error) { return client.Get(t.Context(), "..") }, "", "recall .."},
		// A known absence is for the layers to tell: their error says where they looked.
		{func() (secrets.Secret, error) { return client.Get(t.Context(), "absent") }, "here by now",
			"recall absent layer memorize absent = absent, "},
		// Refresh asks no memory.
		{func() (secrets.Secret, error) { return client.Refresh(t.Context(), "doc?version=2#x") }, "1",
			"layer memorize doc?version=2#x = doc?version=2, x"},
	} {
		s, err := tc.get()
		is.Equal(err != nil, tc.value == "")
		is.Equal(s.Reveal(), tc.value)
		is.Equal(m.trail.take(), tc.trail)
	}

	found, err := client.GetMany(t.Context(), "hit", "hit2", "hit")
	is.NoErr(err)
	is.Equal(len(found), 2)
	is.Equal(m.trail.take(), "recall hit recall hit2 recall hit")
	// What memory had of a batch that it has not whole is not used: it may be of another version than the rest.
	backend.docs["hit"] = "newer"
	found, err = client.GetMany(t.Context(), "hit", "none")
	is.Equal(err.Error(), "secrets: fake: none: not found")
	is.Equal(len(found), 1)
	is.Equal(found["hit"].Reveal(), "newer")
	is.Equal(m.trail.take(), "recall hit recall none layer*2 memorize hit = hit, ")

	// Nor is it asked where there is no answer to give.
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = client.Get(ended, "hit")
	is.True(err == context.Canceled)
	is.NoErr(client.Close())
	_, err = client.Get(t.Context(), "hit")
	checkClass(t, err, secrets.ErrClosed)
	_, err = client.GetMany(t.Context(), "hit")
	checkClass(t, err, secrets.ErrClosed)
	is.Equal(m.trail.take(), "")
}

// Memory is asked only where it can answer as the layers would.
func TestMemoryStandsAside(t *testing.T) {
	second := newFake("hit", "second")
	second.name = "second"
	for name, tc := range map[string]struct {
		backend secrets.Backend
		opts    []secrets.Option
		value   string
	}{
		"control":         {newFake("hit", "backend"), nil, "remembered"},
		"user middleware": {newFake("hit", "backend"), []secrets.Option{secrets.WithMiddleware(pass())}, "backend"},
		"local backend":   {localBackend{newFake("hit", "backend"), true}, nil, "backend"},
		"a chain without": {newFake(), []secrets.Option{secrets.WithFallback(&chain{backends: []secrets.Backend{second}})}, "second"},
		"a chain that is one": {newFake(), []secrets.Option{secrets.WithFallback(&chain{backends: []secrets.Backend{second}, wrap: first})},
			"remembered"},
		"a local first source": {localBackend{newFake(), true},
			[]secrets.Option{secrets.WithFallback(&chain{backends: []secrets.Backend{second}, wrap: first})}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			client := open(t, tc.backend, append(tc.opts, secrets.WithCache(&memory{&trail{}, map[string]string{"hit": "remembered"}}))...)
			s, err := client.Get(t.Context(), "hit")
			is.Equal(err != nil, tc.value == "")
			is.Equal(s.Reveal(), tc.value)
			found, err := client.GetMany(t.Context(), "hit")
			is.Equal(err != nil, tc.value == "")
			is.Equal(found["hit"].Reveal(), tc.value)
		})
	}
}

// first is a chain of its first source alone, with the memory of that.
func first(sources []secrets.Fetcher) secrets.Fetcher { return sources[0] }

package secretstest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, b secrets.Backend, opts ...secrets.Option) *secrets.Client {
	t.Helper()
	c, err := secrets.New(b, opts...)
	is.New(t).NoErr(err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func get(t *testing.T, c *secrets.Client, key string) secrets.Secret {
	t.Helper()
	s, err := c.Get(t.Context(), key)
	is.New(t).NoErr(err)
	return s
}

func TestSetMakesANewVersionAndKeepsTheOld(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(map[string]string{"token": "first"})
	c := newClient(t, b)

	is.Equal(get(t, c, "token").Meta().Version, "1")
	b.Set("token", "second")
	s := get(t, c, "token")
	is.Equal(s.Reveal(), "second")
	is.Equal(s.Meta().Version, "2")
	is.Equal(s.Meta().Backend, "fake")
	is.Equal(get(t, c, "token?version=1").Reveal(), "first")

	b.SetVersion("token", "pending", "third")
	is.Equal(get(t, c, "token").Reveal(), "second") // the current version is unchanged
	is.Equal(get(t, c, "token?version=pending").Reveal(), "third")

	_, err := c.Get(t.Context(), "token?version=9")
	is.True(errors.Is(err, secrets.ErrNotFound))
}

func TestSetRecordsCreatedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		first := time.Now()
		b := secretstest.NewBackend(map[string]string{"token": "first"})
		c := newClient(t, b)
		time.Sleep(time.Hour)
		b.Set("token", "second")
		b.SetVersion("token", "pending", "third")
		second := time.Now()
		time.Sleep(time.Hour)
		is.True(get(t, c, "token?version=1").Meta().CreatedAt.Equal(first))
		is.True(get(t, c, "token").Meta().CreatedAt.Equal(second))
		is.True(get(t, c, "token?version=pending").Meta().CreatedAt.IsZero())
	})
}

func TestSetVersionMakesNoCurrentVersion(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(nil)
	b.SetVersion("token", "pending", "value")
	c := newClient(t, b)
	is.Equal(get(t, c, "token?version=pending").Reveal(), "value")
	_, err := c.Get(t.Context(), "token")
	is.Equal(secrets.Class(err), secrets.ErrNotFound)
}

func TestDeleteAndRemove(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(map[string]string{"token": "value"})
	c := newClient(t, b)

	b.Delete("token")
	_, err := c.Get(t.Context(), "token")
	is.Equal(secrets.Class(err), secrets.ErrDeleted)
	_, err = c.Get(t.Context(), "token?version=1")
	is.Equal(secrets.Class(err), secrets.ErrDeleted)

	b.Set("token", "value")
	is.Equal(get(t, c, "token").Meta().Version, "2")

	b.Remove("token")
	_, err = c.Get(t.Context(), "token")
	is.Equal(secrets.Class(err), secrets.ErrNotFound)

	b.Set("token", "value")
	is.Equal(get(t, c, "token").Meta().Version, "3") // a version number is never used twice
	b.Delete("unheard of")
	_, err = c.Get(t.Context(), "unheard of")
	is.Equal(secrets.Class(err), secrets.ErrDeleted)
}

func TestFailures(t *testing.T) {
	foreign := errors.New("foreign")
	for _, tc := range []struct {
		name   string
		set    error
		class  error
		detail string
	}{
		{"a class", secrets.ErrPermissionDenied, secrets.ErrPermissionDenied, "the test told the fake backend to fail"},
		{"a narrower class", secrets.ErrDeleted, secrets.ErrDeleted, "the test told the fake backend to fail"},
		{"an Error", &secrets.Error{Err: secrets.ErrUnavailable, Detail: "sealed"}, secrets.ErrUnavailable, "sealed"},
		{"a wrapped class", fmt.Errorf("x: %w", secrets.ErrMalformed), secrets.ErrMalformed, ""},
		{"a foreign error", foreign, secrets.ErrUnknown, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := is.New(t)
			b := secretstest.NewBackend(map[string]string{"a": "1", "b": "2"}, secretstest.WithName("primary"))
			c := newClient(t, b)

			b.FailPath("a", tc.set)
			found, err := c.GetMany(t.Context(), "a", "b")
			is.Equal(found["b"].Reveal(), "2") // the other key does not fail
			is.Equal(secrets.Class(err), tc.class)

			b.Fail(tc.set)
			_, err = c.Get(t.Context(), "b")
			var e *secrets.Error
			is.True(errors.As(err, &e))
			is.Equal(secrets.Class(err), tc.class)
			is.Equal(e.Backend, "primary")
			is.Equal(e.Key, "b")
			is.Equal(e.Detail, tc.detail)

			b.Recover()
			_, err = c.GetMany(t.Context(), "a", "b")
			is.NoErr(err)
		})
	}
	_, err := failing(foreign).Fetch(t.Context(), secrets.Ref{Path: "a"})
	is.New(t).True(err == foreign) // a direct call returns it unchanged
}

func failing(err error) *secretstest.Backend {
	b := secretstest.NewBackend(nil)
	b.Fail(err)
	return b
}

func TestNotFoundListsTheDocuments(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(map[string]string{"database": "canary-value", "token": "canary-value"})
	_, err := b.Fetch(t.Context(), secrets.Ref{Path: "databse"})
	is.Equal(err.Error(), `secrets: fake: databse: not found: the fake backend holds no document "databse"; `+
		`it holds "database", "token"`)

	_, err = secretstest.NewBackend(nil).Fetch(t.Context(), secrets.Ref{Path: "a"})
	is.Equal(err.Error(), `secrets: fake: a: not found: the fake backend holds no document "a"; it holds none`)

	for i := range 20 {
		b.Set(fmt.Sprint("more/", i), "x")
	}
	_, err = b.Fetch(t.Context(), secrets.Ref{Path: "a"})
	is.Equal(err.(*secrets.Error).Detail[len(err.(*secrets.Error).Detail)-len("and 14 more"):], "and 14 more")
}

func TestCallsAndFetchesAreCounted(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(map[string]string{"a": "1", "b": `{"x":"2"}`})
	c := newClient(t, b)

	get(t, c, "a")
	_, err := c.GetMany(t.Context(), "b#x", "a", "b", "a?version=1")
	is.NoErr(err)
	is.Equal(b.Calls(), 4)
	is.Equal(b.Fetches("a"), 3)
	is.Equal(b.Fetches("b"), 1)
	is.Equal(len(b.Batches()), 0) // each document is a call

	b.ResetCounts()
	is.Equal(b.Calls(), 0)
	is.Equal(b.Fetches("a"), 0)
}

func TestCallsAndBatchesAreCounted(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(map[string]string{"a": "1", "b": `{"x":"2"}`}, secretstest.WithBatch(3), secretstest.WithLocal())
	c := newClient(t, b)
	is.Equal(b.Info().Batch, 3)

	get(t, c, "a")
	_, err := c.GetMany(t.Context(), "b#x", "a", "b", "a?version=1")
	is.NoErr(err)
	is.Equal(b.Calls(), 2)
	is.Equal(b.Fetches("a"), 3)
	is.Equal(b.Fetches("b"), 1)
	batches := b.Batches()
	is.Equal(len(batches), 1)
	slices.Sort(batches[0]) // they have no fixed order
	is.Equal(batches[0], []string{"a", "a?version=1", "b"})

	batches[0][0] = "changed"
	is.True(!slices.Contains(b.Batches()[0], "changed")) // Batches returns a copy

	_, err = c.GetMany(t.Context(), "a", "b", "a?version=1", "b?version=1")
	is.NoErr(err)
	is.Equal(b.Calls(), 4) // 3 documents in one call, and 1 in the next
	is.Equal(len(b.Batches()), 2)

	b.ResetCounts()
	is.Equal(b.Calls(), 0)
	is.Equal(len(b.Batches()), 0)
}

func TestABatchAnswersAndFailsPerDocument(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(map[string]string{"a": "1", "b": "2"}, secretstest.WithBatch(20), secretstest.WithLocal())
	c := newClient(t, b)
	b.FailPath("b", secrets.ErrPermissionDenied)
	found, err := c.GetMany(t.Context(), "a", "b", "missing")
	is.Equal(found["a"].Reveal(), "1")
	all, ok := errors.AsType[secrets.Errors](err)
	is.True(ok)
	is.Equal(len(all), 2)
	is.Equal(secrets.Class(all[0]), secrets.ErrPermissionDenied)
	is.Equal(secrets.Class(all[1]), secrets.ErrNotFound)
	is.Equal(b.Calls(), 1)

	b.OnCall(func(_ context.Context, refs []secrets.Ref) error {
		is.Equal(len(refs), 2) // the hook gets all refs of the call
		return secrets.ErrUnavailable
	})
	_, err = c.GetMany(t.Context(), "a", "b")
	all, ok = errors.AsType[secrets.Errors](err)
	is.True(ok)
	is.Equal(len(all), 2)
	is.Equal(secrets.Class(all[0]), secrets.ErrUnavailable)
	is.Equal(secrets.Class(all[1]), secrets.ErrUnavailable)
}

func TestLatencyObeysContextInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := secretstest.NewBackend(map[string]string{"a": "1"}, secretstest.WithLatency(time.Second))
		start := time.Now()
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: "a"})
		is.NoErr(err)
		is.Equal(time.Since(start), time.Second)

		b.SetLatency(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s, err := b.Fetch(ctx, secrets.Ref{Path: "a"})
		is.Equal(time.Since(start), time.Second+time.Minute)
		is.Equal(err, context.DeadlineExceeded)
		is.True(s.IsZero())
	})
}

func TestABatchHasTheLatencyOfOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := secretstest.NewBackend(map[string]string{"a": "1", "b": "2"}, secretstest.WithLatency(time.Second), secretstest.WithBatch(20))
		c := newClient(t, b)
		start := time.Now()
		_, err := c.GetMany(t.Context(), "a", "b")
		is.NoErr(err)
		is.Equal(time.Since(start), time.Second) // per call, not per document

		b.SetLatency(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		found, err := c.GetMany(ctx, "a", "b")
		is.Equal(time.Since(start), 2*time.Second)
		is.True(errors.Is(err, context.DeadlineExceeded))
		is.Equal(len(found), 0)
	})
}

func TestABlockedCallAnswersFromItsBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := secretstest.NewBackend(map[string]string{"a": "old"})
		first, second := b.Block(), b.Block()
		var got secrets.Secret
		var wg sync.WaitGroup
		wg.Go(func() { got, _ = b.Fetch(t.Context(), secrets.Ref{Path: "a"}) })
		synctest.Wait()
		is.Equal(b.Calls(), 1) // a waiting call is counted

		b.Set("a", "new")
		first()
		first()
		synctest.Wait()
		is.True(got.IsZero()) // the second block still holds

		second()
		wg.Wait()
		is.Equal(got.Reveal(), "old")
		s, err := b.Fetch(t.Context(), secrets.Ref{Path: "a"})
		is.NoErr(err)
		is.Equal(s.Reveal(), "new")
	})
}

func TestABlockedCallObeysItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := secretstest.NewBackend(map[string]string{"a": "1"})
		defer b.Block()()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := b.Fetch(ctx, secrets.Ref{Path: "a"})
		is.Equal(err, context.DeadlineExceeded)
	})
}

func TestOnCall(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(map[string]string{"a": "1"})
	var seen []secrets.Ref
	b.OnCall(func(_ context.Context, refs []secrets.Ref) error {
		seen = append(seen, refs...)
		if b.Calls() == 1 {
			return secrets.ErrUnavailable
		}
		b.Set("a", "2")
		return nil
	})
	_, err := b.Fetch(t.Context(), secrets.Ref{Path: "a"})
	is.Equal(secrets.Class(err), secrets.ErrUnavailable)
	s, err := b.Fetch(t.Context(), secrets.Ref{Path: "a"})
	is.NoErr(err)
	is.Equal(s.Reveal(), "2") // the hook runs before the call takes its answer
	is.Equal(len(seen), 2)

	b.OnCall(nil)
	_, err = b.Fetch(t.Context(), secrets.Ref{Path: "a"})
	is.NoErr(err)
	is.Equal(len(seen), 2)
}

func TestLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := secretstest.NewBackend(map[string]string{"a": "1"})
		expiry := func() time.Time {
			s, err := b.Fetch(t.Context(), secrets.Ref{Path: "a"})
			is.NoErr(err)
			return s.Meta().ExpiresAt
		}
		is.True(expiry().IsZero())

		b.SetLease("a", time.Minute)
		is.Equal(expiry(), time.Now().Add(time.Minute))
		b.Set("a", "2")
		is.Equal(expiry(), time.Now().Add(time.Minute)) // a lease remains after Set

		end := time.Now().Add(-time.Hour)
		b.SetExpiry("a", end)
		is.Equal(expiry(), end)
		b.SetExpiry("a", time.Time{})
		is.True(expiry().IsZero())
	})
}

func TestCloseIsCountedAndEndsTheBackend(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(map[string]string{"a": "1"})
	c := newClient(t, b)
	is.True(!b.Closed())
	is.NoErr(c.Close())
	is.NoErr(c.Close())
	is.True(b.Closed())
	is.Equal(b.Closes(), 1) // a Client closes its backend once
	_, err := b.Fetch(t.Context(), secrets.Ref{Path: "a"})
	is.Equal(secrets.Class(err), secrets.ErrClosed)
}

// A Client closes its backend. The error of another Client with the same backend must name the cause.
func TestASecondClientOfAClosedBackendReportsTheCause(t *testing.T) {
	is := is.New(t)
	b := secretstest.NewBackend(map[string]string{"a": "1"}, secretstest.WithName("prod"))
	first, second := newClient(t, b), newClient(t, b)
	_, err := second.Get(t.Context(), "a") // the control
	is.NoErr(err)
	is.NoErr(first.Close())
	_, err = second.Get(t.Context(), "a")
	is.True(errors.Is(err, secrets.ErrClosed))
	is.Equal(err.Error(), "secrets: prod: a: closed: the backend was closed; each Client needs a backend of its own")
}

func TestInfo(t *testing.T) {
	is := is.New(t)
	info := secretstest.NewBackend(nil).Info()
	is.Equal(info.Name, "fake")
	is.True(!info.Local)
	is.Equal(info.Batch, 0)
	is.NoErr(info.Fault)
	info = secretstest.NewBackend(nil, secretstest.WithName("a"), secretstest.WithLocal(), secretstest.WithBatch(20)).Info()
	is.Equal(info.Name, "a")
	is.True(info.Local)
	is.Equal(info.Batch, 20)
}

func TestTheMapIsCopied(t *testing.T) {
	is := is.New(t)
	documents := map[string]string{"a": "1"}
	b := secretstest.NewBackend(documents)
	documents["a"] = "2"
	is.Equal(get(t, newClient(t, b), "a").Reveal(), "1")
}

func TestBackendIsSafeForConcurrentUse(t *testing.T) {
	b := secretstest.NewBackend(map[string]string{"a": "1", "b": "2"}, secretstest.WithBatch(2))
	c := newClient(t, b)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			b.Set("a", "2")
			b.Delete("b")
			b.Remove("b")
			b.SetVersion("b", "x", "3")
			b.SetLease("a", time.Minute)
			b.SetExpiry("a", time.Time{})
			b.Fail(secrets.ErrUnavailable)
			b.FailPath("a", secrets.ErrUnavailable)
			b.Recover()
			b.SetLatency(time.Nanosecond)
			b.OnCall(func(context.Context, []secrets.Ref) error { return nil })
			release := b.Block()
			release()
			_, _ = b.Fetch(t.Context(), secrets.Ref{Path: "a"})
			_, _ = c.GetMany(t.Context(), "a", "b")
			b.Info()
			b.Batches()
			b.Fetches("a")
			b.ResetCounts()
			_ = b.Close()
			b.Closes()
		})
	}
	wg.Wait()
}

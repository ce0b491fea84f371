package cache

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// task is a fetch on a goroutine of its own. It belongs to no caller: what is below ends it.
type task struct {
	group   *fetchctx.Group // of the caller that began it, or nil
	ended   *fetchctx.Event // of group; ends after result is set
	callers fetchctx.Flight
	result  secrets.Result
}

func newTask(ctx context.Context) *task {
	group := fetchctx.Of(ctx).Group
	return &task{group: group, ended: group.NewEvent()}
}

// run begins t, which asks next for ref. as says what kind of fetch it is. over is called when it has ended, before those who wait
// go on.
func (k *keyspace) run(ctx context.Context, t *task, as fetchctx.Fetch, next secrets.Fetcher, ref secrets.Ref, over func()) {
	as.Flight, as.Group = &t.callers, t.group
	if as.Background { // nobody waits for it
		as.Group = t.group.Background()
		as.Group.Unpark()
	}
	end := func() {
		t.callers.End()
		over()
		t.ended.End()
		if as.Background {
			as.Group.Done()
		}
	}
	if !k.calls.Begin() {
		t.result.Err = secrets.NewError(secrets.ErrClosed, "")
		end()
		return
	}
	ctx = fetchctx.Detach(ctx, as)
	go func() {
		defer k.calls.End()
		t.result.Err = secrets.NewError(secrets.ErrUnknown, "the fetch ended its goroutine")
		defer func() { // for a panic in a layer must leave no caller waiting
			if p := recover(); p != nil { // its text may quote a value
				t.result = secrets.Result{Err: secrets.NewError(secrets.ErrUnknown, fmt.Sprintf("a panic with a %T", p))}
			}
			if t.result.Err == nil && t.result.Secret.IsZero() {
				t.result.Err = secrets.NewError(secrets.ErrUnknown, "the answer holds neither a secret nor an error")
			}
			end()
		}()
		t.result.Secret, t.result.Err = next.Fetch(ctx, ref)
	}()
}

// wait returns the answer of t to the caller that began it, or the error of ctx.
func (t *task) wait(ctx context.Context) secrets.Result {
	select {
	case <-t.ended.Done():
		return t.result
	case <-ctx.Done():
	}
	select {
	case <-t.ended.Done(): // an answer that is there counts
		return t.result
	default:
		return secrets.Result{Err: ctx.Err()}
	}
}

// renewAhead begins a renewal of e in the background, unless a fetch of the document is under way. While as many run as one GetMany
// may have, e stays due: the next read of it asks again.
func (k *keyspace) renewAhead(ctx context.Context, e *entry) {
	if e.renewing.Load() { // most readers need no lock
		return
	}
	if k.ahead.Add(1) > k.maxAhead || !k.claimRenewal(e) {
		k.ahead.Add(-1)
		return
	}
	k.run(ctx, newTask(ctx), fetchctx.Fetch{Background: true}, k.next, e.document.ref(), func() {
		k.ahead.Add(-1)
		e.renewing.Store(false)
	})
}

// claimRenewal reports whether the caller has to renew e.
func (k *keyspace) claimRenewal(e *entry) bool {
	k.cache.mu.Lock()
	defer k.cache.mu.Unlock()
	if k.fetching[e.document].underWay > 0 || e.renewing.Load() {
		return false
	}
	// A renewal may have come and gone since the caller looked.
	if latest, found := k.index.Load(e.document); !found || latest != e || k.clock.now() < age(e.refreshAt.Load()) {
		return false
	}
	e.renewing.Store(true)
	return true
}

func isContextError(err error) bool {
	if err == nil {
		return false
	}
	var own *secrets.Error
	return !errors.As(err, &own) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}

package cache

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// task is a fetch on a goroutine of its own. It does not end with its caller; the layers below end it.
type task struct {
	group   *fetchctx.Group // of the caller that started it, or nil
	ended   *fetchctx.Event // of group; ends after result is set
	callers fetchctx.Flight
	result  secrets.Result
}

func newTask(ctx context.Context) *task {
	group := fetchctx.Of(ctx).Group
	return &task{group: group, ended: group.NewEvent()}
}

// run starts t, which fetches ref from next. as is the kind of the fetch. run calls over after t has ended and before the callers that
// wait for it go on.
func (k *keyspace) run(ctx context.Context, t *task, as fetchctx.Fetch, next secrets.Fetcher, ref secrets.Ref, over func()) {
	as.Flight, as.Group = &t.callers, t.group
	if as.Background { // no caller waits for it
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
		defer func() { // after a panic or runtime.Goexit, callers must not wait forever
			if p := recover(); p != nil { // only the type of p, since its text may quote a value
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

// wait returns the result of t, or the error of ctx if that ends first.
func (t *task) wait(ctx context.Context) secrets.Result {
	select {
	case <-t.ended.Done():
		return t.result
	case <-ctx.Done():
	}
	select {
	case <-t.ended.Done(): // a result that is ready takes precedence
		return t.result
	default:
		return secrets.Result{Err: ctx.Err()}
	}
}

// renewAhead starts a renewal of e in the background, unless a fetch of the document is under way. If maxRenewals run already, e stays
// due, and its next read tries again.
func (k *keyspace) renewAhead(ctx context.Context, e *entry) {
	if e.renewing.Load() { // without a lock, for most readers
		return
	}
	if k.renewals.Add(1) > k.maxRenewals || !k.claimRenewal(e) {
		k.renewals.Add(-1)
		return
	}
	k.run(ctx, newTask(ctx), fetchctx.Fetch{Background: true}, k.next, e.document.ref(), func() {
		k.renewals.Add(-1)
		e.renewing.Store(false)
	})
}

// claimRenewal marks e as being renewed, and reports whether the caller has to renew it.
func (k *keyspace) claimRenewal(e *entry) bool {
	k.cache.mu.Lock()
	defer k.cache.mu.Unlock()
	if k.fetching[e.document].underWay > 0 || e.renewing.Load() {
		return false
	}
	// Another renewal may have ended since the caller's lookup.
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

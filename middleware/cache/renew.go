package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// renewal is a fetch of the keyspace itself, detached from the callers that may wait for it: of a value that is due or expired,
// or of a probe.
type renewal struct {
	document docKey
	entry    *entry          // the value that it renews, or nil
	began    age             // of a probe
	failed   bool            // of a probe: whether the document has failed before
	group    *fetchctx.Group // of the caller that began it, or nil; in the background, the fetch is behind it
	ended    *fetchctx.Event // for the others of group, with done
	callers  *fetchctx.Flight
	done     chan struct{}  // closed after result is set
	result   secrets.Result // set by settle
}

func newRenewal(ctx context.Context, d docKey, e *entry) *renewal {
	group := fetchctx.Of(ctx).Group
	return &renewal{
		document: d, entry: e, group: group, ended: group.NewEvent(), callers: fetchctx.NewFlight(ctx), done: make(chan struct{}),
	}
}

// join returns the renewal of e. If mine is true, the caller has to run it. There is none if k is closed, or if e needs none any
// more.
func (k *keyspace) join(ctx context.Context, e *entry) (r *renewal, mine bool) {
	k.cache.mu.Lock()
	defer k.cache.mu.Unlock()
	if r := e.renewal.Load(); r != nil || k.closed {
		return r, false
	}
	// One that was due may have come and gone since the caller looked.
	now, current := k.clock.now(), false
	if latest, found := k.index.Load(e.document); found {
		current = latest == e
	}
	if now < e.expireAt && (!current || int64(now) < e.refreshAt.Load()) {
		return nil, false
	}
	r = newRenewal(ctx, e.document, e)
	e.renewal.Store(r)
	k.running.Add(1) // here, where Close cannot have passed
	return r, true
}

// renewAhead begins the renewal of e, which is due and which nobody waits for. While as many run as one GetMany may have, e stays
// due: the next read of it asks again.
func (k *keyspace) renewAhead(ctx context.Context, e *entry) {
	if k.ahead.Add(1) <= k.maxAhead {
		if r, mine := k.join(ctx, e); mine {
			k.renew(ctx, r, fetchctx.Fetch{Background: true})
			return
		}
	}
	k.ahead.Add(-1)
}

// renew runs r, detached from the cancellation of ctx. as says what kind of fetch it is.
func (k *keyspace) renew(ctx context.Context, r *renewal, as fetchctx.Fetch) {
	as.Flight, as.Group = r.callers, r.group
	if as.Background { // nobody waits for it
		as.Group = r.group.Background()
		as.Group.Unpark()
	}
	ctx, cancel := context.WithCancelCause(fetchctx.Detach(ctx, as))
	stop := context.AfterFunc(k.life, func() { cancel(context.Cause(k.life)) })
	go func() {
		r.result.Err = secrets.NewError(secrets.ErrUnknown, "the fetch ended its goroutine")
		// Settling is deferred, for a panic in a layer must leave no caller waiting.
		defer func() {
			if p := recover(); p != nil {
				// Its text may quote a value.
				r.result = secrets.Result{Err: secrets.NewError(secrets.ErrUnknown, fmt.Sprintf("a panic with a %T", p))}
			}
			stop()
			cancel(nil)
			if as.Background {
				as.Group.Done()
			}
			if as.Background && !as.Probe {
				k.ahead.Add(-1)
			}
			r.callers.End()
			k.breaker.release(r)
			r.settle(errors.Is(context.Cause(k.life), secrets.ErrClosed))
			k.running.Done()
		}()
		r.result.Secret, r.result.Err = k.next.Fetch(ctx, r.document.ref())
	}()
}

func (r *renewal) settle(closed bool) {
	switch {
	case r.result.Err == nil && r.result.Secret.IsZero():
		r.result.Err = secrets.NewError(secrets.ErrUnknown, "the answer holds neither a secret nor an error")
	case closed && isContextError(r.result.Err):
		r.result.Err = secrets.NewError(secrets.ErrClosed, "")
	}
	if r.entry != nil {
		r.entry.renewal.CompareAndSwap(r, nil) // after a refresh it is another's
	}
	close(r.done)
	r.ended.End()
}

// renewed waits for the renewal r of e, which it runs if mine is true, and returns its answer. If that is ErrUnavailable, or the
// deadline of ctx comes first, it is the old value, as long as that may be served.
func (k *keyspace) renewed(ctx context.Context, e *entry, r *renewal, mine bool) secrets.Result {
	if mine {
		k.renew(ctx, r, fetchctx.Fetch{})
	} else {
		r.callers.Join(ctx)
		group := fetchctx.Of(ctx).Group
		group.Park()
		defer group.Unpark()
	}
	result, final := r.wait(ctx, nil)
	if !final {
		if old, ok := k.recollect(e.document); ok {
			return old
		}
	}
	return result
}

// wait returns the answer of r, and whether it is final. It is not if it is ErrUnavailable, or if the deadline of ctx or the
// patience comes first: then there may be something better in memory.
func (r *renewal) wait(ctx context.Context, patience <-chan time.Time) (result secrets.Result, final bool) {
	select {
	case <-r.done:
		return r.result, !errors.Is(r.result.Err, secrets.ErrUnavailable)
	case <-ctx.Done():
		err := ctx.Err()
		return secrets.Result{Err: err}, !errors.Is(err, context.DeadlineExceeded)
	case <-patience:
		return secrets.Result{}, false
	}
}

// abandonRenewal makes sure that no later caller waits for a renewal of d that has begun: a refresh comes after it.
func (k *keyspace) abandonRenewal(d docKey) {
	k.cache.mu.Lock()
	defer k.cache.mu.Unlock()
	if e, found := k.index.Load(d); found {
		e.renewal.Store(nil)
	}
}

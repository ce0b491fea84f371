package cache

import (
	"context"
	"errors"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// lookup looks d up and applies the circuit breaker. While the breaker is open, a read without a result gets the stale value, if it may
// be served, or ErrUnavailable. If a probe is due, the reader starts it and waits for it first, as do the other documents of its GetMany.
// waited is how long that took.
func (k *keyspace) lookup(ctx context.Context, d docKey) (found finding, e *entry, r secrets.Result, waited time.Duration) {
	found, e, r = k.find(d)
	if found == answer {
		return answer, e, r, 0
	}
	b := k.breakerOf(d)
	switch {
	case b.open() == nil:
		return found, e, r, 0
	case found == due:
		return postponed, e, r, 0
	}
	came := time.Now()
	if t := k.claimProbe(ctx, b, d, e); t != nil {
		r, ok := k.probe(ctx, b, t, e, d.ref())
		if ok {
			k.misses.Add(1)
			return answer, e, r, 0
		}
	} else if err := k.awaitProbe(ctx, b, e); err != nil {
		return answer, e, secrets.Result{Err: err}, 0
	}
	o := b.open()
	if o == nil {
		return found, e, r, time.Since(came)
	}
	if r = k.withoutAsking(d, o); r.Err != nil {
		k.backedOff.Add(1)
	}
	return answer, e, r, 0
}

// withoutAsking returns the result for d while the breaker is open with the state o.
func (k *keyspace) withoutAsking(d docKey, o *openState) secrets.Result {
	if old, ok := k.servable(d); ok {
		return old
	}
	return secrets.Result{Err: o.failure(d.ref(), k.clock.now())}
}

// claimProbe returns a task that the caller has to run as the probe of b, for d and its entry e, which may be nil. It returns nil if no
// probe is due.
func (k *keyspace) claimProbe(ctx context.Context, b *breaker, d docKey, e *entry) *task {
	now, known, failed := k.clock.now(), b.isKnown(e), k.hasFailed(d)
	if o := b.open(); o == nil || o.schedule(known).blocks(failed, now) {
		return nil // most readers need no lock
	}
	if t := newTask(ctx); b.claimProbe(t, known, failed, now) {
		return t
	}
	return nil
}

// hasFailed reports whether the last fetch of d failed, while the breaker was open or before.
func (k *keyspace) hasFailed(d docKey) bool {
	e, found := k.index.Load(d)
	return found && e.retryState().failures > 0
}

// probe runs t and waits for it up to the waitLimit. It reports whether there is an answer other than ErrUnavailable. t goes on without
// its caller: callers with short deadlines must not keep the breaker open.
func (k *keyspace) probe(ctx context.Context, b *breaker, t *task, e *entry, ref secrets.Ref) (r secrets.Result, ok bool) {
	limit := k.waitLimit(ctx, e, 0)
	k.run(ctx, t, fetchctx.Fetch{Probe: true}, k.next, ref, func() { b.releaseProbe(t) })
	if limit <= 0 { // do not rely on ctx: it may not end at its deadline
		return r, false
	}
	waitCtx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r = t.wait(waitCtx)
	switch late := waitCtx.Err() != nil && isContextError(r.Err); {
	case late && errors.Is(ctx.Err(), context.Canceled):
		return r, true
	case late:
		if e != nil {
			e.slow.Store(true)
		}
		return r, false
	default:
		return r, !errors.Is(r.Err, secrets.ErrUnavailable)
	}
}

// awaitProbe waits for the probe of another document of the same GetMany, up to the waitLimit. The GetMany waits for that probe anyway,
// and if the backend is back, its other documents can be fetched. A document with a stale value waits once in an outage. The error is that
// of a cancelled caller.
func (k *keyspace) awaitProbe(ctx context.Context, b *breaker, e *entry) error {
	group, o := fetchctx.Of(ctx).Group, b.open()
	if group == nil || o == nil {
		return nil
	}
	probe := o.schedule(b.isKnown(e)).probe
	limit := k.waitLimit(ctx, e, 0)
	if probe == nil || probe.group != group || limit <= 0 {
		return nil
	}
	waitCtx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	late := probe.ended.Wait(waitCtx) != nil
	switch {
	case late && errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case late && e != nil:
		e.slow.Store(true)
	}
	return nil
}

// probeAhead renews e with a probe in the background, if one is due. Otherwise it postpones the renewal to the next probe: memos of e are
// used until then, and reads of it stay fast.
func (k *keyspace) probeAhead(ctx context.Context, e *entry) {
	b := e.breaker
	if t := k.claimProbe(ctx, b, e.document, e); t != nil {
		k.run(ctx, t, fetchctx.Fetch{Probe: true, Background: true}, k.next, e.document.ref(), func() { b.releaseProbe(t) })
	} else if o := b.open(); o != nil {
		e.postpone(o.schedule(true).dueAt(k.hasFailed(e.document)))
	}
}

package cache

import (
	"context"
	"errors"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// lookup applies the circuit breaker to what memory knows: while it is open, what memory does not know is answered with the old
// value, if that may be served, or with ErrUnavailable. A reader that comes when it is time for a probe causes it, and waits for it
// first, as do the other documents of the same GetMany.
func (k *keyspace) lookup(ctx context.Context, d docKey) (finding, *entry, secrets.Result) {
	found, e, r := k.find(d)
	if found == answer {
		return answer, e, r
	}
	o := k.breaker.openFor(d)
	switch {
	case o == nil:
		return found, e, r
	case found == due:
		return putOff, e, r
	}
	if c := k.claim(ctx, d, e); c != nil {
		result, final := k.probe(ctx, c)
		if o = k.breaker.openFor(d); o == nil && !final {
			return found, e, r // another fetch has closed it
		}
		k.misses.Add(1)
		if !final {
			result = k.withoutAsking(d, o)
		}
		return answer, e, result
	}
	if err := k.awaitProbe(ctx, d, e); err != nil {
		return answer, e, secrets.Result{Err: err}
	}
	if o = k.breaker.openFor(d); o == nil {
		return found, e, r
	}
	if r = k.withoutAsking(d, o); r.Err != nil {
		k.backedOff.Add(1)
	}
	return answer, e, r
}

// withoutAsking returns the answer for d while the breaker is open, in the state o.
func (k *keyspace) withoutAsking(d docKey, o *opening) secrets.Result {
	if old, ok := k.recollect(d); ok {
		return old
	}
	return secrets.Result{Err: o.failure(d.ref(), k.clock.now())}
}

// claim returns a probe for d, whose value is that of e if it has any, which the caller has to run. It returns nil if it is
// not the time for one, if d is asked for already, or if k is closed.
func (k *keyspace) claim(ctx context.Context, d docKey, e *entry) *renewal {
	now, failed := k.clock.now(), k.hasFailed(d)
	if k.breaker.openFor(d).holds(failed, now) {
		return nil // most readers need no lock
	}
	k.cache.mu.Lock()
	defer k.cache.mu.Unlock()
	if k.closed || e != nil && e.renewal.Load() != nil {
		return nil
	}
	c := newRenewal(ctx, d, e)
	c.began, c.failed = now, failed
	if !k.breaker.claim(c, now) {
		return nil
	}
	if e != nil {
		e.renewal.Store(c)
	}
	k.running.Add(1) // here, where Close cannot have passed
	return c
}

// hasFailed reports whether d could not be had at the last attempt, while the breaker was open or before.
func (k *keyspace) hasFailed(d docKey) bool {
	e, found := k.index.Load(d)
	return found && e.troubles().failures > 0
}

// probe runs c as a renewal is, detached from ctx, so that callers with short deadlines cannot keep the breaker open. It waits for
// the answer with [keyspace.patience].
func (k *keyspace) probe(ctx context.Context, c *renewal) (r secrets.Result, final bool) {
	k.renew(ctx, c, fetchctx.Fetch{Probe: true})
	timer := time.NewTimer(k.patience(ctx, c, c.entry))
	defer timer.Stop()
	return c.wait(ctx, timer.C)
}

// awaitProbe waits for the probe of another document, if one is under way for the same GetMany: that has to wait for it all the
// same, and if the backend is back, the caller can ask. The error is that of a caller who was cancelled.
func (k *keyspace) awaitProbe(ctx context.Context, d docKey, e *entry) error {
	group, o := fetchctx.Of(ctx).Group, k.breaker.openFor(d)
	if group == nil || o == nil || o.probe == nil || o.probe.group != group {
		return nil
	}
	patience := k.patience(ctx, o.probe, e)
	if patience <= 0 {
		return nil
	}
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if o.probe.ended.Wait(patient) != nil && errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return nil
}

// patience returns for how long a caller with ctx, for which memory has e or nothing, waits for the probe c: not so long that it
// would lose by that what it gets else, the old value or the time for a fallback.
func (k *keyspace) patience(ctx context.Context, c *renewal, e *entry) time.Duration {
	now := k.clock.now()
	patience := probePatience - time.Duration(now-c.began)
	if e != nil {
		patience = min(patience, time.Duration(e.staleUntil()-now)/2)
	}
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline)/2)
	}
	return patience
}

// probeAhead makes the renewal of e, which was put off, a probe if it is time for one. Nobody waits for it. Otherwise the renewal
// is due again after the step, so that memos of e are made until then and reads of it stay quick.
func (k *keyspace) probeAhead(ctx context.Context, e *entry) {
	if c := k.claim(ctx, e.document, e); c != nil {
		k.renew(ctx, c, fetchctx.Fetch{Probe: true, Background: true})
	} else if o := k.breaker.openFor(e.document); o != nil {
		e.postpone(o.retryFor(k.hasFailed(e.document)))
	}
}

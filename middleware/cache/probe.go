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
// first, as do the other documents of the same GetMany. waited is for how long it has done so.
func (k *keyspace) lookup(ctx context.Context, d docKey) (found finding, e *entry, r secrets.Result, waited time.Duration) {
	found, e, r = k.find(d)
	if found == answer {
		return answer, e, r, 0
	}
	b := k.breakerOf(d)
	switch {
	case b.opening() == nil:
		return found, e, r, 0
	case found == due:
		return putOff, e, r, 0
	}
	came := time.Now()
	if t := k.claim(ctx, b, d, e); t != nil {
		r, ok := k.probe(ctx, b, t, e, d.ref())
		if ok {
			k.misses.Add(1)
			return answer, e, r, 0
		}
	} else if err := k.awaitProbe(ctx, b, e); err != nil {
		return answer, e, secrets.Result{Err: err}, 0
	}
	o := b.opening()
	if o == nil {
		return found, e, r, time.Since(came)
	}
	if r = k.withoutAsking(d, o); r.Err != nil {
		k.backedOff.Add(1)
	}
	return answer, e, r, 0
}

// withoutAsking returns the answer for d while the breaker is open, in the state o.
func (k *keyspace) withoutAsking(d docKey, o *opening) secrets.Result {
	if old, ok := k.recollect(d); ok {
		return old
	}
	return secrets.Result{Err: o.failure(d.ref(), k.clock.now())}
}

// claim returns a task that is the probe of b, for d, of which memory has the value e or nothing, and which the caller has to run. It
// returns nil if it is not the time for one.
func (k *keyspace) claim(ctx context.Context, b *breaker, d docKey, e *entry) *task {
	now, known, failed := k.clock.now(), b.knows(e), k.hasFailed(d)
	if o := b.opening(); o == nil || o.gate(known).holds(failed, now) {
		return nil // most readers need no lock
	}
	if t := newTask(ctx); b.claim(t, known, failed, now) {
		return t
	}
	return nil
}

// hasFailed reports whether d could not be had at the last attempt, while the breaker was open or before.
func (k *keyspace) hasFailed(d docKey) bool {
	e, found := k.index.Load(d)
	return found && e.troubles().failures > 0
}

// probe runs t, so that callers with short deadlines cannot keep the breaker open. It returns the answer if that comes while the
// caller has patience, and is not ErrUnavailable.
func (k *keyspace) probe(ctx context.Context, b *breaker, t *task, e *entry, ref secrets.Ref) (r secrets.Result, ok bool) {
	patience := k.patience(ctx, e, 0)
	k.run(ctx, t, fetchctx.Fetch{Probe: true}, k.next, ref, func() { b.release(t) })
	if patience <= 0 { // a context whose deadline has passed may never end
		return r, false
	}
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r = t.wait(patient)
	switch late := patient.Err() != nil && isContextError(r.Err); {
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

// awaitProbe waits for the probe of another document, if one is under way for the same GetMany: that has to wait for it all the
// same, and if the backend is back, the caller can ask. A document with a stale value waits so once in an outage. The error is that of
// a caller who was cancelled.
func (k *keyspace) awaitProbe(ctx context.Context, b *breaker, e *entry) error {
	group, o := fetchctx.Of(ctx).Group, b.opening()
	if group == nil || o == nil {
		return nil
	}
	probe := o.gate(b.knows(e)).probe
	patience := k.patience(ctx, e, 0)
	if probe == nil || probe.group != group || patience <= 0 {
		return nil
	}
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	late := probe.ended.Wait(patient) != nil
	switch {
	case late && errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case late && e != nil:
		e.slow.Store(true)
	}
	return nil
}

// probeAhead makes the renewal of e, which was put off, a probe if it is time for one. Nobody waits for it. Otherwise the renewal
// is due again after the step, so that memos of e are made until then and reads of it stay quick.
func (k *keyspace) probeAhead(ctx context.Context, e *entry) {
	b := e.breaker
	if t := k.claim(ctx, b, e.document, e); t != nil {
		k.run(ctx, t, fetchctx.Fetch{Probe: true, Background: true}, k.next, e.document.ref(), func() { b.release(t) })
	} else if o := b.opening(); o != nil {
		e.postpone(o.gate(true).opensAt(k.hasFailed(e.document)))
	}
}

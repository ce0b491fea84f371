package secrets

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/seed-5482dd03/secrets/internal/faults"
)

// ErrRejected says that a consumer of a credential, such as a database, has refused it. If the function given to [Client.Do] returns an
// error that wraps ErrRejected, Do tries another credential. It is not a class of an [Error].
var ErrRejected = errors.New("secrets: the consumer rejected the credential")

// Do calls f with the secret that key names, for a login that works during a rotation. If f refuses the secret, Do calls f with the next
// candidate, until f accepts one:
//
//	err := client.Do(ctx, "database", func(ctx context.Context, s secrets.Secret) error {
//		return login(ctx, s) // wraps secrets.ErrRejected if the server says that the password is wrong
//	})
//
// f refuses a secret with an error that wraps [ErrRejected], or one that [RejectedIf] matches. The candidates are:
//
//  1. the secret of [Client.Get];
//  2. the secret of [Client.Refresh];
//  3. other versions that the backend names ([Info.Alternates]): AWSPENDING and AWSPREVIOUS of AWS Secrets Manager, and the version
//     before the current one of Vault's KV version 2. Do skips one that it cannot get, such as AWSPENDING if a policy denies it. A key
//     with a version has no such candidates.
//
// Do tries each value once. The [Meta] of the secret names its version. It must be safe to call f several times, and with an old version.
// Read a user name and a password that must match from one document.
//
// Concurrent callers with the same refused value share the calls of the backend. If f refuses all candidates, Do does not call the backend
// again for 1 s, 2 s, up to 10 s: until then, Do tries the known candidates. If f accepts a version other than the current one, Do tries it
// first for a minute, as long as the current version stays the same.
//
// The error is that of Get, an [*Error], or that of f, unchanged. If f refuses all candidates, it is the error of f for the current
// version, joined with the error of Refresh if that failed.
func (c *Client) Do(ctx context.Context, key string, f func(context.Context, Secret) error, opts ...DoOption) error {
	d := do{client: c, key: key, f: f, faults: faults.List{Prefix: "secrets: Do: "}}
	d.faults.Checkf(f != nil, "a nil function")
	faults.Apply(&d.faults, opts, func(o DoOption) { o(&d) })
	if err := d.faults.Err(); err != nil {
		return err
	}
	s, err := c.Get(ctx, key)
	if err != nil {
		return err
	}
	var end time.Time
	for {
		done, err := d.pass(ctx, s)
		if done || d.budget == 0 {
			return err
		}
		if end.IsZero() {
			end = time.Now().Add(d.budget)
		}
		if !d.rest(ctx, s, end) {
			return err
		}
		next, failure := c.Get(ctx, key)
		switch class := Class(failure); {
		case failure == nil:
			s = next
		case class == ErrUnavailable && ctx.Err() == nil:
			// In an outage, go on with the known secret. After a denial or a deletion, stop.
		case errors.Is(err, class):
			return err
		default:
			return errors.Join(err, failure)
		}
	}
}

// DoOption configures a [Client.Do].
type DoOption func(d *do)

// RejectedIf makes Do treat an error of f as a refusal if is returns true for it. It may be given several times. Errors that wrap
// [ErrRejected] are always refusals. Default: no other errors are.
func RejectedIf(is func(error) bool) DoOption {
	return func(d *do) {
		d.faults.Checkf(is != nil, "RejectedIf: a nil function")
		d.rejectedIf = append(d.rejectedIf, is)
	}
}

// Bridge makes Do try again if f refuses all candidates, for at most budget and until ctx ends. It helps while a rotation has changed the
// consumer but not yet the backend, or the reverse. Do pauses for 1 s, 2 s, up to 10 s, and then tries all candidates again. A denial or a
// deletion stops it. Each try is a login: some consumers lock an account after too many failures. budget must be at least 1 ms. Default: Do
// tries each candidate once.
func Bridge(budget time.Duration) DoOption {
	return func(d *do) {
		d.budget = budget
		d.faults.CheckDuration("Bridge", budget)
		d.faults.Checkf(budget > 0, "Bridge: %v is not more than 0", budget)
	}
}

// do is one call of Do.
type do struct {
	client     *Client
	key        string
	f          func(context.Context, Secret) error
	rejectedIf []func(error) bool
	budget     time.Duration
	faults     faults.List
}

func (d *do) isRejected(err error) bool {
	return err != nil &&
		(errors.Is(err, ErrRejected) || slices.ContainsFunc(d.rejectedIf, func(is func(error) bool) bool { return is(err) }))
}

// pass tries s and the candidates after it. done means that f has accepted one, or failed for another reason.
func (d *do) pass(ctx context.Context, s Secret) (done bool, err error) {
	var tried []Secret
	try := func(candidate Secret) (rejected bool, err error) {
		tried = append(tried, candidate)
		err = d.f(ctx, candidate)
		return d.isRejected(err), err
	}
	known := d.client.refusals.find(d.key, s)
	if instead := known.accepted(); !instead.IsZero() {
		if rejected, err := try(instead); !rejected {
			return true, err
		}
		known.accept(Secret{})
	}
	rejected, refusal := try(s)
	if !rejected {
		return true, refusal
	}
	r := d.client.refusals.begin(d.key, s)
	for i := 0; ; i++ {
		candidate, more, err := r.candidate(ctx, d.client, i)
		if err != nil {
			return false, errors.Join(refusal, err)
		}
		if !more {
			return false, refusal
		}
		if candidate.IsZero() || isOver(candidate, time.Now()) || slices.ContainsFunc(tried, candidate.Equal) {
			continue
		}
		rejected, err := try(candidate)
		switch {
		case !rejected:
			if err == nil {
				r.accept(candidate)
			}
			return true, err
		case i == 0:
			refusal = err // of the current version
		}
	}
}

// rest waits until Do may fetch the candidates again after f refused s. It returns false without a wait if end has passed. The wait ends
// early with ctx and with the Client.
func (d *do) rest(ctx context.Context, s Secret, end time.Time) bool {
	now := time.Now()
	if !now.Before(end) {
		return false
	}
	at := now.Add(firstRound)
	if r := d.client.refusals.find(d.key, s); r != nil && now.Before(r.end()) {
		at = r.end()
	}
	timer := time.NewTimer(min(at.Sub(now), end.Sub(now)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-d.client.watches.ctx.Done():
	}
	return true
}

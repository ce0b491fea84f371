package secrets

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/seed-5482dd03/secrets/internal/faults"
)

// ErrRejected says that a consumer of a credential, such as a database, has refused it. The function given to [Client.Do] returns an
// error that wraps it, so that Do tries another credential. It is no class of an [Error].
var ErrRejected = errors.New("secrets: the consumer rejected the credential")

// Do calls f with the secret that key names. If the consumer refuses the credential, so that the error of f wraps [ErrRejected] or
// [RejectedIf] says so, Do calls f with the next candidate, until one is accepted:
//
//  1. the secret of [Client.Get];
//  2. that of [Client.Refresh];
//  3. other versions, where the backend names them ([Info.Alternates]): AWSPENDING and AWSPREVIOUS of AWS Secrets Manager, and the
//     version before the current one of Vault's KV version 2. One that cannot be had is passed over, such as AWSPENDING where a policy
//     hides it. A key with a version has none.
//
// Each value is tried once. [Meta] of the secret that f gets says which version it is. A user name and a password that belong together
// are read from one document, or they are of two versions.
//
//	err := client.Do(ctx, "database", func(ctx context.Context, s secrets.Secret) error {
//		return login(ctx, s) // which wraps secrets.ErrRejected if the server says that the password is wrong
//	})
//
// Concurrent callers with the same refused value share the calls to the backend. If f accepts no candidate, Do does not ask the backend
// again for 1 s, 2 s, up to 10 s: until then, calls of Do try the known candidates. If f accepts another version than the current one, Do
// tries that version first for a minute, while the current one stays the same. It must be safe to call f again, and with an old version.
//
// The error is that of Get, an [*Error], or that of f, as it is. If f refuses all candidates, it is that for the current version, joined
// with the error of Refresh if that has failed.
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
			// In an outage it goes on with what it has. After a denial or a deletion, nothing is tried any more.
		case errors.Is(err, class):
			return err
		default:
			return errors.Join(err, failure)
		}
	}
}

// DoOption configures a [Client.Do].
type DoOption func(d *do)

// RejectedIf makes Do take an error of f for a refusal if is reports true. It may be given several times. Default: only errors that wrap
// [ErrRejected], which always count.
func RejectedIf(is func(error) bool) DoOption {
	return func(d *do) {
		d.faults.Checkf(is != nil, "RejectedIf: a nil function")
		d.rejectedIf = append(d.rejectedIf, is)
	}
}

// Bridge makes Do try again if f accepts no candidate, for at most budget, and no longer than ctx. Do pauses for 1 s, 2 s, up to 10 s, and
// then tries all candidates again. It stops at a denial or a deletion. So Do waits while a rotation has changed only one of consumer and
// backend. Each try is a login; a consumer may lock out who fails too often. budget must be at least 1 ms. Default: each candidate once.
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

// pass tries s and the candidates after it, and reports whether f has accepted one, or failed for another reason.
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
			refusal = err // it is the current version
		}
	}
}

// rest waits until the candidates are to be asked for again after s was refused, and reports whether there is time for that before end.
// It does not wait past the end of ctx, or of the Client.
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

// Package fallback asks several backends in turn.
//
//	client, err := secrets.New(vaultBackend, secrets.WithFallback(fallback.To(env.New())))
//
// The package holds two policies, [To] and [OnNotFound]. The Client runs the chain. A policy of the program's own is any type that
// implements secrets.Fallback.
//
// Whether the next backend is asked depends on the class of the answer:
//
//   - secrets.ErrNotFound: always.
//   - secrets.ErrUnavailable: with [To], not with [OnNotFound].
//   - Everything else stops the chain. A denial is an answer, and a weaker source must not replace it. So is a deleted
//     secret, or a document without the field: a user name of one backend must not meet a password of another.
//
// A chain answers with one class: that of the answer that stopped it, else the first one that is not ErrNotFound. An
// outage does not give way to an absence, though: if a backend was unavailable, and one behind it stops the chain with a
// deleted secret or a missing field, both of which are ErrNotFound too, the class is that of the outage. So a chain says
// ErrNotFound, of whatever kind, only if every backend that it asked did. The other answers stand in the Causes of the
// error. Meta.Backend of a secret tells who answered.
//
// The cache stands below the chain, one keyspace a backend: a stale value of the first backend comes before a fresh one of
// the second, and a value of the second is never kept as the first's.
package fallback

import (
	"errors"
	"slices"

	"github.com/seed-5482dd03/secrets"
)

// Fallback is a policy. Make one with [To] or [OnNotFound]. It is immutable and safe for concurrent use.
type Fallback struct {
	backends []secrets.Backend
	after    []error // classes
}

// To returns a policy that asks the next backend if one does not have the secret, and if it is unavailable.
func To(backends ...secrets.Backend) *Fallback {
	return &Fallback{slices.Clone(backends), []error{secrets.ErrNotFound, secrets.ErrUnavailable}}
}

// OnNotFound returns a policy that asks the next backend only if one does not have the secret. An outage of the first is an
// error, also where the next could answer.
func OnNotFound(backends ...secrets.Backend) *Fallback {
	return &Fallback{slices.Clone(backends), []error{secrets.ErrNotFound}}
}

// Validate returns an error for a Fallback that [To] or [OnNotFound] has not made. secrets.New calls it.
func (f *Fallback) Validate() error {
	if f.after == nil {
		return errors.New("fallback: a zero Fallback; make it with fallback.To or fallback.OnNotFound")
	}
	return nil
}

// Backends returns the backends, without the one that was given to secrets.New.
func (f *Fallback) Backends() []secrets.Backend { return slices.Clone(f.backends) }

// GoesOn reports whether the next backend is asked after a failure of class.
func (f *Fallback) GoesOn(class error) bool { return slices.Contains(f.after, class) }

var _ secrets.Fallback = (*Fallback)(nil)

// Package fallback chains backends: if one does not have a secret, the next one is asked.
//
//	client, err := secrets.New(vaultBackend, secrets.WithFallback(fallback.To(env.New())))
//
// [To] also goes on after an outage, [OnNotFound] does not. The Client runs the chain. For another policy, implement secrets.Fallback.
//
// # When the next backend is asked
//
//   - After secrets.ErrNotFound: always.
//   - After secrets.ErrUnavailable: with [To].
//   - After any other failure: never. A denial must not be replaced by the answer of a weaker source. Neither must a deleted secret or a
//     missing field: a user name of one backend must not be combined with a password of another.
//
// Meta.Backend of a secret is the backend that answered.
//
// # Errors
//
// The error of a chain has the class of the failure that stopped it, or else the first class that is not ErrNotFound. There is one
// exception: a deleted secret or a missing field, both of which are ErrNotFound too, does not hide an earlier outage. So the error is
// ErrNotFound, of any kind, only if each backend that was asked returned that. The other failures are in its Causes.
//
// # Caching
//
// The cache is below the chain, and each backend has its own part of it. A stale value of the first backend comes before a fresh value of
// the second. A value of the second is never cached as one of the first.
package fallback

import (
	"errors"
	"slices"

	"github.com/seed-5482dd03/secrets"
)

// Fallback is a policy for secrets.WithFallback. Make one with [To] or [OnNotFound]. It is immutable and safe for concurrent use.
type Fallback struct {
	backends []secrets.Backend
	after    []error // classes after which the next backend is asked
}

// To returns a policy that asks the next backend after a not-found and after an outage. backends are asked in this order, after the one
// given to secrets.New.
func To(backends ...secrets.Backend) *Fallback {
	return &Fallback{slices.Clone(backends), []error{secrets.ErrNotFound, secrets.ErrUnavailable}}
}

// OnNotFound returns a policy that asks the next backend only after a not-found. An outage of the first backend is an error, even if the
// next one has the secret.
func OnNotFound(backends ...secrets.Backend) *Fallback {
	return &Fallback{slices.Clone(backends), []error{secrets.ErrNotFound}}
}

// Validate returns an error for a Fallback that was not made with [To] or [OnNotFound]. secrets.New calls it.
func (f *Fallback) Validate() error {
	if f.after == nil {
		return errors.New("fallback: a zero Fallback; make it with fallback.To or fallback.OnNotFound")
	}
	return nil
}

// Backends returns the backends of the policy, without the one given to secrets.New.
func (f *Fallback) Backends() []secrets.Backend { return slices.Clone(f.backends) }

// GoesOn reports whether the next backend is asked after a failure of that class.
func (f *Fallback) GoesOn(class error) bool { return slices.Contains(f.after, class) }

var _ secrets.Fallback = (*Fallback)(nil)

// Package dedup lets concurrent callers of one document share a fetch.
//
// middleware.Standard installs it. To install it alone:
//
//	client, err := secrets.New(backend, secrets.WithDedup(dedup.New()))
//
// # Flights
//
// A shared fetch is a flight. It does not belong to any of its callers:
//
//   - A caller whose context ends leaves at once. The flight goes on: its answer fills the cache, and its failure counts. It ends with
//     secrets.WithTimeout or with the Client.
//   - After the last caller has left, the next caller begins another flight, since the first may hang. At most three flights of a document
//     run at a time. Further callers join the newest.
//   - A secrets.Client.Refresh, and any call after an invalidation, does not join a flight that began before it. If one runs, such calls
//     share the next flight, which begins when that one has ended, or after 1 s. So a hundred concurrent refreshes are two calls of the
//     backend.
//
// # Errors
//
// All callers of a flight get its error. If the layer below panics or ends its goroutine, they get secrets.ErrUnknown, and the program
// goes on.
//
// # Limits
//
// A flight has the context values of its first caller, without that caller's cancellation and deadline. The answer of a backend must not
// depend on context values: use one Client per tenant.
package dedup

import (
	"errors"

	"github.com/seed-5482dd03/secrets"
)

// Dedup is the layer. Make one with [New], and install it with secrets.WithDedup. Several Clients may share one; each has flights of its
// own. It is safe for concurrent use.
type Dedup struct{ made bool }

// New returns a Dedup. It has no options.
func New() *Dedup { return &Dedup{made: true} }

// Validate returns an error for a Dedup that was not made with [New]. secrets.New calls it.
func (d *Dedup) Validate() error {
	if !d.made {
		return errors.New("dedup: a zero Dedup; make it with dedup.New")
	}
	return nil
}

// NewDedup returns the flights for one backend of one Client. secrets.New calls it.
func (d *Dedup) NewDedup(info secrets.Info, next secrets.Fetcher) secrets.Dedup {
	return newFlights(info.Name, next)
}

var _ secrets.DedupLayer = (*Dedup)(nil)

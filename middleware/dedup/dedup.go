// Package dedup is the layer that lets concurrent callers of one document share a fetch.
//
// Install it with secrets.WithDedup, or with middleware.Standard:
//
//	client, err := secrets.New(backend, secrets.WithDedup(dedup.New()))
//
// A shared fetch, a flight, belongs to none of its callers:
//
//   - A caller that gives up leaves on its own context, at once. The flight goes on: its answer fills the cache, and its failure
//     counts. secrets.WithTimeout ends it, and the end of the Client.
//   - After the last caller has left, a newcomer begins another flight, since the one before may hang. At most three of one document
//     run at a time; then newcomers join the newest.
//   - A secrets.Client.Refresh, and any call after an invalidation, joins no flight that began before it. Those that come while one
//     runs share the next one, which begins when that has ended, but after a second at the latest. So a hundred concurrent
//     refreshes are two calls of the backend.
//   - If what is below panics or ends its goroutine, all callers get secrets.ErrUnknown, and the process lives on.
//
// A flight keeps the context values of its first caller, without its cancellation and deadline. A backend must not let
// context values decide its answer: give each tenant a Client of its own.
package dedup

import (
	"errors"

	"github.com/seed-5482dd03/secrets"
)

// Dedup is the layer. It may be given to several Clients; each has flights of its own. It is safe for concurrent use. Make one with
// [New].
type Dedup struct{ made bool }

// New returns the layer. It has no options.
func New() *Dedup { return &Dedup{made: true} }

// Validate returns an error for a Dedup that [New] has not made. secrets.New calls it.
func (d *Dedup) Validate() error {
	if !d.made {
		return errors.New("dedup: a zero Dedup; make it with dedup.New")
	}
	return nil
}

// NewDedup returns the flights to next. secrets.New calls it.
func (d *Dedup) NewDedup(info secrets.Info, next secrets.Fetcher) secrets.Dedup {
	return newFlights(info.Name, next)
}

var _ secrets.DedupLayer = (*Dedup)(nil)

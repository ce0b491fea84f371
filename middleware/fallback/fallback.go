// Package fallback asks several backends in turn.
//
//	client, err := secrets.New(vaultBackend, secrets.WithFallback(fallback.To(env.New())))
//
// Whether the next backend is asked depends on the class of the answer:
//
//   - secrets.ErrNotFound: always.
//   - secrets.ErrUnavailable: with [To], not with [OnNotFound].
//   - Everything else stops the chain. A denial is an answer, and a weaker source must not replace it. So is a deleted
//     secret, or a document without the field: a user name of one backend must not meet a password of another.
//
// A chain answers with one class: that of the answer that stopped it, else the first one that is not ErrNotFound. So it
// says ErrNotFound only if every backend did. The other answers stand in the Causes of the error. Meta.Backend of a secret
// tells who answered.
//
// The cache stands below the chain, one keyspace a backend: a stale value of the first backend comes before a fresh one of
// the second, and a value of the second is never kept as the first's.
package fallback

import (
	"context"
	"errors"
	"slices"

	"github.com/seed-5482dd03/secrets"
)

// Fallback is a chain of backends. It is immutable and safe for concurrent use.
type Fallback struct {
	backends  []secrets.Backend
	onOutages bool
}

// To returns a chain that asks the next backend if one does not have the secret, and if it is unavailable.
func To(backends ...secrets.Backend) *Fallback {
	return &Fallback{backends: slices.Clone(backends), onOutages: true}
}

// OnNotFound returns a chain that asks the next backend only if one does not have the secret. An outage of the first is an
// error, also where the next could answer.
func OnNotFound(backends ...secrets.Backend) *Fallback {
	return &Fallback{backends: slices.Clone(backends)}
}

// Backends returns the backends of the chain, without the one that was given to secrets.New.
func (f *Fallback) Backends() []secrets.Backend { return slices.Clone(f.backends) }

// Chain returns a Fetcher that asks sources in turn.
func (f *Fallback) Chain(sources []secrets.Fetcher) secrets.Fetcher {
	c := &chain{sources: slices.Clone(sources), onOutages: f.onOutages}
	for _, source := range sources {
		m, ok := source.(memory)
		if !ok {
			break
		}
		c.memories = append(c.memories, m)
	}
	return c
}

var _ secrets.Fallback = (*Fallback)(nil)

type chain struct {
	sources   []secrets.Fetcher
	memories  []memory // of the sources, up to the first that has none
	onOutages bool
}

// memory is an optional interface of a source: its cache's memory of hits. It answers without a fetch; a zero Secret that
// is known is a not-found.
type memory interface {
	Recall(key string) (secret secrets.Secret, known bool)
	RecallMany(keys []string, found map[string]secrets.Secret) bool
}

// Recall answers for key as Fetch would, if the memories of the sources know enough.
func (c *chain) Recall(key string) (secret secrets.Secret, known bool) {
	for _, m := range c.memories {
		secret, known = m.Recall(key)
		if !known || !secret.IsZero() {
			return secret, known
		}
	}
	return secrets.Secret{}, false
}

// RecallMany answers for keys if the first source has them all.
func (c *chain) RecallMany(keys []string, found map[string]secrets.Secret) bool {
	return len(c.memories) > 0 && c.memories[0].RecallMany(keys, found)
}

// Fetch asks the sources in turn until an answer stops the chain.
func (c *chain) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	var t trail
	for i, source := range c.sources {
		if i > 0 && ctx.Err() != nil {
			return secrets.Secret{}, ctx.Err() // the answers so far are not those of the whole chain
		}
		secret, err := source.Fetch(ctx, ref)
		if err == nil {
			return secret, nil
		}
		t = append(t, err)
		if !c.goesOn(err) {
			return secrets.Secret{}, t.stopped()
		}
	}
	return secrets.Secret{}, t.exhausted()
}

// FetchMany asks each source once, for the refs that the sources before it left open.
func (c *chain) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	results := make([]secrets.Result, len(refs))
	trails := make([]trail, len(refs))
	open := make([]int, len(refs)) // places in refs
	for i := range refs {
		open[i] = i
	}
	for n, source := range c.sources {
		if len(open) == 0 {
			return results
		}
		if n > 0 && ctx.Err() != nil {
			for _, i := range open {
				results[i].Err = ctx.Err()
			}
			return results
		}
		ask := make([]secrets.Ref, len(open))
		for k, i := range open {
			ask[k] = refs[i]
		}
		answers := source.FetchMany(ctx, ask)
		var next []int
		for k, i := range open {
			r := secrets.Result{Err: &secrets.Error{Err: secrets.ErrUnknown, Detail: "a layer left the key unanswered"}}
			if k < len(answers) {
				r = answers[k]
			}
			if r.Err == nil {
				results[i] = r
				continue
			}
			trails[i] = append(trails[i], r.Err)
			if c.goesOn(r.Err) {
				next = append(next, i)
			} else {
				results[i].Err = trails[i].stopped()
			}
		}
		open = next
	}
	for _, i := range open {
		results[i].Err = trails[i].exhausted()
	}
	return results
}

// goesOn reports whether the next source is asked after err.
func (c *chain) goesOn(err error) bool {
	switch secrets.Class(err) { //nolint:errorlint // Class returns the sentinels themselves
	case secrets.ErrNotFound:
		return true
	case secrets.ErrUnavailable:
		return c.onOutages
	default:
		return false
	}
}

var _ secrets.Fetcher = (*chain)(nil)

// trail is what the sources answered for one ref, in the order in which they were asked. None of it is a secret.
type trail []error

// stopped is the error of a chain that the last answer stopped.
func (t trail) stopped() error { return t.because(len(t) - 1) }

// exhausted is the error of a chain that no answer stopped.
func (t trail) exhausted() error {
	// A chain that could not ask everybody must not read as "not found".
	return t.because(max(0, slices.IndexFunc(t, func(err error) bool { return !errors.Is(err, secrets.ErrNotFound) })))
}

// because returns the answer i, with the others as its causes.
func (t trail) because(i int) error {
	var main *secrets.Error
	if len(t) == 1 || !errors.As(t[i], &main) {
		return t[i]
	}
	chosen := *main
	chosen.Causes = slices.Clip(chosen.Causes)
	for k, err := range t {
		var cause *secrets.Error
		if k != i && errors.As(err, &cause) {
			chosen.Causes = append(chosen.Causes, cause)
		}
	}
	return &chosen
}

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
	"context"
	"errors"
	"fmt"
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
	var room [2]answer // most chains are that short, and need no garbage for it
	t := trail(room[:0])
	for i, source := range c.sources {
		if i > 0 && ctx.Err() != nil {
			return secrets.Secret{}, ctx.Err() // the answers so far are not those of the whole chain
		}
		secret, err := source.Fetch(ctx, ref)
		if err == nil {
			return secret, nil
		}
		var stop error
		if t, stop = c.note(ctx, t, source, err); stop != nil {
			return secrets.Secret{}, stop
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
		var next []int
		for k, r := range ask(ctx, source, refs, open) {
			i := open[k]
			if r.Err == nil {
				results[i] = r
				continue
			}
			trails[i], results[i].Err = c.note(ctx, trails[i], source, r.Err)
			if results[i].Err == nil {
				next = append(next, i)
			}
		}
		open = next
	}
	for _, i := range open {
		results[i].Err = trails[i].exhausted()
	}
	return results
}

// ask returns one answer of source for each ref at the places.
func ask(ctx context.Context, source secrets.Fetcher, refs []secrets.Ref, places []int) []secrets.Result {
	asked := make([]secrets.Ref, len(places))
	for k, i := range places {
		asked[k] = refs[i]
	}
	answers := source.FetchMany(ctx, asked)
	if len(answers) == len(asked) {
		return answers
	}
	// Which answer belongs to which ref is a guess now, and so is which ref the next source may be asked for.
	detail := fmt.Sprintf("a layer: %d answers to %d questions", len(answers), len(asked))
	answers = make([]secrets.Result, len(asked))
	for k := range answers {
		answers[k].Err = &secrets.Error{Err: secrets.ErrUnknown, Detail: detail}
	}
	return answers
}

// note returns t with the failure err of source, and the error of the chain if that stops it.
func (c *chain) note(ctx context.Context, t trail, source secrets.Fetcher, err error) (trail, error) {
	class := secrets.Class(err)
	if class == secrets.ErrUnavailable && ctx.Err() != nil {
		return t, ctx.Err() // it was the caller that gave up, not the source
	}
	t = append(t, answer{source, err, class})
	if c.goesOn(class) {
		return t, nil
	}
	return t, t.stopped()
}

// goesOn reports whether the next source is asked after a failure of class.
func (c *chain) goesOn(class error) bool {
	return class == secrets.ErrNotFound || c.onOutages && class == secrets.ErrUnavailable
}

var _ secrets.Fetcher = (*chain)(nil)

// answer is the error of a source that had no secret, and its class.
type answer struct {
	source     secrets.Fetcher
	err, class error
}

func (a answer) isNotFound() bool { return errors.Is(a.class, secrets.ErrNotFound) }

// failure returns a as an error that is the caller's to change. Nothing of a foreign error is kept.
func (a answer) failure() *secrets.Error {
	var e secrets.Error
	if own, ok := a.err.(*secrets.Error); ok && own != nil { // as it comes from a source; what else there is, is searched
		e = *own
	} else if own := find(a.err); own != nil {
		e = *own
	}
	e.Err = a.class // an error that joins several must not go on as the first of them
	if s, ok := a.source.(interface{ Name() string }); ok && e.Backend == "" {
		e.Backend = s.Name()
	}
	return &e
}

func find(err error) *secrets.Error {
	var own *secrets.Error
	errors.As(err, &own)
	return own
}

// trail is what the sources answered for one ref, in the order in which they were asked. None of it is a secret.
type trail []answer

// exhausted is the error of a chain that no answer stopped.
func (t trail) exhausted() error {
	if len(t) == 0 {
		return &secrets.Error{Err: secrets.ErrUnknown, Detail: "the chain has no backend to ask"}
	}
	return t.because(max(0, t.firstFailure()))
}

// stopped is the error of a chain that its last answer stopped.
func (t trail) stopped() error {
	last := len(t) - 1
	if first := t.firstFailure(); first >= 0 && t[last].isNotFound() {
		return t.because(first)
	}
	return t.because(last)
}

// firstFailure returns the place of the first answer that is no kind of ErrNotFound, or -1. A chain with one must not read
// as "not found": whoever could not be asked may have the secret.
func (t trail) firstFailure() int {
	return slices.IndexFunc(t, func(a answer) bool { return !a.isNotFound() })
}

// because returns the failure i, with the others as its causes.
func (t trail) because(i int) error {
	chosen := t[i].failure()
	chosen.Causes = slices.Clip(chosen.Causes)
	for k, cause := range t {
		if k != i {
			chosen.Causes = append(chosen.Causes, cause.failure())
		}
	}
	return chosen
}

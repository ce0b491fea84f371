package secrets

import (
	"context"
	"errors"
	"slices"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// chain asks several backends in turn. The policy of [WithFallback] says after which classes it goes on; what a failure of the
// whole chain is, is decided here.
type chain struct {
	stacks []*stack
	goesOn []error // the classes
}

// newChain returns the chain over stacks.
func (c *config) newChain(stacks []*stack) *chain {
	ch := &chain{stacks: stacks}
	// A denial is an answer: a weaker source must not replace it. Neither may it replace a deleted secret or a missing field: a
	// user name of one backend must not meet a password of another.
	for _, class := range []error{ErrNotFound, ErrUnavailable, ErrMalformed, ErrInvalidKey, ErrUnknown} {
		goes := false
		c.try("WithFallback: GoesOn", func() { goes = c.fallback.GoesOn(class) })
		if goes {
			ch.goesOn = append(ch.goesOn, class)
		}
	}
	return ch
}

// Fetch asks the backends in turn until an answer stops the chain.
func (c *chain) Fetch(ctx context.Context, ref Ref) (Secret, error) {
	var room [2]failed // most chains are that short, and need no garbage for it
	f := failures(room[:0])
	for i, s := range c.stacks {
		if i > 0 && ctx.Err() != nil { // the answers so far are not those of the whole chain
			return Secret{}, contextError(ctx, s.info.Name, ref.String())
		}
		secret, err := s.Fetch(ctx, ref)
		if err == nil {
			if f.first() >= 0 {
				fetchctx.Of(ctx).Group.Note(passedOver{ref})
			}
			return secret, nil
		}
		class := Class(err)
		if isBareContextError(class) {
			return Secret{}, err // it was the caller that gave up, not the backend
		}
		f = append(f, failed{s.info.Name, err, class})
		if !slices.Contains(c.goesOn, class) {
			return Secret{}, f.stopped()
		}
	}
	return Secret{}, f.exhausted()
}

// passedOver is noted in a group for a ref that a source was passed over for by a chain, though it may have the secret.
type passedOver struct{ ref Ref }

// Recall answers for key as Fetch would, if the caches know enough.
func (c *chain) Recall(key string) (s Secret, known bool) {
	for _, stack := range c.stacks {
		if stack.cache == nil {
			break
		}
		s, known = stack.cache.Recall(key)
		if !known || !s.IsZero() {
			return s, known
		}
		if !slices.Contains(c.goesOn, ErrNotFound) {
			break
		}
	}
	return Secret{}, false
}

// RecallMany answers for keys if the cache of the first backend has them all.
func (c *chain) RecallMany(keys []string, found map[string]Secret) bool {
	first := c.stacks[0].cache
	return first != nil && first.RecallMany(keys, found)
}

var (
	_ Fetcher = (*chain)(nil)
	_ memory  = (*chain)(nil)
)

// failed is the error of a backend that had no secret, and its class.
type failed struct {
	backend    string
	err, class error
}

func (f failed) isNotFound() bool { return errors.Is(f.class, ErrNotFound) }

// toError returns f as an error that is the caller's to change. Nothing of a foreign error is kept.
func (f failed) toError() *Error {
	var e Error
	if own, ok := f.err.(*Error); ok && own != nil {
		e = *own
	} else if errors.As(f.err, &own) && own != nil {
		e = *own
	}
	e.Err = f.class // an error that joins several must not go on as the first of them
	if e.Backend == "" {
		e.Backend = f.backend
	}
	return &e
}

// failures are what the backends answered for one ref, in the order in which they were asked.
type failures []failed

// exhausted is the error of a chain that no answer stopped.
func (f failures) exhausted() error { return f.withCauses(max(0, f.first())) }

// stopped is the error of a chain that its last answer stopped.
func (f failures) stopped() error {
	last := len(f) - 1
	if first := f.first(); first >= 0 && f[last].isNotFound() {
		return f.withCauses(first)
	}
	return f.withCauses(last)
}

// first returns the index of the first failure that is no kind of ErrNotFound, or -1. A chain with one must not read as "not
// found": the backend that could not be asked may have the secret.
func (f failures) first() int {
	return slices.IndexFunc(f, func(one failed) bool { return !one.isNotFound() })
}

// withCauses returns failure i, with the others as its causes.
func (f failures) withCauses(i int) error {
	chosen := f[i].toError()
	chosen.Causes = slices.Clip(chosen.Causes)
	for k, cause := range f {
		if k != i {
			chosen.Causes = append(chosen.Causes, cause.toError())
		}
	}
	return chosen
}

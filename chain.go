package secrets

import (
	"context"
	"errors"
	"slices"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// chain calls several backends in order. The policy of [WithFallback] decides after which classes it goes on. The chain itself decides the
// error if no backend has the secret.
type chain struct {
	stacks []*stack
	goesOn []error // the classes
}

// newChain returns the chain over stacks.
func (c *config) newChain(stacks []*stack) *chain {
	ch := &chain{stacks: stacks}
	// The other classes always stop the chain. A denial is an answer, which a weaker source must not replace. The same holds for a deleted
	// secret and a missing field: a user name of one backend must not meet a password of another.
	for _, class := range []error{ErrNotFound, ErrUnavailable, ErrMalformed, ErrInvalidKey, ErrUnknown} {
		goes := false
		c.try("WithFallback: GoesOn", func() { goes = c.fallback.GoesOn(class) })
		if goes {
			ch.goesOn = append(ch.goesOn, class)
		}
	}
	return ch
}

// Fetch calls the backends in order until an answer stops the chain.
func (c *chain) Fetch(ctx context.Context, ref Ref) (Secret, error) {
	var room [2]failed // most chains are not longer; it stays on the stack
	f := failures(room[:0])
	for i, s := range c.stacks {
		if i > 0 && ctx.Err() != nil { // the chain is incomplete, so its answers do not count
			return Secret{}, contextError(ctx, s.info.Name, ref.String())
		}
		secret, err := s.Fetch(ctx, ref)
		if err == nil {
			if f.first() >= 0 {
				fetchctx.Of(ctx).Group.Note(skippedSource{ref})
			}
			return secret, nil
		}
		class := Class(err)
		if isBareContextError(class) {
			return Secret{}, err // the caller gave up, not the backend
		}
		f = append(f, failed{s.info.Name, err, class})
		if !slices.Contains(c.goesOn, class) {
			return Secret{}, f.stopped()
		}
	}
	return Secret{}, f.exhausted()
}

// skippedSource is noted in a group for a ref if the chain skipped a backend that may have the secret.
type skippedSource struct{ ref Ref }

// Recall returns what Fetch would return for key, if the caches hold enough.
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

// RecallMany returns the secrets of keys if the cache of the first backend has them all.
func (c *chain) RecallMany(keys []string, found map[string]Secret) bool {
	first := c.stacks[0].cache
	return first != nil && first.RecallMany(keys, found)
}

var (
	_ Fetcher = (*chain)(nil)
	_ memory  = (*chain)(nil)
)

// failed is the error of one backend, and its class.
type failed struct {
	backend    string
	err, class error
}

func (f failed) isNotFound() bool { return errors.Is(f.class, ErrNotFound) }

// toError returns f as a new Error, which the caller may change. It holds nothing of a foreign error.
func (f failed) toError() *Error {
	var e Error
	if own, ok := f.err.(*Error); ok && own != nil {
		e = *own
	} else if errors.As(f.err, &own) && own != nil {
		e = *own
	}
	e.Err = f.class // errors.As finds the first of several joined errors; f.class is that of all
	if e.Backend == "" {
		e.Backend = f.backend
	}
	return &e
}

// failures are the failures of the backends for one ref, in the order of the chain.
type failures []failed

// exhausted returns the error of a chain in which no failure stopped the chain.
func (f failures) exhausted() error { return f.withCauses(max(0, f.first())) }

// stopped returns the error of a chain that the last failure stopped.
func (f failures) stopped() error {
	last := len(f) - 1
	if first := f.first(); first >= 0 && f[last].isNotFound() {
		return f.withCauses(first)
	}
	return f.withCauses(last)
}

// first returns the index of the first failure that is not ErrNotFound, or -1. A chain with such a failure must not read as "not found":
// that backend may have the secret.
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

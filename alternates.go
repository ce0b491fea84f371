package secrets

import (
	"context"
	"errors"
	"slices"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// Alternates returns the other versions of a secret that its backend names ([Info.Alternates]), in the order of the backend: AWSPENDING and
// AWSPREVIOUS of AWS Secrets Manager, and the version before the current one of Vault's KV version 2. It leaves out versions that are
// missing, deleted or denied; any other failure is the error. The result is empty if the backend names no versions, or if key has a
// version.
//
// Alternates fetches the current version, as [Client.Refresh] does, and then the others, one after the other. If no backend of the Client
// names versions, it makes no call. Unlike [Client.Do], it returns versions with equal values, and remembers nothing.
//
// With a fallback, all versions are from the backend that has the current one.
func (c *Client) Alternates(ctx context.Context, key string) ([]Secret, error) {
	if class := c.refuses(ctx); class != nil {
		return nil, &Error{Key: key, Err: class}
	}
	ref, err := ParseRef(key)
	if err != nil {
		return nil, err
	}
	if ref.Version != "" || !slices.ContainsFunc(c.stacks, func(s *stack) bool { return s.info.Alternates != nil }) {
		return nil, nil
	}
	current, err := c.Refresh(ctx, key)
	if err != nil {
		return nil, err
	}
	var others []Secret
	for _, ref := range c.alternates(key, current) {
		other, err := c.alternate(ctx, ref, current)
		if err != nil {
			return nil, err
		}
		if !other.IsZero() {
			others = append(others, other)
		}
	}
	return others, nil
}

// alternates returns the refs of the other versions of key that the backend of s names. s is the current version.
func (c *Client) alternates(key string, s Secret) (refs []Ref) {
	ref, err := ParseRef(key)
	i := slices.IndexFunc(c.stacks, func(stack *stack) bool { return stack.info.Name == s.Meta().Backend })
	if err != nil || ref.Version != "" || i < 0 || c.stacks[i].info.Alternates == nil {
		return nil
	}
	defer func() { _ = recover() }() // if Info.Alternates panics, there are none
	doc := c.stacks[i].place(ref)
	doc.Version = s.Meta().Version
	for _, other := range c.stacks[i].info.Alternates(doc) {
		if other.Version != "" {
			refs = append(refs, Ref{Path: ref.Path, Version: other.Version, Field: ref.Field, Whole: ref.Whole})
		}
	}
	return refs
}

// alternate fetches ref, another version of current. The result is zero if the backend of current does not have it, or denies it. An answer
// of another backend does not count.
func (c *Client) alternate(ctx context.Context, ref Ref, current Secret) (Secret, error) {
	backend := current.Meta().Backend
	s, err := c.fetch(ctx, ref.String(), fetchctx.Fetch{Fresh: true})
	if err != nil {
		if class := classOf(err, backend); errors.Is(class, ErrNotFound) || class == ErrPermissionDenied {
			return Secret{}, nil
		}
		return Secret{}, err
	}
	if s.Meta().Backend != backend {
		return Secret{}, nil
	}
	return s, nil
}

// classOf returns the class of the answer of backend, if err holds it, and otherwise the class of err. If a backend does not have the
// version, the next one in the chain may fail otherwise: environment variables have no versions.
func classOf(err error, backend string) error {
	if chain, ok := errors.AsType[*Error](err); ok {
		for _, e := range append([]*Error{chain}, chain.Causes...) {
			if e.Backend == backend {
				return Class(e)
			}
		}
	}
	return Class(err)
}

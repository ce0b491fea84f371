package redact

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/internal/search"
)

const (
	// maxBytesOfCall bounds the documents of a call that are searched for in its error. A search for that many takes about 0.5 s.
	maxBytesOfCall = 2 << 20
	// shortestInErrors is the length in bytes of the shortest text that is masked in an error.
	shortestInErrors = 4

	withheld = "the detail is withheld: the documents of the call are too large to look for them in it"
)

// layer is the redaction of one backend of one Client.
type layer struct {
	next     secrets.Fetcher
	known    func() *memory
	id       uint64
	answered atomic.Bool // next has returned a value, which an error may quote
}

var _ secrets.Redaction = (*layer)(nil)

// HandedOut makes Handlers and Writers mask secret.
func (l *layer) HandedOut(ref secrets.Ref, secret secrets.Secret) {
	if value := secret.Reveal(); value != "" {
		l.answered.Store(true)
		l.known().handOut(place{ref, l.id}, value)
	}
}

// Close does nothing: what was handed out stays masked.
func (l *layer) Close() error { return nil }

func (l *layer) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	fetch := fetchctx.Of(ctx)
	if fetch.Origin == nil {
		fetch.Origin = new(fetchctx.Origin)
		ctx = fetchctx.With(ctx, fetch)
	}
	document := place{secrets.Ref{Path: ref.Path, Version: ref.Version}, l.id}
	secret, err := l.next.Fetch(ctx, ref)
	if value := secret.Reveal(); value != "" {
		l.known().fetch(document, value)
		l.answered.Store(true)
	}
	if err == nil {
		return secret, nil
	}
	last := l.known().lastOf(document)
	values, size := last[:], 0
	// The error may quote the value of another document of the same call.
	batch, _ := fetch.Origin.Results().([]secrets.Result)
	for _, r := range batch {
		if value := r.Secret.Reveal(); value != "" {
			values = append(values, value)
		}
	}
	for _, value := range values {
		size += len(value)
	}
	return secret, scrub(err, func(detail string) string {
		if size > maxBytesOfCall {
			return withheld
		}
		if detail = maskIn(detail, values); l.answered.Load() {
			detail, _ = l.known().set.Mask(detail)
		}
		return detail
	})
}

// maskIn masks all parts of values in detail.
func maskIn(detail string, values []string) string {
	set := search.New(mark, shortestInErrors, func(string) bool { return true })
	set.Confine(detail)
	for _, value := range values {
		for part := range parts(value, true) {
			if len(part) >= shortestInErrors {
				set.Add(part)
			}
		}
	}
	detail, _ = set.Mask(detail)
	return detail
}

// scrub returns err with masked details. Only the Detail of a [secrets.Error] and of its Causes can contain a value, since the Client drops
// all text of foreign errors.
func scrub(err error, mask func(detail string) string) error {
	var e *secrets.Error
	if !errors.As(err, &e) {
		return err
	}
	clean := scrubbed(e, mask)
	if clean == e {
		return err
	}
	clean.Err = secrets.Class(err)
	return clean
}

// scrubbed returns e if there is nothing to mask, and a masked copy otherwise.
func scrubbed(e *secrets.Error, mask func(detail string) string) *secrets.Error {
	if e == nil {
		return nil
	}
	c := *e
	if e.Detail != "" {
		c.Detail = mask(e.Detail)
	}
	changed := c.Detail != e.Detail
	c.Causes = slices.Clone(e.Causes)
	for i, cause := range e.Causes {
		c.Causes[i] = scrubbed(cause, mask)
		changed = changed || c.Causes[i] != cause
	}
	if !changed {
		return e
	}
	return &c
}

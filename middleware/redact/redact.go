// Package redact is the layer that takes values out of errors.
//
// It belongs into the slot of secrets.WithRedaction; middleware.Standard puts it there:
//
//	client, err := secrets.New(backend, secrets.WithRedaction(redact.New()))
//
// It is a second net. The first is that an error of the library holds no foreign error and no value: only a backend's own
// Detail reaches the caller. The layer remembers the values that it has seen pass, the current and one previous version of
// each document, and replaces them in every Detail by "[REDACTED]": as they are, line by line, each string and number
// inside a JSON document, and the JSON-, URL-, XML-, base64-, hex- and Go-quoted forms of them. It can not know a value that
// was never fetched, and leaves pieces under 4 bytes alone.
package redact

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/seed-5482dd03/secrets"
)

const defaultSize = 1000

// Option configures a [Redactor]. A value out of range is a fault that secrets.New returns.
type Option interface {
	apply(r *Redactor)
}

type optionFunc func(r *Redactor)

func (f optionFunc) apply(r *Redactor) { f(r) }

// WithSize sets of how many documents the values are remembered, for each backend, in the order of their last fetch. It
// must be more than 0. By default, it is 1,000.
func WithSize(documents int) Option { return optionFunc(func(r *Redactor) { r.size = documents }) }

// Redactor is the layer. It may be given to several Clients; each has a memory of its own. It is safe for concurrent use.
type Redactor struct {
	size   int
	faults []error
}

// New returns the layer with the options opts.
func New(opts ...Option) *Redactor {
	r := &Redactor{size: defaultSize}
	for _, o := range opts {
		if o == nil {
			r.faults = append(r.faults, errors.New("redact: a nil Option"))
			continue
		}
		o.apply(r)
	}
	if r.size <= 0 {
		r.faults = append(r.faults, fmt.Errorf("redact: WithSize: %d is not more than 0", r.size))
	}
	return r
}

// Validate returns the faults of the options, joined. secrets.New calls it.
func (r *Redactor) Validate() error { return errors.Join(r.faults...) }

// Wrap returns a Fetcher that takes values out of the errors of next.
func (r *Redactor) Wrap(next secrets.Fetcher) secrets.Fetcher {
	seen, err := simplelru.NewLRU[document, versions](max(1, r.size), nil)
	if err != nil {
		panic(err) // the size is more than 0
	}
	return &scrubber{next: next, seen: seen}
}

var _ secrets.Middleware = (*Redactor)(nil)

type document struct{ path, version string }

// versions are the last two values of a document.
type versions struct{ current, previous value }

// value is a secret with the texts by which it is found. These are computed when they are first needed, which for most
// values is never, and are kept where reflection can not read them, as the secret itself is.
type value struct {
	secret secrets.Secret
	forms  func() []string
}

type scrubber struct {
	next secrets.Fetcher

	mu   sync.Mutex
	seen *simplelru.LRU[document, versions]
}

func (s *scrubber) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	secret, err := s.next.Fetch(ctx, ref)
	s.remember(ref, secret)
	return secret, s.scrub(err)
}

func (s *scrubber) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	results := s.next.FetchMany(ctx, refs)
	for i, ref := range refs {
		if i < len(results) {
			s.remember(ref, results[i].Secret)
		}
	}
	// Only now, since the error of one may quote the value of another.
	for i := range results {
		results[i].Err = s.scrub(results[i].Err)
	}
	return results
}

func (s *scrubber) remember(ref secrets.Ref, secret secrets.Secret) {
	if secret.IsZero() {
		return
	}
	d := document{ref.Path, ref.Version}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, _ := s.seen.Get(d)
	if !v.current.secret.IsZero() && v.current.secret.Reveal() == secret.Reveal() {
		return
	}
	forms := sync.OnceValue(func() []string { return forms(secret.Reveal()) })
	s.seen.Add(d, versions{current: value{secret, forms}, previous: v.current})
}

// scrub returns err without the values that were seen. Only the Detail of an [secrets.Error] can hold one: everything else
// in a foreign error is dropped by the Client.
func (s *scrubber) scrub(err error) error {
	var e *secrets.Error
	if err == nil || !errors.As(err, &e) || e == nil || e.Detail == "" {
		return err
	}
	detail := mask(e.Detail, s.needles())
	if detail == e.Detail {
		return err
	}
	clean := *e
	clean.Detail = detail
	clean.Err = secrets.Class(err)
	return &clean
}

// needles returns the forms of all values that were seen.
func (s *scrubber) needles() []string {
	s.mu.Lock()
	seen := s.seen.Values()
	s.mu.Unlock()
	var all []string
	for _, v := range seen {
		for _, value := range []value{v.current, v.previous} {
			if value.forms != nil {
				all = append(all, value.forms()...)
			}
		}
	}
	return all
}

// Close forgets the values.
func (s *scrubber) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.Purge()
	return nil
}

var _ secrets.Fetcher = (*scrubber)(nil)

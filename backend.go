package secrets

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seed-5482dd03/secrets/internal/faults"
)

// Backend is a source of secrets.
//
// The Client fetches documents: the refs that Fetch gets have a Path, perhaps a Version, and no Field. The Client selects fields itself.
// Each ref follows the rules of [ParseRef]. [Client.GetMany] calls Fetch for each document, several at a time; a backend whose server has
// batches gathers these calls with a [Batcher].
//
// A type may embed a Backend and override Fetch: all reads then go through its Fetch.
type Backend interface {
	Fetcher
	// Info describes the backend. It is constant for the life of the backend. New calls it once.
	Info() Info
	// Close releases the resources of the backend. The Client calls it once, last, and does not call the backend after that. A Backend
	// belongs to one Client. If Fetch does not work after Close, it must return [ErrClosed], with a detail that says that another Client
	// had the same backend.
	Close() error
}

// Info describes a [Backend]. Only Name is required. The functions must not block, except Resolve, and must be safe for concurrent use.
type Info struct {
	// Name is "env", "file", "vault", "aws", or a name that the program chooses. It is unique in a Client.
	Name string
	// Local says that reads are cheap and always current, as for environment variables. The backend then gets no cache and no dedup.
	Local bool
	// Nonblocking says that Fetch never waits. It then runs on the goroutine of the caller, without WithTimeout, and GetMany fetches one
	// document after the other: a Nonblocking backend has no batches.
	Nonblocking bool
	// Leases says that a read may create a lease, as for dynamic credentials. Client.Has then reads only the cache.
	Leases bool
	// Batch is the maximum number of refs in one call of the server. A GetMany fetches up to 16 times as many documents at a time.
	// Default: 1.
	Batch int
	// Resolve returns the document and the field that a ref means. It must not use the network. For a Local backend, the result may
	// depend on what exists at the moment. For any other backend, the same ref must always give the same result, because the cache
	// remembers it. Unless the backend is Nonblocking, WithTimeout bounds Resolve. Default: the document is Path and Version, the field
	// is Field.
	Resolve func(ref Ref) Ref
	// Hint returns another place where the field of ref could be, for a person who gets ErrNotFound, ErrFieldNotFound or ErrMalformed.
	// It holds no value. Default: no hint.
	Hint func(ref Ref) string
	// Locate returns where the document ref is, for a person and for policies: names of variables, files, paths of the API, or names and
	// ARNs, in the order in which Fetch looks. The result is empty if the backend cannot have such a document. It reads nothing and makes
	// no calls. Default: not known.
	Locate func(ref Ref) []string
	// Endpoint returns the same text for documents that fail together, such as those of one region. Default: the backend is one
	// endpoint.
	Endpoint func(ref Ref) string
	// Alternates returns other versions of the document ref that may work when a consumer refuses the version that ref names: the most
	// likely first, the previously current one last. [Client.Do] and [Client.Alternates] call it with the current version, whose
	// Meta.Version is ref.Version. Each result has the Path and Field of ref. Alternates must not use the network. Default: none.
	Alternates func(ref Ref) []Ref
	// OnChange registers a function that the backend calls when documents have changed, or are invalid before their time, as revoked
	// leases are. From then on the cache does not serve them, and handles of [Client.Watch] poll at once. New calls OnChange once; for a
	// Local backend, the first Watch does, perhaps while other calls run. The backend may name a document that has not changed. It must
	// not hold a lock that Fetch needs when it calls the function. Default: the backend reports no changes.
	OnChange func(changed func(docs ...Ref))
	// Fault holds the faults of the backend's options. New returns it.
	Fault error
}

// NewBackend returns a Backend that calls fetch, for small backends and tests. Its Close does nothing. If fetch is nil, [New] returns an
// error.
//
// Make the errors of fetch with [NewError], which gives them a class. A raw network error, such as a refused connection, is [ErrUnknown]:
// no fallback of package fallback is called for it, and no stale value is served. If ctx has ended, fetch may return ctx.Err().
func NewBackend(info Info, fetch func(ctx context.Context, ref Ref) (Secret, error)) Backend {
	if fetch == nil {
		info.Fault = errors.Join(info.Fault, errors.New("secrets: NewBackend: a nil function"))
	}
	return &backend{info, fetch}
}

type backend struct {
	info  Info
	fetch func(ctx context.Context, ref Ref) (Secret, error)
}

func (b *backend) Info() Info   { return b.info }
func (b *backend) Close() error { return nil }

func (b *backend) Fetch(ctx context.Context, ref Ref) (Secret, error) { return b.fetch(ctx, ref) }

var _ Backend = (*backend)(nil)

// described is a backend with the result of its Info.
type described struct {
	Backend
	info Info
}

// backends returns the backends of a client in the order of the chain, and records their faults.
func (c *config) backends(first Backend) []described {
	all := []Backend{first}
	if c.fallback != nil {
		var more []Backend
		if c.try("WithFallback: Backends", func() { more = c.fallback.Backends() }) && len(more) == 0 {
			c.faults.Addf("WithFallback: no backend to fall back to")
		}
		all = append(all, more...)
	}
	var good []described
	for i, b := range all {
		if b, ok := c.describe(i+1, b); ok {
			if slices.ContainsFunc(good, func(other described) bool { return other.info.Name == b.info.Name }) {
				c.faults.Addf("two backends have the name %q; name one with its WithName", b.info.Name)
			}
			good = append(good, b)
		}
	}
	return good
}

// describe calls Info of backend number n, and records its faults.
func (c *config) describe(n int, b Backend) (d described, ok bool) {
	if faults.IsNil(b) {
		c.faults.Addf("backend %d is nil", n)
		return d, false
	}
	d.Backend = b
	if !c.try(fmt.Sprintf("backend %d: Info", n), func() { d.info = b.Info() }) {
		return d, false
	}
	c.faults.Add(d.info.Fault)
	c.faults.Checkf(d.info.Batch >= 0, "backend %d: a negative Batch: %d", n, d.info.Batch)
	c.faults.Checkf(!d.info.Nonblocking || d.info.Batch <= 1, "backend %d is Nonblocking: GetMany fetches one document after the other, "+
		"so Batch must be 0 or 1", n)
	if d.info.Name == "" {
		c.faults.Addf("backend %d has an empty name", n)
		return d, false
	}
	return d, true
}

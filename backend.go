package secrets

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seed-5482dd03/secrets/internal/faults"
)

// Backend is a source of secrets. A type that embeds a Backend and overrides Fetch is a Backend that behaves as its own Fetch
// does.
//
// A Backend is asked for documents: the refs that Fetch gets have a Path and perhaps a Version, and no Field; the Client selects
// fields itself. Fetch sees each ref checked by the rules of [ParseRef]. [Client.GetMany] calls Fetch for each document, several
// at a time; a backend whose server has batches gathers these calls with a [Batcher].
type Backend interface {
	Fetcher
	// Info describes the backend. It is constant for the life of the backend. New asks once.
	Info() Info
	// Close ends what the backend runs. The Client calls it once, last. A Backend belongs to one Client, which does not ask it
	// after Close. So if Fetch stops working at Close, it then returns [ErrClosed], and a detail that says that another Client
	// had the same backend.
	Close() error
}

// Info describes a [Backend]. Only Name is required. None of the functions may block, but for Resolve, and all must be safe for
// concurrent use.
type Info struct {
	// Name is "env", "file", "vault", "aws", or what the program calls the backend. It is unique in a Client.
	Name string
	// Local says that the answers are at hand and always current, as an environment variable is. The backend is then neither
	// cached nor deduplicated.
	Local bool
	// Nonblocking says that Fetch never waits for anything. It then runs on the goroutine of the caller, without WithTimeout, and
	// GetMany asks for one document after the other: a Nonblocking backend has no batches.
	Nonblocking bool
	// Leases says that a read may make a lease, as one of dynamic credentials does. Client.Has then reads nothing.
	Leases bool
	// Batch is how many refs one call of the server takes. A GetMany fetches up to 16 times as many documents at a time.
	// Default: 1.
	Batch int
	// Resolve decides which document, and which field of it, a ref means. It must not use the network. That of a Local backend
	// may look at what is there at present; that of any other backend must always return the same for the same ref, since a
	// cache remembers it. Unless the backend is Nonblocking, WithTimeout bounds it. Default: the document is Path and Version,
	// the field is Field.
	Resolve func(ref Ref) Ref
	// Hint says where the field of ref could also have been, for a person who gets a not-found or ErrMalformed for it. It holds
	// no value. Default: no hint.
	Hint func(ref Ref) string
	// Locate says where the document is that ref means, which is as Resolve gets it: for a person, and for policies. These are names of
	// variables, files, paths of an API, names or ARNs, in the order in which they are looked at; none, if the backend can have no such
	// document. It reads nothing and makes no calls. Default: not known.
	Locate func(ref Ref) []string
	// Endpoint groups documents that fail together, such as those of one region: they have the same answer. Default: one
	// endpoint for the backend.
	Endpoint func(ref Ref) string
	// Alternates returns other versions of the document ref that are worth a try when a consumer refuses the one that ref names, the
	// most likely first, and last the one that was current before it. [Client.Do] and [Client.Alternates] call it after they have
	// read the current version, whose Meta.Version is ref.Version. Each has the Path and Field of ref. It must not use the network.
	// Default: none.
	Alternates func(ref Ref) []Ref
	// OnChange registers a function that the backend calls when documents have changed, or are void before their time, as
	// leases are that were revoked. No cache serves them from then on, and handles of [Client.Watch] look at once. The Client calls
	// OnChange once: New does, or for a Local backend the first Watch, which may be concurrent with calls. The backend may name a
	// document that has not changed, and calls the function without a lock that a Fetch needs. Default: never.
	OnChange func(changed func(docs ...Ref))
	// Fault holds the faults of the backend's options. New returns it.
	Fault error
}

// NewBackend returns a Backend that answers with fetch, for small backends and tests. Its Close does nothing. A nil fetch is an
// error of [New].
//
// The error of fetch says the class: make it with [NewError]. A network error as it is, such as a refused connection, is [ErrUnknown],
// for which no fallback is asked and no stale value is served. If ctx has ended, fetch may return its error.
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

// described is a backend with its Info, which is asked for once.
type described struct {
	Backend
	info Info
}

// backends returns the backends of a client, the first one first, and notes their faults.
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

// describe asks backend number n for its Info, and notes its faults.
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
	c.faults.Checkf(d.info.Batch >= 0, "backend %d: a Batch of %d", n, d.info.Batch)
	c.faults.Checkf(!d.info.Nonblocking || d.info.Batch <= 1, "backend %d is Nonblocking, and is asked for one document after the other: "+
		"it has no batches", n)
	if d.info.Name == "" {
		c.faults.Addf("backend %d has an empty name", n)
		return d, false
	}
	return d, true
}

package secrets

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// document is the outermost layer around one backend. It fetches whole documents and selects the fields itself: the fields of one document
// are one fetch and one version.
type document struct {
	info   Info
	next   Fetcher
	cache  Cache   // or nil
	guard  *guard  // bounds Info.Resolve
	health *health // logs stale answers, or nil
}

// location is the place of a ref: a field of a document, or the whole document if field is empty.
type location struct {
	doc   Ref
	field string
}

// locate returns the location of ref. It may block, for example if the backend reads a directory.
func (d *document) locate(ctx context.Context, ref Ref) (at location, err error) {
	switch {
	case d.info.Resolve == nil:
		return locationOf(ref), nil
	case d.info.Nonblocking:
		err = d.resolve(ref, &at)
	default:
		type answer struct {
			at  location
			err error
		}
		var a answer
		a, err = await(ctx, d.guard, func(_ context.Context, a *answer) {
			a.err = errEnded
			a.err = d.resolve(ref, &a.at)
		})
		if err == nil {
			at, err = a.at, a.err
		}
	}
	return at, err
}

func (d *document) resolve(ref Ref, at *location) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	*at = locationOf(d.info.Resolve(ref))
	return nil
}

func locationOf(ref Ref) location {
	return location{Ref{Path: ref.Path, Version: ref.Version}, ref.Field}
}

// content is the answer for a document.
type content struct {
	Result

	parsed func() *parsed // parses the document once for all of its fields, or nil
	lost   bool           // its lease had ended on arrival, for the second time: do not fetch it again
}

func contentOf(s Secret, err error) content { return content{Result: Result{s, err}} }

func (c content) field(name string) (Secret, error) {
	if c.parsed == nil {
		return c.Secret.Field(name)
	}
	return c.parsed().field(c.Secret, name)
}

// Fetch returns the secret for ref. The layers below return bare errors of a context; Fetch turns them into an Error with the key.
func (d *document) Fetch(ctx context.Context, ref Ref) (Secret, error) {
	at, err := d.locate(ctx, ref)
	if err != nil {
		return Secret{}, failureOf(ctx, err, d.info.Name, ref.String())
	}
	c, renew := d.read(ctx, at.doc)
	if isOver(c.Secret, time.Now()) && !c.lost { // the fetch took long, or the lease is short
		renew()
		c, _ = d.read(ctx, at.doc)
	}
	if isOver(c.Secret, time.Now()) {
		c = contentOf(Secret{}, errOver)
	}
	return d.choose(ctx, ref, at, c)
}

// errOver is the error of a secret whose lease ended twice before it reached the caller.
var errOver = NewError(ErrUnavailable, "the lease was over when it arrived")

// isOver reports whether the lease of s has ended by now, by the wall clock.
func isOver(s Secret, now time.Time) bool {
	if s.meta == nil || s.meta.ExpiresAt.IsZero() {
		return false
	}
	return !now.Before(s.meta.ExpiresAt.Round(0))
}

// read returns the content of doc. After renew, the next read of the same group fetches doc again.
func (d *document) read(ctx context.Context, doc Ref) (c content, renew func()) {
	f := fetchctx.Of(ctx)
	switch {
	case f.Peek && d.info.Leases:
		return d.peek(doc), func() {}
	case f.Group != nil:
		return d.fetchOnce(ctx, f, doc)
	default:
		return contentOf(d.next.Fetch(ctx, doc)), func() {}
	}
}

// peek returns the content of doc from the cache: its caller must not create a lease.
func (d *document) peek(doc Ref) content {
	if d.cache != nil {
		if r, known := d.cache.Peek(doc); known {
			return contentOf(r.Secret, r.Err)
		}
	}
	return contentOf(Secret{}, NewError(ErrInvalidKey, "a check would create a lease; call Get instead"))
}

// groupKey identifies a document of a backend in a group.
type groupKey struct {
	of  *document
	doc Ref
}

// fetchOnce fetches doc once for all members of the group that need it.
func (d *document) fetchOnce(ctx context.Context, f fetchctx.Fetch, doc Ref) (c content, renew func()) {
	key := groupKey{d, doc}
	for {
		shared, mine := f.Group.Join(key)
		renew = func() { f.Group.Renew(key, shared) }
		if mine {
			return d.lead(ctx, f, doc, shared), renew
		}
		ended := shared.Ended()
		if err := shared.Wait(ctx); err != nil {
			return contentOf(Secret{}, err), renew
		}
		c, _ = shared.Value.(content)
		// A call that begins after an outage fetches again: it may be a retry by middleware. So does a call whose own context is fine,
		// if only the context of the first caller has ended.
		again := ended && c.Err != nil && Class(c.Err) == ErrUnavailable || isContextError(c.Err)
		if !again || ctx.Err() != nil {
			return c, renew
		}
		f.Group.Forget(key, shared)
	}
}

// lead fetches doc for all members of the group that wait for shared.
func (d *document) lead(ctx context.Context, f fetchctx.Fetch, doc Ref, shared *fetchctx.Shared) (c content) {
	c = contentOf(Secret{}, errEnded)
	defer func() { // even if a layer ends the goroutine
		c.parsed, c.lost = sync.OnceValue(c.Secret.parse), shared.Renewed && isOver(c.Secret, time.Now())
		shared.Value = c
		shared.End()
	}()
	if d.info.Local && !d.info.Nonblocking {
		f.Gathered = d.gather(ctx, f.Group)
		ctx = fetchctx.With(ctx, f)
	}
	c = contentOf(d.next.Fetch(ctx, doc))
	return c
}

// gather waits for the other fetches of the group, and reports whether all have arrived. A Local backend should read files that belong
// together at one moment, because Kubernetes may swap them. Fetches that middleware holds up get gatherTime.
func (d *document) gather(ctx context.Context, group *fetchctx.Group) bool {
	patience := gatherTime(ctx)
	if patience <= 0 {
		return false
	}
	// A separate timer: ctx may be foreign, and never end, even after its deadline.
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	for _, end := range []context.Context{ctx, d.guard.life} {
		stop := context.AfterFunc(end, cancel)
		defer stop()
	}
	return group.Gather(patient.Done())
}

// gatherTime returns how long fetches of a Local backend wait for others of their group: a second, but at most half of the time until the
// deadline of ctx. It must be bounded: middleware that limits concurrency may hold up the others until those that wait return.
func gatherTime(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(time.Second, time.Until(deadline)/2)
	}
	return time.Second
}

// choose returns the answer for ref from c, the content of its document.
func (d *document) choose(ctx context.Context, ref Ref, at location, c content) (Secret, error) {
	s, err := c.Secret, c.Err
	switch {
	case err != nil:
	case s.IsZero(): // from a layer; the guard returns no zero Secret
		err = errNoAnswer
	case at.field != "" && ctx.Err() != nil: // the search for a field of a large document takes time
		err = ctx.Err()
	case at.field != "":
		s, err = c.field(at.field)
	}
	if err == nil {
		d.health.served(ctx, s, ref)
		return s, nil
	}
	e := failureOf(ctx, err, d.info.Name, ref.String())
	switch Class(e.Err) {
	case ErrNotFound, ErrFieldNotFound:
		e.Detail = join(e.Detail, lookedFor(ref, at), d.hint(ref, at))
	case ErrMalformed:
		e.Detail = join(e.Detail, d.hint(ref, at))
	case ErrPermissionDenied: // the policy may allow the path that the caller meant
		e.Detail = join(e.Detail, lookedFor(ref, at))
	}
	return Secret{}, e
}

// hint returns the backend's hint for the field of ref, if the field was searched in its document.
func (d *document) hint(ref Ref, at location) (text string) {
	if d.info.Hint == nil || ref.Field == "" || at.field != ref.Field {
		return ""
	}
	defer func() {
		if recover() != nil {
			text = "" // the failure matters more
		}
	}()
	return d.info.Hint(ref)
}

// lookedFor returns where the backend looked for ref, or "" if the key says the same.
func lookedFor(ref Ref, at location) string {
	switch {
	case at.field == ref.Field:
		return ""
	case at.field == "": // the backend stores the fields of a document as separate documents
		return "it looked for " + printable(at.doc.Path)
	default: // the backend read the end of the path as a field, which may not be what the caller meant
		whole := Ref{Path: ref.Path, Version: ref.Version, Whole: true}.String()
		return fmt.Sprintf("field %s of %s; the whole secret is %s", printable(at.field), printable(at.doc.Path), printable(whole))
	}
}

// join joins the parts that are not empty. A single part costs no allocation: a chain may skip this error on the way to a secret.
func join(parts ...string) string {
	var all string
	for _, part := range parts {
		switch {
		case part == "":
		case all == "":
			all = part
		default:
			all += "; " + part
		}
	}
	return all
}

var _ Fetcher = (*document)(nil)

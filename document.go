package secrets

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// document is the outermost layer around one backend. It asks what is below for documents alone, so that the fields of one
// document are one fetch and one version, and selects the fields itself.
type document struct {
	info   Info
	next   Fetcher
	cache  Cache   // or nil
	guard  *guard  // bounds Info.Resolve
	health *health // is told of stale answers, or nil
}

// location is where a ref is: a field of a document, or the whole if field is empty.
type location struct {
	doc   Ref
	field string
}

// locate returns the location of ref. A backend that looks at files to find it may block.
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

	parsed func() *parsed // once for all that need a field of it, or nil
	lost   bool           // it was over on arrival for the second time: to fetch it a third time is of no use
}

func contentOf(s Secret, err error) content { return content{Result: Result{s, err}} }

func (c content) field(name string) (Secret, error) {
	if c.parsed == nil {
		return c.Secret.Field(name)
	}
	return c.parsed().field(c.Secret, name)
}

// Fetch returns the secret for ref. Below, the error of a context is bare; here it becomes one that says what was asked for.
func (d *document) Fetch(ctx context.Context, ref Ref) (Secret, error) {
	at, err := d.locate(ctx, ref)
	if err != nil {
		return Secret{}, failureOf(ctx, err, d.info.Name, ref.String())
	}
	c, renew := d.read(ctx, at.doc)
	if isOver(c.Secret, time.Now()) && !c.lost { // it was long on its way, or the lease is short
		renew()
		c, _ = d.read(ctx, at.doc)
	}
	if isOver(c.Secret, time.Now()) {
		c = contentOf(Secret{}, errOver)
	}
	return d.choose(ctx, ref, at, c)
}

// errOver is the error of a secret whose lease ended twice before the caller could have it.
var errOver = NewError(ErrUnavailable, "the lease was over when it arrived")

// isOver reports whether the lease of s has ended by now, by the wall clock.
func isOver(s Secret, now time.Time) bool {
	if s.meta == nil || s.meta.ExpiresAt.IsZero() {
		return false
	}
	return !now.Before(s.meta.ExpiresAt.Round(0))
}

// read returns the content of doc. renew makes the next read of the same group fetch it anew.
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

// peek answers a call that must make no lease.
func (d *document) peek(doc Ref) content {
	if d.cache != nil {
		if r, known := d.cache.Peek(doc); known {
			return contentOf(r.Secret, r.Err)
		}
	}
	return contentOf(Secret{}, NewError(ErrInvalidKey, "whether it exists cannot be told without making a lease; Get does so"))
}

// groupKey names a document in a group.
type groupKey struct {
	of  *document
	doc Ref
}

// fetchOnce fetches doc once for all of the group that need it.
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
		// Who comes after an outage wants to try again, as a middleware that retries does. And middleware may have ended the
		// context of who fetched, and not ours.
		again := ended && c.Err != nil && Class(c.Err) == ErrUnavailable || isContextError(c.Err)
		if !again || ctx.Err() != nil {
			return c, renew
		}
		f.Group.Forget(key, shared)
	}
}

// lead fetches doc and hands the answer to the others.
func (d *document) lead(ctx context.Context, f fetchctx.Fetch, doc Ref, shared *fetchctx.Shared) (c content) {
	c = contentOf(Secret{}, errEnded)
	defer func() { // also if a layer ends the goroutine
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

// gather waits for the other fetches of the group, and reports whether all have come: what a Local backend reads at one moment
// belongs together, such as two files that Kubernetes swaps. Those that are held up elsewhere get the time of gatherTime.
func (d *document) gather(ctx context.Context, group *fetchctx.Group) bool {
	patience := gatherTime(ctx)
	if patience <= 0 {
		return false
	}
	// The timer is not that of ctx, which may have a deadline that has passed and yet never end.
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	for _, end := range []context.Context{ctx, d.guard.life} {
		stop := context.AfterFunc(end, cancel)
		defer stop()
	}
	return group.Gather(patient.Done())
}

// gatherTime is how long fetches of a Local backend wait for others of their group: a second, and no more than half of the time
// that ctx leaves. The others may be held up by middleware that lets few callers in at a time, and so by those who wait.
func gatherTime(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(time.Second, time.Until(deadline)/2)
	}
	return time.Second
}

// choose makes the answer for ref, which is at that location, of the content of its document.
func (d *document) choose(ctx context.Context, ref Ref, at location, c content) (Secret, error) {
	s, err := c.Secret, c.Err
	switch {
	case err != nil:
	case s.IsZero(): // from a layer; the guard lets none pass
		err = errNoAnswer
	case at.field != "" && ctx.Err() != nil: // to find a field of a large document takes time
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
	case ErrPermissionDenied: // a policy may be for what the caller meant
		e.Detail = join(e.Detail, lookedFor(ref, at))
	}
	return Secret{}, e
}

// hint says where the field of ref, which was looked for in its document, could also have been, if the backend knows.
func (d *document) hint(ref Ref, at location) (text string) {
	if d.info.Hint == nil || ref.Field == "" || at.field != ref.Field {
		return ""
	}
	defer func() {
		if recover() != nil {
			text = "" // it is the failure that matters
		}
	}()
	return d.info.Hint(ref)
}

// lookedFor says where a backend looked for ref, if it looked elsewhere than the key says.
func lookedFor(ref Ref, at location) string {
	switch {
	case at.field == ref.Field:
		return ""
	case at.field == "": // the backend keeps the fields of a document as documents of their own
		return "it looked for " + printable(at.doc.Path)
	default: // it took the end of the path for a field, which the caller may not have meant
		whole := Ref{Path: ref.Path, Version: ref.Version, Whole: true}.String()
		return fmt.Sprintf("field %s of %s; the whole secret is %s", printable(at.field), printable(at.doc.Path), printable(whole))
	}
}

// join returns those of parts that are not empty, as one text. It makes nothing for a single one: the error may be that of a
// backend which a chain only passes over, on the way to a secret.
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

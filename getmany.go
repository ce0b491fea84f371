package secrets

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// GetMany returns the secrets that keys name, as a map by key. It takes hits from the cache and fetches the rest together, each document
// once: at most 16 documents of a backend at a time, or 16 batches if its server has batches. A key may be given twice.
//
// The error is [Errors], with one [*Error] for each key without a secret. The map has the secrets that were found, also if there is an
// error or if ctx ends the call.
//
// Keys of one path and version are from one backend, in one version: the first backend of a chain that has any of them, and its latest
// version. The same holds for keys of two paths that the first backend keeps in one document. If another backend or version has answered a
// key, that key has the error [ErrFieldNotFound]. The error is [ErrUnavailable] if the other backend answered because of an outage.
func (c *Client) GetMany(ctx context.Context, keys ...string) (map[string]Secret, error) {
	found := make(map[string]Secret, len(keys))
	if class := c.refuses(ctx); class != nil {
		return found, refused(keys, class)
	}
	if c.memory != nil && c.memory.RecallMany(keys, found) {
		return found, nil
	}
	clear(found)
	reads, errs := parse(keys)
	c.getMany(ctx, fetchctx.Fetch{}, reads)
	for _, r := range reads {
		if r.err != nil {
			errs[r.key] = r.err
		} else {
			found[r.key] = r.secret
		}
	}
	return found, collect(keys, errs)
}

// getMany sets the answers of reads. f describes the fetches, which are members of one group.
func (c *Client) getMany(ctx context.Context, f fetchctx.Fetch, reads []read) {
	f.Group = fetchctx.NewGroup(0)
	defer f.Group.Close()
	ctx = fetchctx.With(ctx, f)
	sets := c.group(reads)
	if !f.Renewal.Asks() {
		c.recall(reads, sets)
	}
	c.fetchMany(ctx, f.Group, reads)
	for dropOver(reads, sets, time.Now()) {
		f.Group.RenewAll()
		c.fetchMany(ctx, f.Group, reads)
	}
	if f.Renewal == nil { // not for a handle, which follows the Get of its key
		c.oneSource(f.Group, reads, sets)
	}
}

// read is the read of one key in a GetMany.
type read struct {
	secret   Secret // zero until there is one, or an error
	err      *Error
	key      string
	ref      Ref
	recalled bool // secret is from memory
	renewed  bool // the lease of the first answer had ended
}

// refuses returns the class of error for every call with ctx, or nil if c accepts calls.
func (c *Client) refuses(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return endOf(ctx)
	case c.closed.Load():
		return ErrClosed
	default:
		return nil
	}
}

// refused returns the error of a refused call for keys.
func refused(keys []string, class error) error {
	if len(keys) == 0 {
		return Errors{{Err: class}}
	}
	errs := make(map[string]*Error, len(keys))
	for _, key := range keys {
		errs[key] = &Error{Key: key, Err: class}
	}
	return collect(keys, errs)
}

// parse returns a read for each valid key, without duplicates, and the errors of the other keys.
func parse(keys []string) (reads []read, errs map[string]*Error) {
	reads, errs = make([]read, 0, len(keys)), make(map[string]*Error)
	seen := make(map[string]bool, len(keys))
	for _, key := range keys {
		if seen[key] {
			continue
		}
		seen[key] = true
		ref, err := ParseRef(key)
		if err != nil {
			errs[key] = failureOf(context.Background(), err, "", key)
			continue
		}
		reads = append(reads, read{key: key, ref: ref})
	}
	return reads, errs
}

// collect returns the errors of keys as one error, in the order of keys.
func collect(keys []string, errs map[string]*Error) error {
	var all Errors
	for _, key := range keys {
		if err, failed := errs[key]; failed {
			all = append(all, err)
			delete(errs, key) // keys may have duplicates
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// group returns sets of indexes in reads, for keys that must agree: those of one path and version, and those of one document of the first
// backend. For Vault, app#user and app/password are one document.
func (c *Client) group(reads []read) map[Ref][]int {
	parents := make(map[Ref]Ref) // a union-find of paths and documents
	root := func(ref Ref) Ref {
		for parent, ok := parents[ref]; ok; parent, ok = parents[ref] {
			if above, ok := parents[parent]; ok {
				parents[ref] = above
			}
			ref = parent
		}
		return ref
	}
	if first := c.stacks[0]; !first.info.Local {
		for _, r := range reads {
			path, doc := root(locationOf(r.ref).doc), root(first.constantLocation(r.ref).doc)
			if path != doc {
				parents[path] = doc
			}
		}
	}
	sets := make(map[Ref][]int)
	for i, r := range reads {
		set := root(locationOf(r.ref).doc)
		sets[set] = append(sets[set], i)
	}
	return sets
}

// recall answers the sets of reads that memory holds completely. A partial set is fetched as a whole, because the rest may be newer.
func (c *Client) recall(reads []read, sets map[Ref][]int) {
	if c.memory == nil || len(sets) < 2 {
		return
	}
	for _, set := range sets {
		keys, found := make([]string, len(set)), make(map[string]Secret, len(set))
		for n, i := range set {
			keys[n] = reads[i].key
		}
		if !c.memory.RecallMany(keys, found) {
			continue
		}
		for _, i := range set {
			reads[i].secret, reads[i].recalled = found[reads[i].key], true
		}
	}
}

// fetchMany fetches the reads without an answer through the layers, as members of group.
func (c *Client) fetchMany(ctx context.Context, group *fetchctx.Group, reads []read) {
	open := make([]*read, 0, len(reads))
	for i := range reads {
		if r := &reads[i]; r.err == nil && r.secret.IsZero() {
			open = append(open, r)
		}
	}
	c.answerAll(ctx, group, open)
	for _, r := range open { // here, because it takes time, and the caller checks the leases after it
		if r.err == nil {
			c.delivered(ctx, r.key, r.ref, r.secret)
		}
	}
}

// answerAll sets the answers of open.
func (c *Client) answerAll(ctx context.Context, group *fetchctx.Group, open []*read) {
	if c.inline {
		for _, r := range open {
			c.answer(ctx, r)
		}
		return
	}
	group.Add(len(open))
	var running sync.WaitGroup
	for _, r := range open {
		running.Go(func() {
			defer group.Done()
			c.answer(ctx, r)
		})
	}
	running.Wait()
}

// answer sets the answer of r. It builds the error at once: ctx may end later, during the fetches of other keys.
func (c *Client) answer(ctx context.Context, r *read) {
	if ctx.Err() != nil {
		r.err = contextError(ctx, c.stacks[0].info.Name, r.key)
		return
	}
	answer := Result{Err: errEnded} // if user middleware ends the goroutine
	defer func() {
		if answer.Err != nil {
			r.err = failureOf(ctx, answer.Err, "", r.key)
			return
		}
		r.secret = answer.Secret
	}()
	c.fetchInto(ctx, r.ref, &answer)
}

// fail replaces the answer of r by err.
func (r *read) fail(err *Error) {
	r.err = err.clone()
	r.err.Key = r.key
	if r.err.Backend == "" {
		r.err.Backend = r.secret.Meta().Backend
	}
	r.secret = Secret{}
}

// dropOver drops the answers of each set in which a lease has ended, perhaps during the fetch of other documents. It reports whether there
// are any. The caller must fetch the whole set again, because its backend may have changed. An answer whose lease has ended for the second
// time becomes an error.
func dropOver(reads []read, sets map[Ref][]int, now time.Time) (dropped bool) {
	for _, set := range sets {
		if !slices.ContainsFunc(set, func(i int) bool { return isOver(reads[i].secret, now) }) {
			continue
		}
		for _, i := range set {
			switch r := &reads[i]; {
			case r.err != nil:
			case !r.renewed:
				r.secret, r.recalled, r.renewed, dropped = Secret{}, false, true, true
			case isOver(r.secret, now):
				r.fail(errOver)
			}
		}
	}
	return dropped
}

// oneSource keeps the answers of each set that are from one backend and one version; the others become errors.
func (c *Client) oneSource(group *fetchctx.Group, reads []read, sets map[Ref][]int) {
	for _, set := range sets {
		set = slices.DeleteFunc(set, func(i int) bool { return reads[i].err != nil })
		if len(set) < 2 {
			continue
		}
		first := slices.MinFunc(set, func(i, k int) int { return c.sourceOf(reads[i]) - c.sourceOf(reads[k]) })
		source, name := c.sourceOf(reads[first]), reads[first].secret.Meta().Backend
		latest := make(map[Ref]Secret) // by document
		for _, i := range set {
			if s := reads[i].secret; s.Meta().Backend == name {
				doc := c.documentOf(reads[i], source)
				if old, ok := latest[doc]; !ok || s.Meta().FetchedAt.After(old.Meta().FetchedAt) {
					latest[doc] = s
				}
			}
		}
		for _, i := range set {
			r := &reads[i]
			switch {
			case r.secret.Meta().Backend != name:
				class := ErrFieldNotFound
				if group.Noted(skippedSource{r.ref}) { // the chain skipped a failure, which must not read as "not found"
					class = ErrUnavailable
				}
				r.fail(apart(class, name, "the answer came from "+sourceName(r.secret.Meta().Backend)))
			case r.secret.Meta().Version != latest[c.documentOf(*r, source)].Meta().Version:
				r.fail(apart(ErrFieldNotFound, name, "the answer was of another version"))
			}
		}
	}
}

// apart returns the error of an answer that does not match those of source for the same path.
func apart(class error, source, what string) *Error {
	e := NewError(class, fmt.Sprintf("%s, and other keys of this path in the call from %s", what, sourceName(source)))
	e.Backend = source
	return e
}

// sourceName returns the name of a backend for an error text. Secrets of user middleware have no backend.
func sourceName(backend string) string {
	if backend == "" {
		return "middleware"
	}
	return printable(backend)
}

// sourceOf returns the index in the chain of the backend that answered r. If user middleware made the answer, it is the length of the
// chain.
func (c *Client) sourceOf(r read) int {
	name := r.secret.Meta().Backend
	at := slices.IndexFunc(c.stacks, func(s *stack) bool { return s.info.Name == name })
	if at < 0 {
		return len(c.stacks)
	}
	return at
}

// documentOf returns the document of r in source, for the comparison of versions. In a Local backend, the fields of one path may be
// separate documents with their own versions, so each ref is a document; gather reads them together.
func (c *Client) documentOf(r read, source int) Ref {
	switch {
	case source == len(c.stacks):
		return locationOf(r.ref).doc
	case c.stacks[source].info.Local:
		return r.ref
	default:
		return c.stacks[source].constantLocation(r.ref).doc
	}
}

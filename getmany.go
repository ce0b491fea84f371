package secrets

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

// GetMany returns the secrets that keys name. What memory has is taken from there. The rest is fetched together, each document once:
// up to 16 documents of a backend at a time, and where its server has batches, up to 16 batches. Keys given twice are asked once.
//
// Keys of one path and version are answered by one source and in one version: the first source of a chain that has any of them, and its
// latest version. So are keys of two paths that the first source keeps in one document. A key that another source or version has answered
// is [ErrFieldNotFound], or [ErrUnavailable] if it was an outage that made another source answer.
//
// The error is [Errors], with one [*Error] for each key that could not be had. What was found is returned also if there is an error, and
// so is what was found when ctx ends the call.
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

// getMany sets the answers of reads. The fetches are what f says, and members of one group.
func (c *Client) getMany(ctx context.Context, f fetchctx.Fetch, reads []read) {
	f.Group = fetchctx.NewGroup(0)
	defer f.Group.Close()
	ctx = fetchctx.With(ctx, f)
	sets := c.together(reads)
	if !f.Renewal.Asks() {
		c.recall(reads, sets)
	}
	c.fetchMany(ctx, f.Group, reads)
	for dropOver(reads, sets, time.Now()) {
		f.Group.RenewAll()
		c.fetchMany(ctx, f.Group, reads)
	}
	if f.Renewal == nil { // each handle follows what a Get of its key returns
		c.oneSource(f.Group, reads, sets)
	}
}

// read is the read of one key in a GetMany.
type read struct {
	secret   Secret // zero until there is one, or an error
	err      *Error
	key      string
	ref      Ref
	recalled bool // memory had it
	renewed  bool // the lease of the first answer was over
}

// refuses returns the class of the error with which c refuses all calls with ctx, or nil.
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

// refused returns the errors of a call for keys that is refused.
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

// parse returns a read of each of keys that is valid, and the errors of the others.
func parse(keys []string) (reads []read, errs map[string]*Error) {
	reads, errs = make([]read, 0, len(keys)), make(map[string]*Error)
	asked := make(map[string]bool, len(keys))
	for _, key := range keys {
		if asked[key] {
			continue
		}
		asked[key] = true
		ref, err := ParseRef(key)
		if err != nil {
			errs[key] = failureOf(context.Background(), err, "", key)
			continue
		}
		reads = append(reads, read{key: key, ref: ref})
	}
	return reads, errs
}

// collect makes one error of the errors of keys, in their order.
func collect(keys []string, errs map[string]*Error) error {
	var all Errors
	for _, key := range keys {
		if err, failed := errs[key]; failed {
			all = append(all, err)
			delete(errs, key) // a key may stand twice
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// together returns the indexes in reads of keys that must agree: those of one path and version, and those of one document of the first
// source. For Vault, app#user and app/password are one document.
func (c *Client) together(reads []read) map[Ref][]int {
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

// recall answers those sets of reads that memory knows whole. Of others it takes nothing: what is fetched may be newer.
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

// fetchMany asks the layers for those of reads that have no answer, each by itself, as the members of group.
func (c *Client) fetchMany(ctx context.Context, group *fetchctx.Group, reads []read) {
	open := make([]*read, 0, len(reads))
	for i := range reads {
		if r := &reads[i]; r.err == nil && r.secret.IsZero() {
			open = append(open, r)
		}
	}
	c.answerAll(ctx, group, open)
	for _, r := range open { // before leases are looked at for the last time: it takes some time
		if r.err == nil {
			c.delivered(ctx, r.key, r.ref, r.secret)
		}
	}
}

// answerAll sets the answers of open.
func (c *Client) answerAll(ctx context.Context, group *fetchctx.Group, open []*read) {
	if c.inTurn {
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

// answer sets the answer of r. What its error says is decided now: ctx may end while other keys are waited for.
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
	c.ask(ctx, r.ref, &answer)
}

// fail makes err the answer to r, in place of a secret.
func (r *read) fail(err *Error) {
	r.err = err.clone()
	r.err.Key = r.key
	if r.err.Backend == "" {
		r.err.Backend = r.secret.Meta().Backend
	}
	r.secret = Secret{}
}

// dropOver takes the answers of each set away of which one is over by now, since other documents have taken their time. It reports
// whether there are any: they are to be fetched once more, together, and whole, since their source may have changed. What was renewed
// already has an error instead.
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

// oneSource keeps, of the answers of each set, those of one source and one version.
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
				if group.Noted(passedOver{r.ref}) { // an outage must not read as absence
					class = ErrUnavailable
				}
				r.fail(apart(class, name, "the answer came from "+sourceName(r.secret.Meta().Backend)))
			case r.secret.Meta().Version != latest[c.documentOf(*r, source)].Meta().Version:
				r.fail(apart(ErrFieldNotFound, name, "the answer was of another version"))
			}
		}
	}
}

// apart is the error of an answer that does not belong to those of source for the same path.
func apart(class error, source, what string) *Error {
	e := NewError(class, fmt.Sprintf("%s, and other keys of this path in the call from %s", what, sourceName(source)))
	e.Backend = source
	return e
}

// sourceName returns the name of a backend for a text. What user middleware makes has none.
func sourceName(backend string) string {
	if backend == "" {
		return "middleware"
	}
	return printable(backend)
}

// sourceOf returns the place in the chain of the backend that has answered r. What user middleware has made comes last.
func (c *Client) sourceOf(r read) int {
	name := r.secret.Meta().Backend
	at := slices.IndexFunc(c.stacks, func(s *stack) bool { return s.info.Name == name })
	if at < 0 {
		return len(c.stacks)
	}
	return at
}

// documentOf returns the document that source has answered r with, as far as its versions are to be compared. The fields of one path
// may be documents of their own, which have versions of their own. So it is with a Local backend, which reads together what
// belongs together.
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

package secrets

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// named gives a Fetcher the name of the backend below it. Every Fetcher that is handed to a layer around a backend, or to
// a fallback, is one.
type named struct {
	Fetcher
	name   string
	local  bool
	leases bool
}

// Name returns the name of the backend.
func (n named) Name() string { return n.name }

// Local reports whether the backend is.
func (n named) Local() bool { return n.local }

// Leases reports whether a read of the backend may make a lease.
func (n named) Leases() bool { return n.leases }

// document stands outermost around one backend. It asks what is below for documents alone, so that the fields of one
// document are one fetch and one version, and selects the fields itself.
type document struct {
	next    Fetcher
	resolve func(Ref) Ref    // the backend's, or nil
	hint    func(Ref) string // the backend's, or nil
	guard   *guard           // bounds resolve, or nil if that does not block
	health  *health          // is told of stale answers, or nil
	leases  bool             // a fetch may make a lease
	peek    peeker           // of the cache, or nil
}

// learn takes from b what it says of its refs, and from the layers before it what they know.
func (d *document) learn(b Backend) {
	if r, ok := b.(Resolver); ok {
		d.resolve = r.Resolve
	}
	if h, ok := b.(interface{ Hint(ref Ref) string }); ok {
		d.hint = h.Hint
	}
	d.peek, _ = d.next.(peeker)
}

// place is where a ref is: a field of a document, or the whole if field is empty.
type place struct {
	doc   Ref
	field string
}

// locate returns the place of ref.
func (d *document) locate(ref Ref) (p place, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked(v)
		}
	}()
	if d.resolve != nil {
		ref = d.resolve(ref)
	}
	return place{Ref{Path: ref.Path, Version: ref.Version}, ref.Field}, nil
}

// locateAll returns the places of refs. A backend that looks at files to find them may block.
func (d *document) locateAll(ctx context.Context, refs []Ref) ([]place, error) {
	all := func(refs []Ref) ([]place, error) {
		places := make([]place, len(refs))
		for i, ref := range refs {
			var err error
			if places[i], err = d.locate(ref); err != nil {
				return nil, err
			}
		}
		return places, nil
	}
	if d.resolve == nil || d.guard == nil || len(refs) == 0 {
		return all(refs)
	}
	type answer struct {
		places []place
		err    error
	}
	ask := func(_ *guard, _ context.Context, refs []Ref, a *answer) {
		a.err = errEnded
		a.places, a.err = all(refs)
	}
	// The goroutine may outlive this call: it gets a copy.
	a, err := await(ctx, d.guard, time.Now(), d.guard.timeout, 0, slices.Clone(refs), ask)
	if err = cmp.Or(err, a.err); err != nil {
		return nil, toError(ctx, err, d.guard.name, refs[0].String())
	}
	return a.places, nil
}

func (d *document) Fetch(ctx context.Context, ref Ref) (Secret, error) {
	var p place
	var err error
	if d.guard == nil {
		p, err = d.locate(ref)
	} else {
		var places []place
		if places, err = d.locateAll(ctx, []Ref{ref}); err == nil {
			p = places[0]
		}
	}
	if err != nil {
		return Secret{}, err
	}
	var r Result
	if d.leases && peeking(ctx) {
		r = d.look(p.doc)
	} else {
		r.Secret, r.Err = d.next.Fetch(ctx, p.doc)
	}
	return d.choose(ctx, ref, p, r, r.Secret.Field)
}

func (d *document) FetchMany(ctx context.Context, refs []Ref) []Result {
	results := make([]Result, len(refs))
	places, err := d.locateAll(ctx, refs)
	if err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	var (
		docs  []Ref
		index = make(map[Ref]int, len(refs)) // of docs
	)
	for _, p := range places {
		if _, known := index[p.doc]; !known {
			index[p.doc] = len(docs)
			docs = append(docs, p.doc)
		}
	}
	var answers []Result
	if d.leases && peeking(ctx) {
		for _, doc := range docs {
			answers = append(answers, d.look(doc))
		}
	} else {
		answers = d.next.FetchMany(ctx, docs)
	}
	fields := make([]func(string) (Secret, error), len(docs)) // each document is read once
	for i, ref := range refs {
		n := index[places[i].doc]
		if len(answers) != len(docs) {
			results[i].Err = &Error{Key: ref.String(), Err: ErrUnknown, Detail: "a layer: " + wrongCount(len(answers), len(docs))}
			continue
		}
		results[i].Secret, results[i].Err = d.choose(ctx, ref, places[i], answers[n], func(name string) (Secret, error) {
			if fields[n] == nil {
				fields[n] = answers[n].Secret.fields()
			}
			return fields[n](name)
		})
	}
	return results
}

// choose makes the answer for ref, which is at p, of the answer for its document, whose fields are those of field.
func (d *document) choose(ctx context.Context, ref Ref, p place, answer Result, field func(string) (Secret, error)) (Secret, error) {
	s, err := answer.Secret, answer.Err
	switch {
	case err != nil:
	case s.IsZero(): // from a layer; the guard lets none pass
		err = errNoAnswer
	case p.field != "":
		s, err = field(p.field)
	}
	if err == nil {
		d.health.served(ctx, s, ref)
		return s, nil
	}
	e, ok := err.(*Error) // the guard makes it so; what else there is, the Client's door classifies
	if !ok {
		return Secret{}, err
	}
	e = e.clone()
	e.Key = ref.String()
	switch Class(e.Err) {
	case ErrNotFound, ErrFieldNotFound:
		e.Detail = join(e.Detail, lookedFor(ref, p.doc, p.field), d.elsewhere(ref, p))
	case ErrMalformed:
		e.Detail = join(e.Detail, d.elsewhere(ref, p))
	case ErrPermissionDenied: // a policy may be for what the caller meant
		e.Detail = join(e.Detail, lookedFor(ref, p.doc, p.field))
	}
	return Secret{}, e
}

// elsewhere says where the field of ref, which was looked for in its document, could also have been, if the backend knows.
func (d *document) elsewhere(ref Ref, p place) (text string) {
	if d.hint == nil || ref.Field == "" || p.field != ref.Field {
		return ""
	}
	defer func() {
		if recover() != nil {
			text = "" // it is the failure that matters
		}
	}()
	return d.hint(ref)
}

// lookedFor says where a backend looked for ref, if it looked elsewhere than the key says.
func lookedFor(ref, doc Ref, field string) string {
	switch {
	case field == ref.Field:
		return ""
	case field == "": // the backend keeps the fields of a document as documents of their own
		return "it looked for " + printable(doc.Path)
	default: // it took the end of the path for a field, which the caller may not have meant
		whole := Ref{Path: ref.Path, Version: ref.Version, Whole: true}.String()
		return fmt.Sprintf("field %s of %s; the whole secret is %s", printable(field), printable(doc.Path), printable(whole))
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

// checker answers the refs that are no valid keys, which user middleware may have made, and asks next for the others.
type checker struct {
	next Fetcher
}

func (c *checker) Fetch(ctx context.Context, ref Ref) (Secret, error) {
	if fault := ref.fault(); fault != "" {
		return Secret{}, &Error{Key: ref.String(), Err: ErrInvalidKey, Detail: fault}
	}
	return c.next.Fetch(ctx, ref)
}

func (c *checker) FetchMany(ctx context.Context, refs []Ref) []Result {
	var (
		results = make([]Result, len(refs))
		good    = make([]Ref, 0, len(refs))
		places  = make([]int, 0, len(refs))
	)
	for i, ref := range refs {
		if fault := ref.fault(); fault != "" {
			results[i].Err = &Error{Key: ref.String(), Err: ErrInvalidKey, Detail: fault}
			continue
		}
		good, places = append(good, ref), append(places, i)
	}
	if len(good) == 0 {
		return results
	}
	answers := c.next.FetchMany(ctx, good)
	for n, place := range places {
		if len(answers) == len(good) {
			results[place] = answers[n]
		} else {
			results[place].Err = &Error{Key: good[n].String(), Err: ErrUnknown, Detail: "a layer: " + wrongCount(len(answers), len(good))}
		}
	}
	return results
}

var (
	_ Fetcher = named{}
	_ Fetcher = (*document)(nil)
	_ Fetcher = (*checker)(nil)
)

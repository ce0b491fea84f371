package secrets

import (
	"context"
	"fmt"
)

// named gives a Fetcher the name of the backend below it. Every Fetcher that is handed to a layer around a backend, or to
// a fallback, is one.
type named struct {
	Fetcher
	name string
}

// Name returns the name of the backend.
func (n named) Name() string { return n.name }

// document stands outermost around one backend. It asks what is below for documents alone, so that the fields of one
// document are one fetch and one version, and selects the fields itself.
type document struct {
	next    Fetcher
	resolve func(Ref) Ref
}

// locate returns the ref of the document that holds what ref means, and the field of it.
func (d *document) locate(ref Ref) (doc Ref, field string) {
	if d.resolve != nil {
		ref = d.resolve(ref)
	}
	return Ref{Path: ref.Path, Version: ref.Version}, ref.Field
}

func (d *document) Fetch(ctx context.Context, ref Ref) (Secret, error) {
	doc, field := d.locate(ref)
	s, err := d.next.Fetch(ctx, doc)
	return d.choose(ref, doc, field, Result{s, err})
}

func (d *document) FetchMany(ctx context.Context, refs []Ref) []Result {
	type place struct {
		doc   int
		field string
	}
	var (
		docs   []Ref
		index  = make(map[Ref]int, len(refs))
		places = make([]place, len(refs))
	)
	for i, ref := range refs {
		doc, field := d.locate(ref)
		n, known := index[doc]
		if !known {
			n = len(docs)
			index[doc] = n
			docs = append(docs, doc)
		}
		places[i] = place{n, field}
	}
	answers := d.next.FetchMany(ctx, docs)
	results := make([]Result, len(refs))
	for i, ref := range refs {
		p := places[i]
		if len(answers) != len(docs) {
			results[i].Err = &Error{Key: ref.String(), Err: ErrUnknown, Detail: "a layer: " + wrongCount(len(answers), len(docs))}
			continue
		}
		results[i].Secret, results[i].Err = d.choose(ref, docs[p.doc], p.field, answers[p.doc])
	}
	return results
}

// choose makes the answer for ref of the answer for its document.
func (d *document) choose(ref, doc Ref, field string, answer Result) (Secret, error) {
	s, err := answer.Secret, answer.Err
	switch {
	case err != nil:
	case s.IsZero(): // from a layer; the guard lets none pass
		err = errNoAnswer
	case field != "":
		s, err = s.Field(field)
	}
	if err == nil {
		return s, nil
	}
	e, ok := err.(*Error) //nolint:errorlint // the guard makes it so; what else there is, the Client's door classifies
	if !ok {
		return Secret{}, err
	}
	e = e.clone()
	e.Key = ref.String()
	if c := Class(e.Err); c == ErrNotFound || c == ErrFieldNotFound { //nolint:errorlint // Class returns the sentinels themselves
		if where := lookedFor(ref, doc, field); where != "" {
			e.Detail = join(e.Detail, where)
		}
	}
	return Secret{}, e
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

func join(detail, more string) string {
	if detail == "" {
		return more
	}
	return detail + "; " + more
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

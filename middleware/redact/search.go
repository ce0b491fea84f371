package redact

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/seed-5482dd03/secrets"
)

const (
	// patience is how long values are looked for in the error of a call. It is little beside the timeout of a call.
	patience = 50 * time.Millisecond
	// maxBytes bounds all values together. What they are recognised by takes several times as much memory.
	maxBytes = 16 << 20
	// maxDetail is the length in bytes of the longest Detail that is searched.
	maxDetail = 64 << 10

	withheld = "the detail is withheld: there are more values to look for in it than time"
)

// search looks for values in the errors of one call, until its time is over. From then on, no Detail passes.
type search struct {
	load     func() (values []recognition, bytes int)
	loaded   bool
	values   []recognition
	deadline time.Time
	work     int // since the last look at the clock, in bytes passed over, about
	over     bool
}

func newSearch(ctx context.Context, load func() (values []recognition, bytes int)) *search {
	limit := patience
	if end, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(end)/2)
	}
	return &search{load: load, deadline: time.Now().Add(limit)}
}

// scrub returns err without the values. Only the Detail of an [secrets.Error] and of its Causes can hold one: everything
// else in a foreign error is dropped by the Client.
func (s *search) scrub(err error) error {
	var e *secrets.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	clean := s.clean(e)
	if clean == e {
		return err
	}
	clean.Err = secrets.Class(err)
	return clean
}

// clean returns e if there is no value in it, and otherwise a copy without them.
func (s *search) clean(e *secrets.Error) *secrets.Error {
	if e == nil {
		return nil
	}
	c := *e
	if e.Detail != "" {
		c.Detail = s.mask(e.Detail)
	}
	changed := c.Detail != e.Detail
	c.Causes = slices.Clone(e.Causes)
	for i, cause := range e.Causes {
		c.Causes[i] = s.clean(cause)
		changed = changed || c.Causes[i] != cause
	}
	if !changed {
		return e
	}
	return &c
}

// mask returns detail with every occurrence of the values replaced, or another text if that takes too long. Overlapping
// occurrences are one replacement, so that no rest of a value remains between them.
func (s *search) mask(detail string) string {
	if !s.loaded {
		var bytes int
		s.values, bytes = s.load()
		s.loaded, s.over = true, bytes > maxBytes
	}
	if s.over || len(detail) > maxDetail {
		return withheld
	}
	m := newMasker(detail)
	for _, needles := range s.values {
		if !s.hide(m, needles) {
			s.over = true
			return withheld
		}
	}
	return m.String()
}

// hide hides what a value is recognised by, and reports whether it came to the end.
func (s *search) hide(m *masker, recognition recognition) bool {
	const perNeedle = 64 // to make one, and not to look for it, which is less
	needles, all := recognition()
	if !all || !s.mayGoOn(perNeedle*len(needles)) {
		return false
	}
	for i := range needles {
		if work := m.hide(&needles[i]); work > 0 && !s.mayGoOn(work) {
			return false
		}
	}
	return true
}

// mayGoOn notes work that was done, and reports whether there is time for more. It looks at the clock only now and then,
// so that little work is never in vain because the machine was busy.
func (s *search) mayGoOn(work int) bool {
	const between = 1 << 16
	if s.work += work; s.work < between {
		return true
	}
	s.work = 0
	return time.Now().Before(s.deadline)
}

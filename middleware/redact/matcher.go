package redact

import (
	"strings"

	"github.com/seed-5482dd03/secrets/internal/ahocorasick"
)

// matcher finds values in texts. It does not change.
type matcher struct {
	changes  uint64 // of the register, up to which it is
	automata []*ahocorasick.Automaton
}

// mask returns text with a mark in the place of each stretch of values, and the number of marks.
func (m *matcher) mask(text string) (masked string, marks int) {
	var found spans
	for _, a := range m.automata {
		var of spans // one alone comes in order
		ahocorasick.Scan(a, 0, text, func(end, length int) { of.add(end-length, end) })
		found.merge(of)
	}
	if len(found) == 0 {
		return text, 0
	}
	var b strings.Builder
	from := 0
	for _, s := range found {
		b.WriteString(text[from:s.from])
		b.WriteString(redacted)
		from = s.to
	}
	b.WriteString(text[from:])
	return b.String(), len(found)
}

// spans are the stretches of a text that are to be masked: in order, and with something between them.
type spans []span

type span struct{ from, to int }

// add adds a stretch, which ends behind all others.
func (s *spans) add(from, to int) {
	n := len(*s)
	for n > 0 && (*s)[n-1].to >= from {
		n--
		from = min(from, (*s)[n].from)
	}
	*s = append((*s)[:n], span{from, to})
}

// merge adds others, in a time that is linear in both. It may use their memory.
func (s *spans) merge(others spans) {
	switch {
	case len(others) == 0:
		return
	case len(*s) == 0:
		*s = others
		return
	}
	own := *s
	all := make(spans, 0, len(own)+len(others))
	for len(own) > 0 || len(others) > 0 {
		next := &own
		if len(own) == 0 || len(others) > 0 && others[0].to < own[0].to {
			next = &others
		}
		one := (*next)[0]
		*next = (*next)[1:]
		all.add(one.from, one.to)
	}
	*s = all
}

// cut removes what lies before place, and counts the rest from there.
func (s *spans) cut(place int) {
	rest := (*s)[:0]
	for _, one := range *s {
		if one.to > place {
			rest = append(rest, span{max(0, one.from-place), one.to - place})
		}
	}
	*s = rest
}

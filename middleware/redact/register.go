package redact

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/ahocorasick"
)

const (
	// few is how many values may come or go before all of them are put together anew. Those that have come are looked for
	// beside the others until then: to put a few together takes some 100 µs each.
	few = 32
	// mostPatterns bounds what is looked for in all forms, in bytes, and once more what is looked for asPrinted alone. An
	// automaton takes at most 13 times as much memory, and while it is made some 40 times.
	mostPatterns = 8 << 20
	fewPatterns  = mostPatterns / 32
)

// register is what the Handlers and Writers of a Redactor know: the values that were handed out. It is reached by closures
// alone, so that no dump of what stands around it shows one.
type register struct {
	live    atomic.Bool // there is a Handler or a Writer
	once    sync.Once   // makes it live
	changes atomic.Uint64
	masked  atomic.Uint64
	current atomic.Pointer[matcher]

	mu        sync.Mutex
	scrubbers map[*scrubber]struct{} // that are not closed
	entries   map[string]*entry      // by their values
	added     []*entry               // since the last build, in their order

	// Of all entries that are held, some are in old, and those that came later in young.
	building   sync.Mutex
	old, young part
}

// entry is a value that was handed out.
type entry struct {
	value   string
	holders int
}

// part is a number of entries with what finds them.
type part struct {
	entries   []*entry
	automaton *ahocorasick.Automaton // or nil
	patterns  int
	bytes     int // of those in all forms
	skipped   int
	reduced   int
}

func newRegister() *register {
	return &register{scrubbers: make(map[*scrubber]struct{}), entries: make(map[string]*entry)}
}

// activate makes the register keep what is handed out. What was handed out before is known as far as it is remembered for
// the sake of errors.
func (r *register) activate() {
	r.once.Do(func() {
		r.live.Store(true)
		r.mu.Lock()
		scrubbers := make([]*scrubber, 0, len(r.scrubbers))
		for s := range r.scrubbers {
			scrubbers = append(scrubbers, s)
		}
		r.mu.Unlock()
		for _, s := range scrubbers {
			s.handOutAll()
		}
	})
}

func (r *register) open(s *scrubber) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.scrubbers[s] = struct{}{}
}

// close forgets s, which has released its values. No automaton of them remains either.
func (r *register) close(s *scrubber) {
	r.mu.Lock()
	delete(r.scrubbers, s)
	r.mu.Unlock()

	r.building.Lock()
	defer r.building.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.added = slices.DeleteFunc(slices.Concat(r.old.entries, r.young.entries, r.added), isGone)
	r.old, r.young = part{}, part{}
	r.current.Store(nil)
	r.changes.Add(1)
}

// hold adds a holder of secret, unless that is none.
func (r *register) hold(secret secrets.Secret) {
	if secret.IsZero() {
		return
	}
	value := secret.Reveal()
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[value]
	if e == nil {
		e = &entry{value: value}
		r.entries[value] = e
		r.added = append(r.added, e)
		r.changes.Add(1)
	}
	e.holders++
}

// release takes a holder of secret away, unless that is none.
func (r *register) release(secret secrets.Secret) {
	if secret.IsZero() {
		return
	}
	value := secret.Reveal()
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[value]
	if e == nil {
		return
	}
	if e.holders--; e.holders == 0 {
		delete(r.entries, value)
		r.changes.Add(1)
	}
}

// isGone reports whether e has no holder left. The caller holds the mutex of the register.
func isGone(e *entry) bool { return e.holders == 0 }

// matcher returns what finds the values that are held now, and some of those that were until lately.
func (r *register) matcher() *matcher {
	if m := r.current.Load(); m != nil && m.changes == r.changes.Load() {
		return m
	}
	r.building.Lock()
	defer r.building.Unlock()
	return r.build()
}

// build puts together what finds the values, if need be. The caller holds the mutex of building.
func (r *register) build() *matcher {
	r.mu.Lock()
	changes := r.changes.Load()
	if m := r.current.Load(); m != nil && m.changes == changes {
		r.mu.Unlock()
		return m
	}
	old := slices.DeleteFunc(slices.Clone(r.old.entries), isGone)
	young := slices.DeleteFunc(slices.Concat(r.young.entries, r.added), isGone)
	r.added = nil
	r.mu.Unlock()

	merge := len(young)+len(r.old.entries)-len(old) > few
	if !merge && !slices.Equal(young, r.young.entries) {
		r.young = newPart(young)
		merge = r.young.bytes > fewPatterns
	}
	if merge {
		r.old, r.young = newPart(slices.Concat(old, young)), part{}
	}
	m := &matcher{changes: changes}
	for _, p := range []part{r.old, r.young} {
		if p.automaton != nil {
			m.automata = append(m.automata, p.automaton)
		}
	}
	r.current.Store(m)
	return m
}

// newPart puts entries together. If they are too many, those that came first are looked for in few forms or left out.
func newPart(entries []*entry) part {
	p := part{entries: entries}
	var all []string
	var printed int // the bytes of those in few forms
	for _, e := range slices.Backward(entries) {
		texts, skipped := texts(e.value)
		p.skipped += skipped
		if patterns, bytes := patterns(texts, allForms, mostPatterns-p.bytes); p.bytes+bytes <= mostPatterns {
			all = append(all, patterns...)
			p.bytes += bytes
			continue
		}
		if patterns, bytes := patterns(texts, asPrinted, mostPatterns-printed); printed+bytes <= mostPatterns {
			all = append(all, patterns...)
			printed += bytes
			p.reduced++
			continue
		}
		p.skipped++
	}
	slices.Sort(all)
	all = slices.Compact(all)
	p.patterns, p.automaton = len(all), ahocorasick.New(all)
	return p
}

// stats returns the figures of what is looked for now.
func (r *register) stats() Stats {
	if !r.live.Load() {
		return Stats{}
	}
	r.building.Lock()
	defer r.building.Unlock()
	r.build()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Stats{Values: len(r.entries), Masked: r.masked.Load()}
	for _, p := range []part{r.old, r.young} {
		s.Patterns += p.patterns
		s.Skipped += p.skipped
		s.Reduced += p.reduced
		if p.automaton != nil {
			s.Size += p.automaton.Size()
		}
	}
	return s
}

// matcher finds values in texts. It does not change.
type matcher struct {
	changes  uint64 // of the register, up to which it is
	automata []*ahocorasick.Automaton
}

// mask returns text with a mark in the place of each stretch of values, and the number of marks.
func (m *matcher) mask(text string) (masked string, marks int) {
	var found spans
	for _, a := range m.automata {
		ahocorasick.Scan(a, 0, text, func(end, length int) { found.add(end-length, end) })
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

// add adds a stretch. It takes a time that is constant where they come in the order of their ends.
func (s *spans) add(from, to int) {
	all := *s
	behind := len(all)
	for behind > 0 && all[behind-1].from > to {
		behind--
	}
	first := behind
	for first > 0 && all[first-1].to >= from {
		first--
	}
	if first < behind {
		from, to = min(from, all[first].from), max(to, all[behind-1].to)
	}
	*s = slices.Replace(all, first, behind, span{from, to})
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

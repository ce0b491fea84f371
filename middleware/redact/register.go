package redact

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/ahocorasick"
)

const (
	// maxPatterns bounds what is looked for in all forms, in bytes, and once more what is looked for asPrinted alone. An
	// automaton takes at most 13 times as much memory, and while it is made some 40 times.
	maxPatterns = 8 << 20
	// What remains of them where they were too many, so that this is not so again at once: then all is made anew.
	roomInAllForms = maxPatterns / 8 * 5
	roomInFewForms = maxPatterns / 8 * 7
	// A part is put together with the one before it that is no more than growth times as large, and with any as long as both
	// are small: that takes about a millisecond. What takes more than small is done while the loggers go on.
	growth = 2
	small  = 32 << 10
	// sizable is the length of the shortest text of several lines that is not looked for in all forms where its lines are.
	sizable = 1 << 10
)

// register is what the Handlers and Writers of a Redactor know: the values that were handed out. It is reached by closures
// alone, so that no dump of what stands around it shows one.
type register struct {
	live    atomic.Bool // there is a Handler or a Writer
	once    sync.Once   // makes it live
	changes atomic.Uint64
	masked  atomic.Uint64
	current atomic.Pointer[matcher]

	// The locks are taken in this order. A logger waits for merging only where far too much is new.
	merging  sync.Mutex // for what the entries of parts are looked for by
	building sync.Mutex // for parts, from the oldest to the newest
	parts    []*part
	mergers  atomic.Int32 // that run beside the loggers

	mu        sync.Mutex
	scrubbers map[*scrubber]struct{} // that are not closed
	entries   map[string]*entry      // by their values
	added     []*entry               // that are in no part yet, in their order
	forgotten uint64
}

// entry is a value that was handed out.
type entry struct {
	value   string
	holders int
	part    *part // or nil

	reach    reach
	patterns []string // in order
	bytes    int      // of patterns
	weak     int      // texts that are not looked for
	sizes    [2]int   // the bytes of the patterns to each reach, as far as they are known
}

// reach is to what reach a value is looked for.
type reach int

const (
	inAllForms reach = iota
	inFewForms
	notAtAll
)

// part is a number of entries with what finds them.
type part struct {
	entries   []*entry
	gone      int                    // how many of them have no holder left; for the mutex of the register
	automaton *ahocorasick.Automaton // or nil
	stale     bool                   // the automaton is yet to be made
	patterns  int
	bytes     [2]int // of those to each reach
}

// weight is what a part takes to put together, about.
func (p *part) weight() int {
	const perEntry = 64
	return p.bytes[inAllForms] + p.bytes[inFewForms] + perEntry*len(p.entries)
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

	r.merging.Lock()
	defer r.merging.Unlock()
	r.building.Lock()
	defer r.building.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.added = slices.DeleteFunc(r.added, isGone)
	parts := make([]*part, 0, len(r.parts))
	for _, p := range r.parts {
		if p.gone > 0 {
			p = &part{entries: slices.DeleteFunc(slices.Clone(p.entries), isGone), stale: true}
			p.adopt()
		}
		if len(p.entries) > 0 {
			parts = append(parts, p)
		}
	}
	r.parts = parts
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
		if e.part != nil {
			e.part.gone++
		}
		r.changes.Add(1)
	}
}

// isGone reports whether e has no holder left. The caller holds the mutex of the register.
func isGone(e *entry) bool { return e.holders == 0 }

// adopt makes p the part of its entries. The caller holds the mutex of the register.
func (p *part) adopt() {
	p.gone = 0
	for _, e := range p.entries {
		e.part = p
		if isGone(e) {
			p.gone++
		}
	}
}

// matcher returns what finds the values that are held now, and some of those that were until lately.
func (r *register) matcher() *matcher {
	if m := r.current.Load(); m != nil && m.changes == r.changes.Load() {
		return m
	}
	m, weight := r.build()
	switch {
	case weight == 0:
	case weight <= small && r.merging.TryLock():
		defer r.merging.Unlock()
		return cmp.Or(r.merge(), m)
	case r.excess():
		r.merging.Lock()
		defer r.merging.Unlock()
		return cmp.Or(r.merge(), m)
	case r.mergers.CompareAndSwap(0, 1):
		go func() {
			r.merging.Lock()
			defer r.merging.Unlock()
			r.mergers.Store(0) // what is new from now on may need another
			r.merge()
		}()
	}
	return m
}

// build puts together what finds the values that are new, if there are any, and returns it with what else finds values. It
// also returns the weight of the parts that are to be merged.
func (r *register) build() (m *matcher, weight int) {
	r.building.Lock()
	defer r.building.Unlock()
	r.mu.Lock()
	changes := r.changes.Load()
	if m := r.current.Load(); m != nil && m.changes == changes {
		r.mu.Unlock()
		return m, 0
	}
	added := slices.DeleteFunc(r.added, isGone)
	r.added = nil
	r.mu.Unlock()

	for _, p := range r.parts {
		if p.stale {
			p.make()
		}
	}
	if len(added) > 0 {
		settle(added, [2]int{roomInAllForms, roomInFewForms})
		p := &part{entries: added}
		p.make()
		r.mu.Lock()
		p.adopt()
		r.mu.Unlock()
		r.parts = append(r.parts, p)
	}
	for _, p := range r.parts[r.due():] {
		weight += p.weight()
	}
	return r.publish(changes), weight
}

// publish makes a matcher of the parts, which are those up to changes. The caller holds the mutex of building.
func (r *register) publish(changes uint64) *matcher {
	m := &matcher{changes: changes}
	for _, p := range r.parts {
		if p.automaton != nil {
			m.automata = append(m.automata, p.automaton)
		}
	}
	r.current.Store(m)
	return m
}

// sizes returns the bytes of the patterns to each reach. The caller holds the mutex of building.
func sizes(parts []*part) (sum [2]int) {
	for _, p := range parts {
		sum[inAllForms] += p.bytes[inAllForms]
		sum[inFewForms] += p.bytes[inFewForms]
	}
	return sum
}

// excess reports whether there is so much that no more can be added before the parts are merged.
func (r *register) excess() bool {
	r.building.Lock()
	defer r.building.Unlock()
	sum := sizes(r.parts)
	return max(sum[inAllForms], sum[inFewForms]) > maxPatterns+maxPatterns/4
}

// due returns the index of the first of those last parts that are to be merged, or how many there are if none is. The caller
// holds the mutex of building.
func (r *register) due() int {
	if sum := sizes(r.parts); max(sum[inAllForms], sum[inFewForms]) > maxPatterns {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	due, weight := len(r.parts), 0
	for i, p := range slices.Backward(r.parts) {
		w := p.weight()
		if i+1 < len(r.parts) && (w <= growth*weight || w+weight <= small) || 2*p.gone > len(p.entries) {
			due = i
		}
		weight += w
	}
	return due
}

// merge merges the parts that are due, and returns what finds all values, or nil if a Client was closed since it was put
// together. Meanwhile, parts may be added. The caller holds the mutex of merging.
func (r *register) merge() *matcher {
	r.building.Lock()
	defer r.building.Unlock()
	for due := r.due(); due < len(r.parts); due = r.due() {
		all := len(r.parts)
		merged, room := &part{}, sizes(r.parts[:due])
		r.mu.Lock()
		for _, p := range r.parts[due:] {
			merged.entries = append(merged.entries, p.entries...)
		}
		merged.entries = slices.DeleteFunc(merged.entries, isGone)
		r.mu.Unlock()
		r.building.Unlock()

		if due == 0 {
			room = [2]int{roomInAllForms, roomInFewForms}
		} else {
			room[inAllForms], room[inFewForms] = max(0, maxPatterns-room[inAllForms]), max(0, maxPatterns-room[inFewForms])
		}
		settle(merged.entries, room)
		merged.make()

		r.building.Lock()
		r.mu.Lock()
		merged.adopt()
		r.mu.Unlock()
		parts := r.parts[:due:due]
		if len(merged.entries) > 0 {
			parts = append(parts, merged)
		}
		r.parts = append(parts, r.parts[all:]...)
		if m := r.current.Load(); m != nil {
			r.publish(m.changes)
		}
	}
	return r.current.Load()
}

// make makes the automaton of what the entries are looked for by.
func (p *part) make() {
	var all []string
	p.bytes, p.stale = [2]int{}, false
	for _, e := range p.entries {
		all = append(all, e.patterns...)
		if e.reach != notAtAll {
			p.bytes[e.reach] += e.bytes
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	p.patterns, p.automaton = len(all), ahocorasick.New(all)
}

// settle decides to what reach each of entries is looked for, where there is room for so many bytes to each: those that came
// last go first.
func settle(entries []*entry, room [2]int) {
	for _, e := range slices.Backward(entries) {
		to := inAllForms
		for to < notAtAll && !e.expand(to, room[to]) {
			to++
		}
		if to == notAtAll {
			e.reach, e.patterns, e.bytes = notAtAll, nil, 0
			continue
		}
		room[to] -= e.bytes
	}
}

// expand works out what e is looked for by to the reach of to, unless that is more than room.
func (e *entry) expand(to reach, room int) (fits bool) {
	if known := e.sizes[to]; known > room {
		return false
	} else if known > 0 && e.reach == to {
		return true
	}
	all, weak := texts(e.value)
	e.weak = weak
	whole, forms := covered(all), uint32(allForms)
	if to == inFewForms {
		forms = asPrinted
	}
	var found []string
	sum := 0
	for _, text := range all {
		wanted := forms
		if _, is := whole[text]; is {
			wanted = asPrinted
		}
		more, n := patterns([]string{text}, wanted, room)
		found = append(found, more...)
		// Some forms are the same: what is far too much is so without them too.
		if sum += n; sum > 4*room+maxPatterns {
			e.sizes[to] = maxPatterns + 1
			return false
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	sum = 0
	for _, p := range found {
		sum += len(p)
	}
	if e.sizes[to] = max(1, sum); sum > room {
		return false
	}
	e.reach, e.patterns, e.bytes = to, slices.Clip(found), sum
	return true
}

// covered returns those of texts of several lines, and of some size, that need not be looked for in all forms, since their
// lines are: in hex, base64 and the like, no more shows than what stands between the lines. So it is with such a text as it
// is written in JSON.
func covered(texts []string) map[string]struct{} {
	var all map[string]struct{}
	known := make(map[string]struct{}, len(texts))
	for _, text := range texts {
		known[text] = struct{}{}
	}
	for _, text := range texts {
		if len(text) < sizable || !strings.Contains(text, "\n") {
			continue
		}
		bare := 0
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if _, is := known[line]; !is && !isFrame(line) {
				bare += len(line)
			}
		}
		if bare >= weakest {
			continue
		}
		if all == nil {
			all = make(map[string]struct{})
		}
		for _, one := range []string{text, text + "\n"} {
			all[one], all[jsonText(one, false)], all[jsonText(one, true)] = struct{}{}, struct{}{}, struct{}{}
		}
	}
	return all
}

// stats returns the figures of what is looked for now.
func (r *register) stats() Stats {
	if !r.live.Load() {
		return Stats{}
	}
	r.merging.Lock()
	defer r.merging.Unlock()
	r.build()
	r.merge()
	r.building.Lock()
	defer r.building.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Stats{Values: len(r.entries), Masked: r.masked.Load(), Forgotten: r.forgotten}
	for _, p := range r.parts {
		s.Patterns += p.patterns
		if p.automaton != nil {
			s.Size += p.automaton.Size()
		}
		for _, e := range p.entries {
			if isGone(e) {
				continue
			}
			s.Skipped += e.weak
			switch e.reach {
			case inAllForms:
			case inFewForms:
				s.Reduced++
			case notAtAll:
				s.Skipped++
			}
		}
	}
	return s
}

// forget counts a value that was forgotten for want of space.
func (r *register) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgotten++
}

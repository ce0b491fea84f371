package redact

import (
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/seed-5482dd03/secrets/internal/ahocorasick"
)

// maxAtOnce is how many bytes are masked at once. It bounds the memory for a Write of any length.
const maxAtOnce = 32 << 10

// writer shows nothing of the stream in a dump.
type writer struct {
	write func(p []byte) (int, error)
	close func() error
}

func (w *writer) Write(p []byte) (int, error) { return w.write(p) }
func (w *writer) Close() error                { return w.close() }

var _ io.WriteCloser = (*writer)(nil)

// stream masks what is written to it, and writes that to next.
type stream struct {
	next     io.Writer
	register *register

	mu      sync.Mutex
	matcher *matcher
	search  []progress // by the automata of matcher
	former  []progress // by those of before, as long as they may end in what is held
	held    []byte     // may be the beginning of a value
	spans   spans      // of held and what was written now
	hidden  bool       // what was passed on ends in a mark
	out     []byte     // a buffer
	err     error      // of all writes to come
	closed  bool
	closing error // what Close returned
}

func (s *stream) write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && n < len(p) {
		piece := p[n:min(len(p), n+maxAtOnce)]
		if s.err = s.take(piece); s.err != nil {
			s.held = nil
			break
		}
		n += len(piece)
	}
	return n, s.err
}

func (s *stream) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.closing
	}
	s.closed = true
	if s.err == nil {
		s.renew()
		s.err = s.pass(nil, 0)
	}
	s.closing = s.err
	s.err = fmt.Errorf("redact: Write: %w", fs.ErrClosed)
	s.held, s.out, s.spans, s.matcher, s.search, s.former = nil, nil, nil, nil, nil, nil
	return s.closing
}

// take masks piece, the next of the stream, and passes on what is decided.
func (s *stream) take(piece []byte) error {
	s.renew()
	pending := s.scanAll(piece)
	return s.pass(piece, pending)
}

// progress is the search by one automaton, behind all that was written.
type progress struct {
	automaton *ahocorasick.Automaton
	state     ahocorasick.State
	since     int // how many bytes came since it was a former one
}

// renew sees to it that the values of now are looked for, also in what is held. What is held may be the beginning of a value
// that is none any more: those of before are looked for until that is decided.
func (s *stream) renew() {
	m := s.register.matcher()
	if m == s.matcher {
		return
	}
	before := s.search
	s.matcher, s.search = m, make([]progress, len(m.automata))
	var fresh []*progress
	for i, a := range m.automata {
		s.search[i].automaton = a
		same := func(old progress) bool { return old.automaton == a }
		if k := slices.IndexFunc(before, same); k >= 0 {
			s.search[i] = before[k]
			before = slices.Delete(before, k, k+1)
			continue
		}
		fresh = append(fresh, &s.search[i])
	}
	for _, old := range before {
		if old.automaton.Pending(old.state) > 0 {
			s.former = append(s.former, old)
		}
	}
	for _, one := range fresh {
		s.scan(one, s.held, 0)
	}
}

// scan goes on with one in piece, which begins at a place of what is held and written now. It returns how much of the end
// may be the beginning of a value.
func (s *stream) scan(one *progress, piece []byte, place int) (pending int) {
	var found spans
	into := &found
	if len(s.spans) == 0 || s.spans[len(s.spans)-1].to <= place {
		into = &s.spans // what is found is in order with them
	}
	one.state = ahocorasick.Scan(one.automaton, one.state, piece, func(end, length int) {
		into.add(place+end-length, place+end)
	})
	s.spans.merge(found)
	return one.automaton.Pending(one.state)
}

// scanAll goes on with all searches in piece, which follows what is held.
func (s *stream) scanAll(piece []byte) (pending int) {
	for i := range s.search {
		pending = max(pending, s.scan(&s.search[i], piece, len(s.held)))
	}
	if len(s.former) == 0 {
		return pending
	}
	still := s.former[:0]
	for _, old := range s.former {
		// It is done with as soon as nothing is pending that begins in what was held then.
		old.since += len(piece)
		if n := s.scan(&old, piece, len(s.held)); n > old.since {
			pending = max(pending, n)
			still = append(still, old)
		}
	}
	clear(s.former[len(still):])
	s.former = still
	return pending
}

// pass passes on what is held and piece, but for the last bytes, which it holds.
func (s *stream) pass(piece []byte, pending int) error {
	if len(s.held) == 0 && len(s.spans) == 0 && pending == 0 {
		if len(piece) == 0 {
			return nil
		}
		s.hidden = false
		return s.send(piece)
	}
	s.held = append(s.held, piece...)
	decided := len(s.held) - pending
	s.render(s.held[:decided])
	s.held = append(s.held[:0], s.held[decided:]...)
	s.spans.cut(decided)
	if len(s.out) == 0 {
		return nil
	}
	return s.send(s.out)
}

// render makes out of text, which is all before what is held.
func (s *stream) render(text []byte) {
	s.out = s.out[:0]
	from, marks := 0, uint64(0)
	for _, one := range s.spans {
		if one.from >= len(text) {
			break
		}
		s.out = append(s.out, text[from:one.from]...)
		if one.from > 0 || !s.hidden {
			s.out = append(s.out, redacted...)
			marks++
		}
		from = min(one.to, len(text))
		s.hidden = from == len(text)
	}
	s.out = append(s.out, text[from:]...)
	if from < len(text) {
		s.hidden = false
	}
	if marks > 0 {
		s.register.masked.Add(marks)
	}
}

func (s *stream) send(p []byte) error {
	n, err := s.next.Write(p)
	if err == nil && n < len(p) {
		return io.ErrShortWrite
	}
	return err
}

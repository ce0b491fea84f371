package redact

import (
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/seed-5482dd03/secrets/internal/ahocorasick"
)

// mostAtOnce is how many bytes are masked at once. It bounds the memory for a Write of any length.
const mostAtOnce = 32 << 10

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
	states  []ahocorasick.State // of the automata of matcher, behind all that was written
	held    []byte              // may be the beginning of a value
	spans   spans               // of held and what was written now
	hidden  bool                // what was passed on ends in a mark
	out     []byte              // a buffer
	err     error               // of all writes to come
	closed  bool
	closing error // what Close returned
}

func (s *stream) write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && n < len(p) {
		piece := p[n:min(len(p), n+mostAtOnce)]
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
	s.held, s.out, s.spans, s.matcher, s.states = nil, nil, nil, nil, nil
	return s.closing
}

// take masks piece, the next of the stream, and passes on what is decided.
func (s *stream) take(piece []byte) error {
	s.renew()
	pending := s.scan(piece, len(s.held))
	return s.pass(piece, pending)
}

// renew sees to it that the values of now are looked for, also in what is held.
func (s *stream) renew() {
	m := s.register.matcher()
	if m == s.matcher {
		return
	}
	s.matcher = m
	s.states = make([]ahocorasick.State, len(m.automata))
	s.scan(s.held, 0)
}

// scan goes on in piece, which begins at a place of what is held and written now. It returns how much of the end may be the
// beginning of a value.
func (s *stream) scan(piece []byte, place int) (pending int) {
	for i, a := range s.matcher.automata {
		s.states[i] = ahocorasick.Scan(a, s.states[i], piece, func(end, length int) {
			s.spans.add(place+end-length, place+end)
		})
		pending = max(pending, a.Pending(s.states[i]))
	}
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

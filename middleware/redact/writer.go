package redact

import (
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/seed-5482dd03/secrets/internal/search"
)

// maxAtOnce is how many bytes are masked in one step. It bounds the memory that a long Write takes.
const maxAtOnce = 32 << 10

// writer hides the stream from dumps behind a func.
type writer struct {
	write func(p []byte, last bool) (int, error)
}

func (w *writer) Write(p []byte) (int, error) { return w.write(p, false) }

func (w *writer) Close() error {
	_, err := w.write(nil, true)
	return err
}

// stream masks the text that is written to it, and writes the result to next.
type stream struct {
	next  io.Writer
	known *memory

	mu     sync.Mutex
	search *search.Stream
	err    error // of next
	closed bool
}

func (s *stream) write(p []byte, last bool) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		if last {
			return 0, s.err
		}
		return 0, fmt.Errorf("redact: Write: %w", fs.ErrClosed)
	}
	for s.err == nil && n < len(p) {
		piece := p[n:min(len(p), n+maxAtOnce)]
		if s.err = s.pass(s.search.Next(piece)); s.err == nil {
			n += len(piece)
		}
	}
	if s.closed = last; last && s.err == nil {
		s.err = s.pass(s.search.End())
	}
	if s.closed || s.err != nil {
		s.search = nil
	}
	return n, s.err
}

// pass writes p to next, unless it is empty.
func (s *stream) pass(p []byte, marks int) error {
	s.known.count(marks)
	if len(p) == 0 {
		return nil
	}
	n, err := s.next.Write(p)
	if err == nil && n < len(p) {
		return io.ErrShortWrite
	}
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/redact"
)

// maskBytes is how much memory the values that are masked may take, with their index.
const maskBytes = 1 << 30

// silence is for how long what a program has left running must have written nothing, before its output counts as ended.
const silence = 2 * time.Second

// stream passes on what a program writes.
type stream struct {
	from  *os.File
	ended atomic.Bool // the program has; what it has left running may still write
	done  chan struct{}
	lost  bool // output could not be written; set before done is closed
}

// newStream passes to the writer what is written to the file that it returns, which the program gets. It closes both.
func newStream(to io.WriteCloser) (*stream, *os.File, error) {
	from, write, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	s := &stream{from: from, done: make(chan struct{})}
	go s.pass(to)
	return s, write, nil
}

func (s *stream) pass(to io.WriteCloser) {
	defer close(s.done)
	defer s.from.Close() //nolint:errcheck // the next write of the program fails then, as it would have without the command
	const size = 32 << 10
	buffer := make([]byte, size)
	for {
		if s.ended.Load() {
			s.expire()
		}
		n, err := s.from.Read(buffer)
		if _, failed := to.Write(buffer[:n]); failed != nil {
			if !errors.Is(failed, syscall.EPIPE) { // or nobody reads it any more, which is no loss
				s.lost = true
				warn(fmt.Errorf("secrets: exec: --mask: the output: %w", failed))
			}
			return
		}
		if err != nil {
			_ = to.Close() //nolint:errcheck // the same
			return
		}
	}
}

// expire makes a read fail that waits for longer than the silence. What is in the pipe is still read.
func (s *stream) expire() {
	_ = s.from.SetReadDeadline(time.Now().Add(silence)) //nolint:errcheck // where pipes have none, the end is that of all writers
}

// drain returns when all is passed on, and reports whether some of it could not be written. Once abandoned is closed, it waits no longer
// than the silence.
func (s *stream) drain(abandoned <-chan struct{}) (lost bool) {
	s.ended.Store(true)
	s.expire()
	select {
	case <-s.done:
		return s.lost
	case <-abandoned:
	}
	select {
	case <-s.done:
		return s.lost
	case <-time.After(silence):
		_ = s.from.Close() //nolint:errcheck // what the program has left running gets SIGPIPE
		return false
	}
}

// holder returns a function that keeps values masked until it is called again: those that the program got at its start. The Redactor
// forgets the value of a key after two changes, but a running program may still have it. The client has nothing to close.
func holder(redactor *redact.Redactor) (hold func(ctx context.Context, values map[string]secrets.Secret) error, err error) {
	var held []secrets.Secret
	program := secrets.NewBackend(secrets.Info{Name: "program"}, func(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
		i, err := strconv.Atoi(ref.Path)
		if err != nil {
			return secrets.Secret{}, secrets.NewError(secrets.ErrNotFound, "")
		}
		return held[i], nil
	})
	client, err := secrets.New(program, secrets.WithRedaction(redactor))
	return func(ctx context.Context, values map[string]secrets.Secret) error {
		held = slices.Collect(maps.Values(values))
		keys := make([]string, len(held))
		for i := range held {
			keys[i] = strconv.Itoa(i)
		}
		_, err := client.GetMany(ctx, keys...)
		if err == nil && redactor.Stats().Forgotten > 0 {
			err = errors.New("secrets: exec: --mask: the values are too large in all to mask them; leave --mask or some keys away")
		}
		return err
	}, err
}

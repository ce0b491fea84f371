package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// settling is how long after a change the keys are read: what is changed together, such as a user and a password, is used together.
const settling = 200 * time.Millisecond

// follow sends to changed when a value is no longer the one that the program has.
func (s *supervisor) follow(ctx context.Context, changed chan<- struct{}) error {
	for _, key := range s.keys {
		handle, err := s.client.Watch(ctx, key, secrets.WatchInterval(s.interval))
		if err != nil {
			return err
		}
		go func(last secrets.Secret) {
			for ctx.Err() == nil {
				next := handle.Changed()
				if now := handle.Secret(); !now.Equal(last) {
					last = now
					select {
					case changed <- struct{}{}:
					default: // one is enough
					}
				}
				<-next
			}
		}(s.values[key])
	}
	return nil
}

// answer is what a read of all keys has brought.
type answer struct {
	values map[string]secrets.Secret
	err    error
}

// read reads all keys again, past the cache.
func (s *supervisor) read(ctx context.Context) <-chan answer {
	s.client.Invalidate(s.keys...)
	answers := make(chan answer, 1)
	go func() {
		values, err := s.client.GetMany(ctx, s.keys...)
		answers <- answer{values, err}
	}()
	return answers
}

// take makes the program use the values, if they are others. It reports whether they can be used; if not, nothing has happened.
func (s *supervisor) take(a answer) bool {
	if a.err != nil {
		return false // an outage, or a part of the keys
	}
	var other []string
	for _, key := range s.keys {
		before, now := s.values[key], a.values[key]
		if now.Meta().Stale || s.rank(now) > s.rank(before) {
			return false // a backend that is asked later answers in an outage of those before it
		}
		if !now.Equal(before) {
			other = append(other, key)
		}
	}
	if len(other) == 0 {
		return true
	}
	if err := s.checkValues(a.values); err != nil {
		warn(err)
		return true
	}
	if err := s.mounted.write(a.values); err != nil {
		warn(err)
		return false
	}
	s.values = a.values
	what := printable(other[0]) + " has changed"
	if len(other) > 1 {
		what = fmt.Sprintf("%s and %d more have changed", printable(other[0]), len(other)-1)
	}
	s.act(what)
	return true
}

// rank returns the place of the backend that has answered among those that are asked after the first, or -1 for the first.
func (s *supervisor) rank(value secrets.Secret) int {
	return slices.Index(s.chain, value.Meta().Backend)
}

package secrets

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// firstRound is for how long the candidates of a refused value are those that were asked for. It doubles up to maxRound: so a
	// consumer that refuses everybody causes few calls.
	firstRound = time.Second
	maxRound   = 10 * time.Second
	// acceptedFor is for how long a version that was accepted in place of the current one is tried first.
	acceptedFor = time.Minute
	// maxRefusals bounds the keys of which refused values are known.
	maxRefusals = 1000
)

// refusals are the values that consumers have refused, by key. The zero value knows none.
type refusals struct {
	mu    sync.Mutex
	byKey map[string]*refusal
}

// refusal is a value that a consumer has refused, and what is known to try in its place.
type refusal struct {
	key     string
	refused Secret

	// Guarded by turn, which a caller holds while it asks for a candidate:
	turn       chan struct{}
	asked      []Secret // in this round: the current version, then the alternates; zero if it could not be had
	alternates []Ref    // of the current version
	failure    *Error   // of the current version, or nil
	length     time.Duration

	mu       sync.Mutex
	roundEnd time.Time // what was asked for holds until then
	chosen   Secret    // what was accepted in place of the refused value, or zero
	until    time.Time // chosen is tried first until then
}

// find returns what is known about s, if it was refused as the value of key, or nil.
func (r *refusals) find(key string, s Secret) *refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.byKey[key]
	if known != nil && known.refused.Equal(s) {
		return known
	}
	if known != nil && known.isOld(time.Now()) {
		delete(r.byKey, key) // it holds values
	}
	return nil
}

// isOld reports whether nobody can want to know of r any more.
func (r *refusal) isOld(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return now.After(r.roundEnd.Add(acceptedFor)) && now.After(r.until)
}

// begin notes that s was refused as the value of key.
func (r *refusals) begin(key string, s Secret) *refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.byKey[key]; known != nil && known.refused.Equal(s) {
		return known
	}
	if r.byKey == nil {
		r.byKey = make(map[string]*refusal)
	}
	if _, found := r.byKey[key]; !found && len(r.byKey) >= maxRefusals {
		for some := range r.byKey {
			delete(r.byKey, some)
			break
		}
	}
	fresh := &refusal{key: key, refused: s, turn: make(chan struct{}, 1)}
	r.byKey[key] = fresh
	return fresh
}

// accepted returns what is to be tried before the refused value, or the zero Secret.
func (r *refusal) accepted() Secret {
	if r == nil {
		return Secret{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.After(r.until) || isOver(r.chosen, now) {
		return Secret{}
	}
	return r.chosen
}

// accept notes that s was accepted, or that nothing is if s is zero.
func (r *refusal) accept(s Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chosen, r.until = s, time.Now().Add(acceptedFor)
}

// end returns until when what was asked for holds.
func (r *refusal) end() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.roundEnd
}

// candidate returns candidate i of the round: 0 is the current version, and the alternates follow. more is false behind the last one. A
// candidate that could not be had is zero. The error is that of the current version, or of ctx. Callers wait for each other, so that
// each candidate is asked for once a round. A round goes on while one of its candidates is accepted.
func (r *refusal) candidate(ctx context.Context, c *Client, i int) (s Secret, more bool, err error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return s, false, contextError(ctx, "", r.key)
	}
	if i == 0 && !time.Now().Before(r.end()) && r.accepted().IsZero() {
		r.asked, r.alternates, r.failure = nil, nil, nil
	}
	for len(r.asked) <= i && r.failure == nil {
		if len(r.asked) == 0 {
			if err := r.refresh(ctx, c); err != nil {
				return s, false, err
			}
			continue
		}
		next := len(r.asked) - 1
		if next == len(r.alternates) {
			return s, false, nil
		}
		other, err := c.alternate(ctx, r.alternates[next], r.asked[0])
		if err != nil && ctx.Err() != nil { // otherwise, one that cannot be had is passed over
			return s, false, contextError(ctx, "", r.key)
		}
		r.asked = append(r.asked, other)
	}
	if r.failure != nil {
		return s, false, r.failure.clone() // it is the caller's own
	}
	return r.asked[i], true, nil
}

// refresh asks for the current version, and begins a round. The error is that of ctx: it says nothing to other callers.
func (r *refusal) refresh(ctx context.Context, c *Client) error {
	s, err := c.Refresh(ctx, r.key)
	if err != nil && ctx.Err() != nil {
		return err
	}
	r.length = min(max(2*r.length, firstRound), maxRound)
	r.mu.Lock()
	r.roundEnd = time.Now().Add(r.length)
	r.mu.Unlock()
	if r.failure, _ = errors.AsType[*Error](err); err == nil {
		r.asked, r.alternates = []Secret{s}, c.alternates(r.key, s)
	}
	return nil
}

package secrets

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// firstRound is how long Do reuses the fetched candidates of a refused value. It doubles up to maxRound: a consumer that refuses every
	// login causes few calls.
	firstRound = time.Second
	maxRound   = 10 * time.Second
	// acceptedFor is how long Do tries a version first that was accepted in place of the current one.
	acceptedFor = time.Minute
	// maxRefusals bounds the number of keys in refusals.
	maxRefusals = 1000
)

// refusals are the values that consumers have refused, by key. The zero value is ready to use.
type refusals struct {
	mu    sync.Mutex
	byKey map[string]*refusal
}

// refusal is a value that a consumer has refused, and the candidates to try instead.
type refusal struct {
	key     string
	refused Secret

	// Guarded by turn, which a caller holds while it fetches a candidate:
	turn       chan struct{}
	fetched    []Secret // in this round: the current version, then the alternates; zero if the fetch failed
	alternates []Ref    // of the current version
	failure    *Error   // of the current version, or nil
	length     time.Duration

	mu       sync.Mutex
	roundEnd time.Time // fetched is valid until then
	chosen   Secret    // accepted in place of the refused value, or zero
	until    time.Time // Do tries chosen first until then
}

// find returns the refusal of s as the value of key, or nil.
func (r *refusals) find(key string, s Secret) *refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.byKey[key]
	if known != nil && known.refused.Equal(s) {
		return known
	}
	if known != nil && known.isOld(time.Now()) {
		delete(r.byKey, key) // an old refusal keeps values in memory
	}
	return nil
}

// isOld reports whether r has no effect on a later Do.
func (r *refusal) isOld(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return now.After(r.roundEnd.Add(acceptedFor)) && now.After(r.until)
}

// begin records that s was refused as the value of key, and returns the refusal.
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

// accepted returns the secret to try before the refused value, or the zero Secret. r may be nil.
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

// accept records that s was accepted; the zero Secret removes the record.
func (r *refusal) accept(s Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chosen, r.until = s, time.Now().Add(acceptedFor)
}

// end returns the end of the round.
func (r *refusal) end() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.roundEnd
}

// candidate returns candidate i of the round: 0 is the current version, then the alternates. more is false after the last one. A candidate
// whose fetch failed is zero. The error is that of the current version, or of ctx. Callers wait for each other: each candidate is fetched
// once per round. A round does not end while one of its candidates is accepted.
func (r *refusal) candidate(ctx context.Context, c *Client, i int) (s Secret, more bool, err error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return s, false, contextError(ctx, "", r.key)
	}
	if i == 0 && !time.Now().Before(r.end()) && r.accepted().IsZero() {
		r.fetched, r.alternates, r.failure = nil, nil, nil
	}
	for len(r.fetched) <= i && r.failure == nil {
		if len(r.fetched) == 0 {
			if err := r.refresh(ctx, c); err != nil {
				return s, false, err
			}
			continue
		}
		next := len(r.fetched) - 1
		if next == len(r.alternates) {
			return s, false, nil
		}
		other, err := c.alternate(ctx, r.alternates[next], r.fetched[0])
		if err != nil && ctx.Err() != nil { // any other failure only skips this candidate
			return s, false, contextError(ctx, "", r.key)
		}
		r.fetched = append(r.fetched, other)
	}
	if r.failure != nil {
		return s, false, r.failure.clone() // each caller may change its error
	}
	return r.fetched[i], true, nil
}

// refresh fetches the current version, and begins a round. The error is that of ctx, which does not concern other callers.
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
		r.fetched, r.alternates = []Secret{s}, c.alternates(r.key, s)
	}
	return nil
}

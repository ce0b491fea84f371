package vault

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/vault/api"
)

const (
	renewTimeout = 10 * time.Second
	// The pauses between two attempts double from minPause to maxPause.
	minPause = time.Second
	maxPause = 30 * time.Second
)

// renewLoop extends g before its end, until ctx ends, another token replaces it, or g expires.
func (s *session) renewLoop(ctx context.Context, g *grant) {
	ctx = context.WithValue(ctx, noRetry{}, true)
	var pause time.Duration
	next := s.renewAt(g)
	for {
		end, renewable := s.state(g)
		if next.After(end) {
			next = end
		}
		if !sleep(ctx, time.Until(next)) {
			return
		}
		now := time.Now()
		if !now.Before(end) {
			s.drop(g)
			return
		}
		replaced, err := s.extend(ctx, g, end, renewable)
		switch {
		case ctx.Err() != nil, replaced:
			return
		case err == nil:
			pause, next = 0, s.renewAt(g)
		case errors.Is(err, errTokenInvalid):
			s.drop(g)
			return
		default:
			pause = longer(pause)
			next = time.Now().Add(pause + rand.N(pause/4)) // not for security: it spreads load
		}
	}
}

func (s *session) state(g *grant) (end time.Time, renewable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return g.end, g.renewable
}

// renewAt returns when to extend g: at two thirds of its TTL, ±10 %.
func (s *session) renewAt(g *grant) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	twoThirds := g.ttl / 3 * 2
	return g.end.Add(twoThirds - g.ttl).Add(rand.N(twoThirds/5+1) - twoThirds/10) // not for security: it spreads load
}

// errTokenInvalid says that the server rejects the token.
var errTokenInvalid = errors.New("dead")

// extend renews g, or else logs in. replaced reports whether another token took its place.
func (s *session) extend(ctx context.Context, g *grant, end time.Time, renewable bool) (replaced bool, err error) {
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	if renewable {
		extended, err := s.renew(ctx, g)
		if extended || err != nil {
			return false, err
		}
	}
	_, err = s.obtain(ctx, g)
	return err == nil, err
}

// renew renews g and reports whether it lasts longer. A refusal is not an error: a login follows.
func (s *session) renew(ctx context.Context, g *grant) (extended bool, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	secret, err := s.as(g.token).Auth().Token().RenewSelfWithContext(ctx, 0)
	if err != nil {
		a, answered := answerOf(err)
		switch {
		case answered && a.rejectsToken():
			return false, errTokenInvalid
		case answered && a.fromVault && a.refuses(): // not a proxy: its refusal may be temporary
			s.mu.Lock()
			defer s.mu.Unlock()
			g.renewable = false
			return false, nil
		default:
			return false, unavailable("the token was not renewed")
		}
	}
	if secret == nil || secret.Auth == nil {
		return false, unavailable("the token was not renewed")
	}
	return s.applyRenewal(g, began, secret.Auth), nil
}

// applyRenewal applies the answer to a renewal that began at began, and reports whether g lasts longer.
func (s *session) applyRenewal(g *grant, began time.Time, auth *api.SecretAuth) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ttl := lease(auth)
	end := began.Add(ttl)
	capped := ttl < g.ttl
	if capped {
		end = end.Add(-time.Second) // the server rounds up the time left until the maximum TTL
	}
	g.renewable = auth.Renewable && !capped // near the maximum TTL, the next step is a login
	if end.Sub(g.end) < g.ttl/10 {
		g.renewable = false
		return false
	}
	s.minAge = minPause
	g.ttl, g.end = end.Sub(began), end
	return true
}

// longer returns the pause after a pause of d.
func longer(d time.Duration) time.Duration { return min(max(2*d, minPause), maxPause) }

// sleep waits for d. It returns false if ctx is done.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

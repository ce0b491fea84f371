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
	// The pauses between two attempts double from least to most.
	leastPause = time.Second
	maxPause   = 30 * time.Second
)

// keep extends g ahead of its end, again and again, until ctx ends, another token is there, or g is over.
func (s *session) keep(ctx context.Context, g *grant) {
	ctx = context.WithValue(ctx, once{}, true)
	var pause time.Duration
	next := s.ahead(g)
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
			pause, next = 0, s.ahead(g)
		case errors.Is(err, errDead):
			s.drop(g)
			return
		default:
			pause = longer(pause)
			next = time.Now().Add(pause + rand.N(pause/4)) // not for security: it only spreads load
		}
	}
}

func (s *session) state(g *grant) (end time.Time, renewable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return g.end, g.renewable
}

// ahead returns when to extend g: at two thirds of its time, more or less.
func (s *session) ahead(g *grant) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	twoThirds := g.ttl / 3 * 2
	return g.end.Add(twoThirds - g.ttl).Add(rand.N(twoThirds/5+1) - twoThirds/10) // not for security: it only spreads load
}

// errDead says that the server does not know the token any more.
var errDead = errors.New("dead")

// extend makes g last longer, which is about to end, or else gets another token in its place.
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

// renew asks the server to let g last longer, and reports whether it does. If it will not, that is no error.
func (s *session) renew(ctx context.Context, g *grant) (extended bool, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	secret, err := s.as(g.token).Auth().Token().RenewSelfWithContext(ctx, 0)
	if err != nil {
		a, answered := answerOf(err)
		switch {
		case answered && a.disowns():
			return false, errDead
		case answered && a.vaults && a.refuses(): // a proxy that refuses may not do so for long
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
	return s.extended(g, began, secret.Auth), nil
}

// extended takes the answer to a renewal that began then, and reports whether g lasts longer by it.
func (s *session) extended(g *grant, began time.Time, auth *api.SecretAuth) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ttl := lease(auth)
	end := began.Add(ttl)
	capped := ttl < g.ttl
	if capped {
		end = end.Add(-time.Second) // what is left until the maximum is rounded up by the server
	}
	g.renewable = auth.Renewable && !capped // near the maximum, a login comes next
	if end.Sub(g.end) < g.ttl/10 {
		g.renewable = false
		return false
	}
	s.patience = leastPause
	g.ttl, g.end = end.Sub(began), end
	return true
}

// longer returns the pause after one of d.
func longer(d time.Duration) time.Duration { return min(max(2*d, leastPause), maxPause) }

// sleep waits for d, and reports whether ctx is not done.
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

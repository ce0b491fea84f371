package secrets

import (
	"slices"
	"time"
)

const (
	// defaultInterval is how often a handle looks where no cache says when.
	defaultInterval = 30 * time.Second
	// minPause is the least time between two looks at a document, for a backend or a cache that asks for more of them.
	minPause = 100 * time.Millisecond
	// moreThanFetches is for how long a look may take beside the fetches of its sources.
	moreThanFetches = 10 * time.Second
	// firstRetry is how long after a look that failed the next one comes, where no cache says when. It doubles up to the interval.
	firstRetry = time.Second
	// maxDoubled is how often a pause doubles at most. It is more than any interval needs.
	maxDoubled = 30
)

// plan is when a document is looked at next. force says that the look asks past a cache that holds a fresh value. Any other look is a
// read like that of a program.
type plan struct {
	at    time.Time
	force bool
}

// earlier makes at the time, unless an earlier one is planned.
func (n *plan) earlier(at time.Time, force bool) {
	if n.at.IsZero() || at.Before(n.at) {
		n.at, n.force = at, force
	}
}

// circumstances are what the time of the next look depends on.
type circumstances struct {
	now      time.Time
	looked   time.Time     // when the last look ended
	asked    time.Time     // when the last one ended that was no mere read of a cache
	absent   bool          // the last look has found that there is no such secret
	jitter   float64       // between 0 and 0.1
	failures int           // of looks, in a row
	usual    bool          // a handle leaves it to the cache when to look
	interval time.Duration // the shortest that a handle asks for, or 0
	renewAt  time.Time     // when a cache may bring another value, or zero if none says so
	leaseEnd time.Time     // the first end of a lease that is to come, or zero
	leases   bool          // a fetch makes another lease
}

// plan returns when the next look is to be.
func (c *circumstances) plan() (next plan) {
	known := !c.renewAt.IsZero() && !c.absent // a cache remembers for seconds that there is no secret
	if known && (c.usual || c.leases || c.failures > 0) {
		next.earlier(c.renewAt, false)
	}
	if c.usual && (known || !c.leases) { // what a Get has learned meanwhile; where no cache is, another value
		next.earlier(c.after(c.looked, defaultInterval), false)
	}
	if !c.leases && c.interval > 0 {
		next.earlier(c.after(c.asked, c.interval), true)
	}
	if !c.leaseEnd.IsZero() {
		next.earlier(c.replaceLease(known), true)
	}
	if c.failures > 0 && (!known || !c.renewAt.After(c.now)) {
		next.earlier(c.looked.Add(c.retry()), true)
	}
	return next
}

// replaceLease returns when a lease is to be replaced: before its end, or at its end if a cache does that before.
func (c *circumstances) replaceLease(known bool) time.Time {
	const latest = 0.8 // of the time that is left
	at := c.asked.Add(time.Duration(float64(c.leaseEnd.Sub(c.asked)) * (latest - c.jitter)))
	if known && c.renewAt.Before(c.leaseEnd) || at.After(c.leaseEnd) {
		return c.leaseEnd
	}
	return at
}

// after returns the time of a look that follows the one at last after d, or up to a tenth sooner: programs that were started together
// do not ask together.
func (c *circumstances) after(last time.Time, d time.Duration) time.Time {
	return last.Add(d - time.Duration(float64(d)*c.jitter))
}

// retry is the pause after a look that failed.
func (c *circumstances) retry() time.Duration {
	maxPause := defaultInterval
	if c.interval > 0 && (!c.usual || c.interval < maxPause) {
		maxPause = c.interval
	}
	return min(maxPause, firstRetry<<min(c.failures-1, maxDoubled))
}

// changesWith reports whether the next look may be sooner for f.
func (c *circumstances) changesWith(f *follower) bool {
	end := f.held.Load().secret.Meta().ExpiresAt
	return f.interval == 0 && !c.usual || f.interval > 0 && (c.interval == 0 || f.interval < c.interval) ||
		!end.IsZero() && (c.leaseEnd.IsZero() || end.Before(c.leaseEnd))
}

// circumstances returns what the time of the next look depends on. The caller holds watches.mu.
func (p *poll) circumstances() circumstances {
	c := circumstances{
		now: time.Now(), looked: p.looked, asked: p.asked, absent: p.absent, jitter: p.jitter, failures: p.failures,
	}
	for f := range p.followers {
		switch {
		case f.interval == 0:
			c.usual = true
		case c.interval == 0 || f.interval < c.interval:
			c.interval = f.interval
		}
		s := f.held.Load().secret
		if end := s.Meta().ExpiresAt.Round(0); !end.IsZero() && !isOver(s, c.now) && (c.leaseEnd.IsZero() || end.Before(c.leaseEnd)) {
			c.leaseEnd, c.leases = end, p.of.client.makesLeases(s.Meta().Backend)
		}
	}
	c.renewAt = p.renewAt()
	return c
}

// renewAt returns the first time at which a cache may bring another value of the document, or zero. The caller holds watches.mu.
func (p *poll) renewAt() (at time.Time) {
	seen := make(map[Ref]bool, 1)
	for f := range p.followers {
		if seen[f.ref] {
			continue
		}
		seen[f.ref] = true
		if next := p.of.client.renewAt(f.ref, f.held.Load().secret.Meta().Backend); !next.IsZero() && (at.IsZero() || next.Before(at)) {
			at = next
		}
	}
	return at
}

// makesLeases reports whether a read of that backend may make a lease.
func (c *Client) makesLeases(backend string) bool {
	return slices.ContainsFunc(c.stacks, func(s *stack) bool { return s.info.Name == backend && s.info.Leases })
}

// renewAt returns the first time at which a cache of the chain, as far as the backend that answered, may bring another value, or zero.
func (c *Client) renewAt(ref Ref, answered string) (at time.Time) {
	for _, s := range c.stacks {
		if next, known := s.renewAt(ref); known && (at.IsZero() || next.Before(at)) {
			at = next
		}
		if s.info.Name == answered {
			break
		}
	}
	return at
}

// renewAt asks the cache, which may be a program's own, and panic.
func (s *stack) renewAt(ref Ref) (at time.Time, known bool) {
	if s.cache == nil {
		return at, false
	}
	defer func() { _ = recover() }()
	at, known = s.cache.RenewAt(s.constantLocation(ref).doc)
	return at, known && !at.IsZero()
}

package secrets

import (
	"slices"
	"time"
)

const (
	// defaultInterval is the time between two polls without a cache.
	defaultInterval = 30 * time.Second
	// minPause is the minimum time between two polls of a document, even if a backend or a cache wants more of them.
	minPause = 100 * time.Millisecond
	// pollOverhead is the part of the time limit of a poll that is not for fetches.
	pollOverhead = 10 * time.Second
	// firstRetry is the pause after a failed poll, if no cache decides. It doubles up to the interval.
	firstRetry = time.Second
	// maxDoublings bounds the exponent of a pause. It is more than any interval needs.
	maxDoublings = 30
)

// plan is the time of the next poll. If force is true, the poll calls the backend even if the cache has a fresh value. Otherwise it reads
// as Get does.
type plan struct {
	at    time.Time
	force bool
}

// earlier changes the plan to at, unless it is for an earlier time.
func (n *plan) earlier(at time.Time, force bool) {
	if n.at.IsZero() || at.Before(n.at) {
		n.at, n.force = at, force
	}
}

// conditions are the inputs of plan.
type conditions struct {
	now       time.Time
	polledAt  time.Time     // when the last poll ended
	fetchedAt time.Time     // when the last poll ended that was not Passive
	absent    bool          // the last poll has found no secret
	jitter    float64       // between 0 and 0.1
	failures  int           // polls that failed, in a row
	byCache   bool          // a handle has no WatchInterval
	interval  time.Duration // the shortest WatchInterval, or 0
	renewAt   time.Time     // when a fetch through a cache may return another value, or zero
	leaseEnd  time.Time     // the first end of a lease in the future, or zero
	leases    bool          // a fetch creates another lease
}

// plan returns the time of the next poll.
func (c *conditions) plan() (next plan) {
	known := !c.renewAt.IsZero() && !c.absent // a cache remembers a not-found only for seconds
	if known && (c.byCache || c.leases || c.failures > 0) {
		next.earlier(c.renewAt, false)
	}
	if c.byCache && (known || !c.leases) { // for what a Get has put into the cache; without a cache, for a new value
		next.earlier(c.after(c.polledAt, defaultInterval), false)
	}
	if !c.leases && c.interval > 0 {
		next.earlier(c.after(c.fetchedAt, c.interval), true)
	}
	if !c.leaseEnd.IsZero() {
		next.earlier(c.replaceLease(known), true)
	}
	if c.failures > 0 && (!known || !c.renewAt.After(c.now)) {
		next.earlier(c.polledAt.Add(c.retry()), true)
	}
	return next
}

// replaceLease returns the time to replace a lease: before its end, or at its end if the cache renews it earlier.
func (c *conditions) replaceLease(known bool) time.Time {
	const latest = 0.8 // as a part of the lease
	at := c.fetchedAt.Add(time.Duration(float64(c.leaseEnd.Sub(c.fetchedAt)) * (latest - c.jitter)))
	if known && c.renewAt.Before(c.leaseEnd) || at.After(c.leaseEnd) {
		return c.leaseEnd
	}
	return at
}

// after returns last + d, or up to a tenth of d earlier: programs that start together must not poll together.
func (c *conditions) after(last time.Time, d time.Duration) time.Time {
	return last.Add(d - time.Duration(float64(d)*c.jitter))
}

// retry returns the pause after a failed poll.
func (c *conditions) retry() time.Duration {
	maxPause := defaultInterval
	if c.interval > 0 && (!c.byCache || c.interval < maxPause) {
		maxPause = c.interval
	}
	return min(maxPause, firstRetry<<min(c.failures-1, maxDoublings))
}

// changesWith reports whether f may need an earlier poll.
func (c *conditions) changesWith(f *follower) bool {
	end := f.held.Load().secret.Meta().ExpiresAt
	return f.interval == 0 && !c.byCache || f.interval > 0 && (c.interval == 0 || f.interval < c.interval) ||
		!end.IsZero() && (c.leaseEnd.IsZero() || end.Before(c.leaseEnd))
}

// conditions returns the inputs of plan. The caller holds watches.mu.
func (p *poller) conditions() conditions {
	c := conditions{
		now: time.Now(), polledAt: p.polledAt, fetchedAt: p.fetchedAt, absent: p.absent, jitter: p.jitter, failures: p.failures,
	}
	for f := range p.followers {
		switch {
		case f.interval == 0:
			c.byCache = true
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

// renewAt returns the first time at which a fetch through a cache may return another value of the document, or zero. The caller holds
// watches.mu.
func (p *poller) renewAt() (at time.Time) {
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

// makesLeases reports whether a read from backend may create a lease.
func (c *Client) makesLeases(backend string) bool {
	return slices.ContainsFunc(c.stacks, func(s *stack) bool { return s.info.Name == backend && s.info.Leases })
}

// renewAt returns the first time at which a fetch of ref may return another value, or zero. It looks at the caches of the chain up to the
// backend that answered.
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

// renewAt returns the RenewAt of the cache. A cache of the program may panic.
func (s *stack) renewAt(ref Ref) (at time.Time, known bool) {
	if s.cache == nil {
		return at, false
	}
	defer func() { _ = recover() }()
	at, known = s.cache.RenewAt(s.constantLocation(ref).doc)
	return at, known && !at.IsZero()
}

package cache

import (
	"time"

	"github.com/seed-5482dd03/secrets/internal/faults"
)

// The defaults of the options.
const (
	defaultTTL          = 5 * time.Minute
	defaultMaxStale     = time.Hour
	defaultNegativeTTL  = 5 * time.Second
	defaultRefreshAhead = 0.8
	defaultJitter       = 0.1
	defaultSize         = 1000
)

// century is the limit of all durations: ages plus a few of them do not overflow.
const century = 100 * 365 * 24 * time.Hour

// Option configures a [Cache]. secrets.New returns an error for a value out of range.
type Option func(c *config)

type config struct {
	ttl          time.Duration
	maxStale     time.Duration
	negativeTTL  time.Duration
	refreshAhead float64
	jitter       float64
	size         int
	countHits    bool
	faults       faults.List
}

// WithTTL sets how long a value is fresh, which means served without a fetch. It must be 1 ms or more. Default: 5 minutes.
func WithTTL(d time.Duration) Option { return func(c *config) { c.ttl = d } }

// WithMaxStale sets how long after its TTL a value is still served, with Meta.Stale set, while the backend is unavailable. 0 means not at
// all. Default: 1 hour.
func WithMaxStale(d time.Duration) Option { return func(c *config) { c.maxStale = d } }

// WithNegativeTTL sets how long a not-found is cached. 0 means not at all. Default: 5 seconds.
func WithNegativeTTL(d time.Duration) Option {
	return func(c *config) { c.negativeTTL = d }
}

// WithRefreshAhead sets the fraction of the TTL after which a read of a value renews it in the background. It must be less than 1. 0 means
// never. Default: 0.8.
func WithRefreshAhead(fraction float64) Option {
	return func(c *config) { c.refreshAhead = fraction }
}

// WithJitter sets the fraction by which TTLs vary at random: values that are fetched together are then not renewed together. It must be
// less than 1. 0 means exact TTLs. Default: 0.1, which is ±10 %.
func WithJitter(fraction float64) Option { return func(c *config) { c.jitter = fraction } }

// WithSize sets how many documents the cache holds, for all backends and Clients that share it. Not-founds and back-offs have a capacity
// of the same size. It must be more than 0. Default: 1,000.
func WithSize(documents int) Option { return func(c *config) { c.size = documents } }

// WithHitCount counts hits in [Stats], which costs one contended write per hit. Default: hits are counted only for Clients with a layer of
// package tracing that has a meter provider.
func WithHitCount() Option { return func(c *config) { c.countHits = true } }

func newConfig(opts []Option) config {
	c := config{
		ttl:          defaultTTL,
		maxStale:     defaultMaxStale,
		negativeTTL:  defaultNegativeTTL,
		refreshAhead: defaultRefreshAhead,
		jitter:       defaultJitter,
		size:         defaultSize,
		faults:       faults.List{Prefix: "cache: "},
	}
	faults.Apply(&c.faults, opts, func(o Option) { o(&c) })
	c.check()
	for _, d := range []*time.Duration{&c.ttl, &c.maxStale, &c.negativeTTL} {
		*d = min(*d, century)
	}
	return c
}

// check records the faults of the options.
func (c *config) check() {
	f := &c.faults
	f.CheckDuration("WithTTL", c.ttl)
	f.CheckDuration("WithMaxStale", c.maxStale)
	f.CheckDuration("WithNegativeTTL", c.negativeTTL)
	f.Checkf(c.ttl > 0, "WithTTL: %v is not more than 0", c.ttl)
	f.Checkf(c.maxStale >= 0, "WithMaxStale: %v is less than 0", c.maxStale)
	f.Checkf(c.negativeTTL >= 0, "WithNegativeTTL: %v is less than 0", c.negativeTTL)
	f.Checkf(c.refreshAhead >= 0 && c.refreshAhead < 1, "WithRefreshAhead: %v is not in [0, 1)", c.refreshAhead)
	f.Checkf(c.jitter >= 0 && c.jitter < 1, "WithJitter: %v is not in [0, 1)", c.jitter)
	f.Checkf(c.size > 0, "WithSize: %d is not more than 0", c.size)
}

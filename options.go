package secrets

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-5482dd03/secrets/internal/faults"
)

const defaultTimeout = 5 * time.Second

// Option configures a [Client]. Options only record; [New] checks them all and returns every fault. Three rules hold for the options of
// every package of this module:
//
//   - If a scalar option is given twice, the last one wins. A slot, a fallback or a source of tokens that is given twice is an error.
//   - A duration above 0 and below 1 ms is an error: WithTimeout(5) means 5 nanoseconds.
//   - A nil option is an error.
type Option func(c *config)

// config holds the values of the options.
type config struct {
	around        []Middleware // outermost first
	aroundBackend []Middleware // outermost first
	cache         CacheLayer
	dedup         DedupLayer
	tracing       TracingLayer
	redaction     RedactionLayer
	fallback      Fallback
	given         map[string]bool // options that may be given only once, by name
	timeout       time.Duration
	hasTimeout    bool
	logger        *slog.Logger
	loggedKeys    bool
	events        *events    // set by New
	watches       *watches   // set by New
	defaults      [][]Option // one entry for each WithDefaults
	faults        faults.List
}

// layer is the common method of the layers of all slots.
type layer interface{ Validate() error }

// fill puts l into slot, which takes one layer.
func fill[L layer](c *config, slot *L, option string, l L) {
	if c.given == nil {
		c.given = make(map[string]bool)
	}
	if c.given[option] {
		c.faults.Addf("%s is given twice", option)
		return
	}
	c.given[option] = true
	if faults.IsNil(l) {
		c.faults.Addf("%s: nil", option)
		return
	}
	c.try(option+": Validate", func() { c.faults.Add(l.Validate()) })
	*slot = l
}

func (c *config) append(list *[]Middleware, option string, layers []Middleware) {
	for _, l := range layers {
		if faults.IsNil(l) {
			c.faults.Addf("%s: a nil Middleware", option)
			continue
		}
		*list = append(*list, l)
	}
}

// try calls f, a method of a backend or layer. It records a panic as a fault of the configuration.
func (c *config) try(what string, f func()) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			ok = false
			c.faults.Addf("%s: a panic with a %T", what, p)
		}
	}()
	f()
	return true
}

// WithMiddleware puts layers around everything else: they see every call of the Client, also cache hits. The first layer is outermost;
// a repeated option appends. Default: none.
func WithMiddleware(layers ...Middleware) Option {
	return func(c *config) { c.append(&c.around, "WithMiddleware", layers) }
}

// WithBackendMiddleware puts layers around each backend, below its cache: they see only real fetches. The first layer is outermost; a
// repeated option appends. Default: none.
func WithBackendMiddleware(layers ...Middleware) Option {
	return func(c *config) { c.append(&c.aroundBackend, "WithBackendMiddleware", layers) }
}

// WithCache sets the cache, usually from package cache. Each backend that is not Local gets one. Default: none.
func WithCache(cache CacheLayer) Option {
	return func(c *config) { fill(c, &c.cache, "WithCache", cache) }
}

// WithDedup sets the layer that lets concurrent callers of one document share a fetch, usually from package dedup. Each backend that is
// not Local gets one. Default: none.
func WithDedup(dedup DedupLayer) Option {
	return func(c *config) { fill(c, &c.dedup, "WithDedup", dedup) }
}

// WithTracing sets the layer that observes real fetches, usually from package tracing. It wraps each backend, below cache and dedup.
// Default: none.
func WithTracing(tracing TracingLayer) Option {
	return func(c *config) { fill(c, &c.tracing, "WithTracing", tracing) }
}

// WithRedaction sets the layer that removes values from errors, usually from package redact. It wraps each backend, below every other
// layer except [WithBackendMiddleware]. Default: none.
func WithRedaction(redaction RedactionLayer) Option {
	return func(c *config) { fill(c, &c.redaction, "WithRedaction", redaction) }
}

// WithFallback adds backends to call when the one given to [New] has no answer. The policy is usually from package fallback. Default:
// none.
func WithFallback(f Fallback) Option {
	return func(c *config) { fill(c, &c.fallback, "WithFallback", f) }
}

// WithTimeout bounds one fetch of one document from a backend. If the backend has not answered by then, the error is [ErrUnavailable],
// even if the backend ignores its context. A fallback is called only then: set d below the deadlines of callers. Default: 5 seconds.
func WithTimeout(d time.Duration) Option {
	return func(c *config) { c.timeout, c.hasTimeout = d, true }
}

// WithDefaults gives options that apply only where the other options, before or after it, set nothing: a [WithCache] next to it replaces
// the one in it. [WithMiddleware] and [WithBackendMiddleware] are errors in it. Standard of package middleware is made with it. Default:
// none.
func WithDefaults(opts ...Option) Option {
	return func(c *config) { c.defaults = append(c.defaults, opts) }
}

func newConfig(opts []Option) *config {
	c := &config{timeout: defaultTimeout, faults: faults.List{Prefix: "secrets: "}}
	c.apply(opts)
	byDefault := make(map[string]bool)
	for _, defaults := range c.defaults {
		d := config{faults: faults.List{Prefix: "secrets: "}}
		d.apply(defaults)
		c.adopt(&d, byDefault)
	}
	c.faults.CheckDuration("WithTimeout", c.timeout)
	c.faults.Checkf(c.timeout > 0, "WithTimeout: %v is not more than 0", c.timeout)
	c.faults.Checkf(!c.loggedKeys || c.logger != nil, "WithLoggedKeys: needs WithLogger")
	return c
}

func (c *config) apply(opts []Option) {
	faults.Apply(&c.faults, opts, func(o Option) { o(c) })
}

// adopt takes from d what c leaves unset. byDefault names the options that other defaults have set.
func (c *config) adopt(d *config, byDefault map[string]bool) {
	c.faults.Add(d.faults.Err())
	var twice []string
	for _, option := range slices.Sorted(maps.Keys(d.given)) {
		if byDefault[option] {
			twice = append(twice, option)
		}
		byDefault[option] = true
	}
	c.faults.Checkf(len(twice) == 0, "middleware.Standard, or another WithDefaults, is given twice: with %s", strings.Join(twice, ", "))
	if len(d.around)+len(d.aroundBackend)+len(d.defaults) > 0 {
		c.faults.Addf("WithDefaults: takes slots, a fallback, a timeout and a logger only")
	}
	if c.logger == nil {
		c.logger, c.loggedKeys = d.logger, c.loggedKeys || d.loggedKeys
	}
	if !c.given["WithCache"] {
		c.cache = d.cache
	}
	if !c.given["WithDedup"] {
		c.dedup = d.dedup
	}
	if !c.given["WithTracing"] {
		c.tracing = d.tracing
	}
	if !c.given["WithRedaction"] {
		c.redaction = d.redaction
	}
	if !c.given["WithFallback"] {
		c.fallback = d.fallback
	}
	if !c.hasTimeout && d.hasTimeout {
		c.timeout = d.timeout
	}
}

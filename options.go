package secrets

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"
)

const defaultTimeout = 5 * time.Second

// Option configures a [Client]. Options only record; [New] checks them all and returns every fault.
type Option interface {
	apply(c *config)
}

type optionFunc func(c *config)

func (f optionFunc) apply(c *config) { f(c) }

// config is what the options say.
type config struct {
	around        []Middleware // outermost first
	aroundBackend []Middleware // outermost first
	cache         slot
	dedup         slot
	tracing       slot
	redaction     slot
	fallback      Fallback
	hasFallback   bool
	timeout       time.Duration
	hasTimeout    bool
	logger        *slog.Logger
	loggedKeys    bool
	defaults      []Option
	faults        []error
}

// slot is a place for one layer.
type slot struct {
	layer Middleware
	taken bool
}

func (c *config) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("secrets: "+format, args...))
}

func (c *config) fill(s *slot, option string, layer Middleware) {
	if s.taken {
		c.fault("%s is given twice", option)
		return
	}
	s.layer, s.taken = layer, true
	c.checkLayer(option, layer)
}

func (c *config) append(list *[]Middleware, option string, layers []Middleware) {
	for _, layer := range layers {
		if c.checkLayer(option, layer) {
			*list = append(*list, layer)
		}
	}
}

func (c *config) checkLayer(option string, layer Middleware) bool {
	if isNil(layer) {
		c.fault("%s: a nil Middleware", option)
		return false
	}
	c.validate(option, layer)
	return true
}

// validate notes the faults of v's own options.
func (c *config) validate(what string, v any) {
	if v, ok := v.(interface{ Validate() error }); ok {
		c.try(what+": Validate", func() {
			if err := v.Validate(); err != nil {
				c.faults = append(c.faults, err)
			}
		})
	}
}

// try calls f, a method of a backend or layer. Its panic is a fault of the configuration like any other.
func (c *config) try(what string, f func()) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			ok = false
			c.fault("%s: a panic with a %T", what, p)
		}
	}()
	f()
	return true
}

// WithMiddleware puts layers around everything else: they see every call of the Client, hits included. The first is
// outermost, and a repeated option appends. By default, there are none.
func WithMiddleware(layers ...Middleware) Option {
	return optionFunc(func(c *config) { c.append(&c.around, "WithMiddleware", layers) })
}

// WithBackendMiddleware puts layers around each backend, below its cache, so that they see real fetches only. The first is
// outermost, and a repeated option appends. By default, there are none.
func WithBackendMiddleware(layers ...Middleware) Option {
	return optionFunc(func(c *config) { c.append(&c.aroundBackend, "WithBackendMiddleware", layers) })
}

// WithCache sets the cache, usually of package cache. It stands around each backend that is not Local. By default, there is
// none.
func WithCache(layer Middleware) Option {
	return optionFunc(func(c *config) { c.fill(&c.cache, "WithCache", layer) })
}

// WithDedup sets the layer that lets concurrent calls for one secret share one fetch, usually of package dedup. It stands
// around each backend that is not Local. By default, there is none.
func WithDedup(layer Middleware) Option {
	return optionFunc(func(c *config) { c.fill(&c.dedup, "WithDedup", layer) })
}

// WithTracing sets the layer that observes real fetches, usually of package tracing. It stands around each backend, below
// cache and dedup. By default, there is none.
func WithTracing(layer Middleware) Option {
	return optionFunc(func(c *config) { c.fill(&c.tracing, "WithTracing", layer) })
}

// WithRedaction sets the layer that takes values out of errors, usually of package redact. It stands around each backend,
// innermost. By default, there is none.
func WithRedaction(layer Middleware) Option {
	return optionFunc(func(c *config) { c.fill(&c.redaction, "WithRedaction", layer) })
}

// WithFallback adds backends to ask where the one given to [New] has no answer, usually with package fallback. By default,
// there are none.
func WithFallback(f Fallback) Option {
	return optionFunc(func(c *config) {
		if c.hasFallback {
			c.fault("WithFallback is given twice")
			return
		}
		c.hasFallback = true
		if isNil(f) {
			c.fault("WithFallback: a nil Fallback")
			return
		}
		c.fallback = f
		c.validate("WithFallback", f)
	})
}

// WithTimeout bounds one fetch from a backend. A fetch of many gets the time once for each 20 refs begun. A backend that
// has not answered by then is [ErrUnavailable], whether it obeys its context or not. The last one given counts. By default,
// it is 5 seconds.
func WithTimeout(d time.Duration) Option {
	return optionFunc(func(c *config) { c.timeout, c.hasTimeout = d, true })
}

// WithDefaults gives options that hold only for what the other options leave open, wherever it stands among them: a
// [WithCache] given beside it takes the place of the one in it. Layers of [WithMiddleware] and [WithBackendMiddleware] are
// no defaults, and a fault here. Package middleware makes its recommended stack with it.
func WithDefaults(opts ...Option) Option {
	return optionFunc(func(c *config) { c.defaults = append(c.defaults, opts...) })
}

func newConfig(opts []Option) *config {
	c := &config{timeout: defaultTimeout}
	c.applyAll(opts)
	if len(c.defaults) > 0 {
		var d config
		d.applyAll(c.defaults)
		c.adopt(&d)
	}
	if c.timeout <= 0 {
		c.fault("WithTimeout: %v is not more than 0", c.timeout)
	}
	if c.loggedKeys && c.logger == nil {
		c.fault("WithLoggedKeys: there is no WithLogger")
	}
	return c
}

func (c *config) applyAll(opts []Option) {
	for i, o := range opts {
		if isNil(o) {
			c.fault("option %d is nil", i+1)
			continue
		}
		o.apply(c)
	}
}

// adopt takes from d what c leaves open.
func (c *config) adopt(d *config) {
	c.faults = append(c.faults, d.faults...)
	if len(d.around)+len(d.aroundBackend)+len(d.defaults) > 0 {
		c.fault("WithDefaults: takes slots, a fallback, a timeout and a logger only")
	}
	if c.logger == nil {
		c.logger, c.loggedKeys = d.logger, c.loggedKeys || d.loggedKeys
	}
	for _, s := range []struct{ own, other *slot }{
		{&c.cache, &d.cache}, {&c.dedup, &d.dedup}, {&c.tracing, &d.tracing}, {&c.redaction, &d.redaction},
	} {
		if !s.own.taken {
			*s.own = *s.other
		}
	}
	if !c.hasFallback {
		c.fallback = d.fallback
	}
	if !c.hasTimeout && d.hasTimeout {
		c.timeout = d.timeout
	}
}

// owned is a backend with its name, which is asked for once.
type owned struct {
	Backend
	name string
}

// backends returns the backends of a client, the first one first, and notes their faults.
func (c *config) backends(first Backend) []owned {
	all := []Backend{first}
	if c.fallback != nil {
		var more []Backend
		if c.try("WithFallback: Backends", func() { more = c.fallback.Backends() }) && len(more) == 0 {
			c.fault("WithFallback: no backend to fall back to")
		}
		all = append(all, more...)
	}
	var good []owned
	seen := make(map[string]bool)
	for i, b := range all {
		if isNil(b) {
			c.fault("backend %d is nil", i+1)
			continue
		}
		var name string
		switch ok := c.try(fmt.Sprintf("backend %d: Name", i+1), func() { name = b.Name() }); {
		case !ok:
		case name == "":
			c.fault("backend %d has an empty name", i+1)
		case seen[name]:
			c.fault("two backends have the name %q; name one with its WithName", name)
		}
		seen[name] = true
		c.validate(fmt.Sprintf("backend %d", i+1), b)
		good = append(good, owned{b, name})
	}
	return good
}

func (c *config) err() error { return errors.Join(c.faults...) }

// isNil reports whether v is nil, or an interface around a nil pointer or function.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() { // the other kinds are never nil
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Chan, reflect.Slice, reflect.Interface:
		return r.IsNil()
	default:
		return false
	}
}

package vault

import "time"

// WithMaxPause bounds the pause between two attempts.
func WithMaxPause(d time.Duration) Option { return func(c *config) { c.maxPause = d } }

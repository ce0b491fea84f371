package awssm

import "time"

// WithMaxPause bounds the pause between two attempts. It has no effect beside [WithClient].
func WithMaxPause(d time.Duration) Option { return optionFunc(func(c *settings) { c.maxPause = d }) }

package vault

import (
	"context"
	"net"
	"time"
)

// WithMaxPause bounds the pause between two attempts.
func WithMaxPause(d time.Duration) Option { return func(c *config) { c.maxPause = d } }

// WithDial makes connections by dial.
func WithDial(dial func() net.Conn) Option {
	return func(c *config) {
		c.dial = func(context.Context, string, string) (net.Conn, error) { return dial(), nil }
	}
}

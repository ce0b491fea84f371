package cache

import (
	"math/rand/v2"
	"time"
)

// The back-off after an ErrUnavailable.
const (
	backoffMin    = 100 * time.Millisecond
	backoffMax    = 10 * time.Second
	backoffSpread = 0.2
)

// backoff returns the back-off after that many failures in a row, with the spread.
func backoff(failures int) time.Duration { return spread(backoffStep(failures), backoffSpread) }

// backoffStep is backoff without the spread.
func backoffStep(failures int) time.Duration {
	d := backoffMin
	for range failures - 1 {
		if d *= 2; d >= backoffMax {
			return backoffMax
		}
	}
	return d
}

// spread returns a random duration, evenly distributed over d ± fraction.
func spread(d time.Duration, fraction float64) time.Duration {
	if fraction == 0 {
		return d
	}
	return time.Duration(float64(d) * (1 + fraction*(2*rand.Float64()-1)))
}

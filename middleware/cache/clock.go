package cache

import (
	"math"
	"sync/atomic"
	"time"
)

// age is a point in time, in nanoseconds since headStart before the cache was made. 0 means no time.
//
// There are two time scales. The one for TTLs, leases and back-offs goes on while the machine sleeps: see [clock.now]. The other one,
// awake, is the monotonic clock of the system. It measures MaxStale: a wall clock that is set at boot must not end the stale time.
type age int64

const (
	// tick is how often the coarse clock is set while it is used.
	tick = 100 * time.Millisecond
	// slack is how near to a deadline the exact clock is read. The coarse clock must not lag by more. With all processors busy, it
	// lagged by up to 103 ms.
	slack = age(10 * tick)
	// stopped is the time of the coarse clock while it is not used: later than every deadline.
	stopped = age(math.MaxInt64) - slack
	// jump is how far the wall clock must get ahead of the monotonic clock to count as sleep. NTP slewing is slower.
	jump = time.Second
	// headStart is the age of a cache when it is made. It keeps ages positive in a bubble of testing/synctest, whose clock begins in the
	// year 2000, if the cache was made outside of it.
	headStart = century / 2
)

// clock reports whether a deadline has passed. Reading the system's time would cost more than the rest of a hit, so the exact clock is read
// only near the deadline. Farther away, a coarse clock is enough: a word that a timer sets every tick. The timer runs only while reads use
// the word: it does not wake an idle program.
//
// The result is exact if the timer is not later than slack. After the machine has slept, as AWS Lambda functions do between calls, it may
// be out of date until the timer fires: one or two ticks.
type clock struct {
	read   func() (wall, monotonic time.Duration) // since any point in time; replaced in tests
	origin time.Duration                          // the monotonic time headStart before the cache was made
	ahead  atomic.Int64                           // how far the wall clock is ahead of the monotonic clock, as of the last jump
	slept  atomic.Int64                           // the sum of the forward jumps of the wall clock
	coarse atomic.Int64                           // the age at the last tick, or stopped
	used   atomic.Bool                            // since the last tick; written at most once a tick, since all readers share it
	timer  *time.Timer                            // runs while coarse is not stopped
}

// systemClock returns a function that returns the time since this call, by both clocks of the system.
func systemClock() func() (wall, monotonic time.Duration) {
	start := time.Now()
	return func() (wall, monotonic time.Duration) {
		now := time.Now()
		return time.Duration(now.UnixNano() - start.UnixNano()), now.Sub(start)
	}
}

func newClock(read func() (wall, monotonic time.Duration)) *clock {
	wall, monotonic := read()
	c := &clock{read: read, origin: monotonic - headStart}
	c.ahead.Store(int64(wall - monotonic))
	c.coarse.Store(int64(stopped))
	c.timer = time.AfterFunc(math.MaxInt64, c.tick)
	c.timer.Stop()
	return c
}

// now returns the exact age.
func (c *clock) now() age {
	now, _ := c.both()
	return now
}

// both returns the exact age on each of the time scales.
func (c *clock) both() (now, awake age) {
	wall, monotonic := c.read()
	ahead, known := int64(wall-monotonic), c.ahead.Load()
	if forward := ahead - known; forward > int64(jump) || forward < -int64(jump) {
		// One reader records the jump. A wall clock that is set back changes no age.
		if c.ahead.CompareAndSwap(known, ahead) && forward > 0 {
			c.slept.Add(forward)
		}
	}
	awake = age(monotonic - c.origin)
	return awake + age(c.slept.Load()), awake
}

// longBefore reports whether deadline is so far off that the coarse clock is enough to say so. If it is not, the caller calls
// [clock.before]. A function that did both would not be inlined, which would cost a tenth of a hit.
func (c *clock) longBefore(deadline age) bool {
	if age(c.coarse.Load())+slack >= deadline {
		return false
	}
	if !c.used.Load() {
		c.used.Store(true)
	}
	return true
}

// before reports whether deadline is still to come, by the exact clock.
func (c *clock) before(deadline age) bool {
	now := c.now()
	// Start the coarse clock only if the next reads can use it.
	if deadline-now > slack+age(tick) && c.coarse.CompareAndSwap(int64(stopped), int64(now)) {
		c.timer.Reset(tick)
	}
	return now < deadline
}

// tick sets the coarse clock, or stops it if no read has used it since the last tick.
func (c *clock) tick() {
	if !c.used.Swap(false) {
		c.coarse.Store(int64(stopped))
		return
	}
	c.coarse.Store(int64(c.now()))
	c.timer.Reset(tick)
}

// stop stops the coarse clock. The next read starts it again.
func (c *clock) stop() {
	c.timer.Stop()
	c.coarse.Store(int64(stopped))
}

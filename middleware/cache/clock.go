package cache

import (
	"math"
	"sync/atomic"
	"time"
)

// age is a point in time, in nanoseconds since the cache was made. It is monotonic: a wall clock that is set changes none.
type age int64

const (
	// tick is how often the coarse clock is set while it is used.
	tick = 100 * time.Millisecond
	// slack is how near to a deadline the exact clock is read. The coarse clock must not be later than that: it was seen
	// up to 103 ms late with all processors busy.
	slack = age(10 * tick)
	// asleep is the coarse clock's time while nobody uses it: later than every deadline.
	asleep = age(math.MaxInt64) - slack
)

// clock tells whether a deadline has passed. Reading the time costs more than everything else in a cached read, so it is
// read only near the deadline. Far from it, a coarse clock does: a word in memory that a timer sets every tick. The timer
// is set only while reads use the word, so that an idle program is not woken.
//
// The answer is exact as long as the timer is not later than the slack. A process that was frozen, as a Lambda function is
// between calls, may have an answer of the time before it for as long as the timer takes to fire, which is due at once.
type clock struct {
	epoch  time.Time
	coarse atomic.Int64 // the age at the last tick, or asleep
	used   atomic.Bool  // since the last tick; written at most once a tick, since all readers share it
	timer  *time.Timer  // runs while coarse is not asleep
}

func newClock() *clock {
	c := &clock{epoch: time.Now()}
	c.coarse.Store(int64(asleep))
	c.timer = time.AfterFunc(math.MaxInt64, c.tick)
	c.timer.Stop()
	return c
}

// now returns the exact age.
func (c *clock) now() age { return age(time.Since(c.epoch)) }

// longBefore reports whether deadline is so far off that the coarse clock can tell. If not, [clock.before] can. The two are
// apart so that this one is inlined, and asked in turn by whoever needs the answer: a function that does both is too large
// for that, and a tenth of a hit.
func (c *clock) longBefore(deadline age) bool {
	if age(c.coarse.Load())+slack >= deadline {
		return false
	}
	if !c.used.Load() {
		c.used.Store(true)
	}
	return true
}

// before reports whether deadline is to come.
func (c *clock) before(deadline age) bool {
	now := c.now()
	// Waking the coarse clock pays only if the next reads can use it.
	if deadline-now > slack+age(tick) && c.coarse.CompareAndSwap(int64(asleep), int64(now)) {
		c.timer.Reset(tick)
	}
	return now < deadline
}

// tick sets the coarse clock, or lets it sleep if nobody has used it since the last tick.
func (c *clock) tick() {
	if !c.used.Swap(false) {
		c.coarse.Store(int64(asleep))
		return
	}
	c.coarse.Store(int64(c.now()))
	c.timer.Reset(tick)
}

// stop lets the coarse clock sleep. The next read wakes it.
func (c *clock) stop() {
	c.timer.Stop()
	c.coarse.Store(int64(asleep))
}

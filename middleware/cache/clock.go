package cache

import (
	"math"
	"sync/atomic"
	"time"
)

// age is a point in time, in nanoseconds since [headStart] before the cache was made. It is more than 0: of what has no time, the age is 0.
//
// There are two time scales. The one for TTLs, leases and back-offs goes on while the machine sleeps: see [clock.now]. The other one,
// awake, is the monotonic clock of the system. MaxStale is measured by it: a wall clock that is set at boot must not take away what
// helps through an outage.
type age int64

const (
	// tick is how often the coarse clock is set while it is used.
	tick = 100 * time.Millisecond
	// slack is how near to a deadline the exact clock is read. The coarse clock must not be later than that: it was seen
	// up to 103 ms late with all processors busy.
	slack = age(10 * tick)
	// asleep is the coarse clock's time while nobody uses it: later than every deadline.
	asleep = age(math.MaxInt64) - slack
	// jump is how far the wall clock must get ahead of the monotonic one, to show that the machine has slept. A clock that NTP
	// slews is slower than that.
	jump = time.Second
	// headStart is the age of a cache when it is made. The clock of a bubble of testing/synctest begins in the year 2000: a cache that
	// was made outside of it, as in a table of options, is older than that.
	headStart = century / 2
)

// clock tells whether a deadline has passed. Reading the time costs more than everything else in a cached read, so it is
// read only near the deadline. Far from it, a coarse clock does: a word in memory that a timer sets every tick. The timer
// is set only while reads use the word, so that an idle program is not woken.
//
// The answer is exact as long as the timer is not later than the slack. After the machine has slept, as a Lambda function does
// between calls, it may be that of the time before for as long as the timer takes to fire: a tick, or two at the most.
type clock struct {
	read   func() (wall, monotonic time.Duration) // since any point in time; tests have clocks of their own
	origin time.Duration                          // the monotonic time headStart before the cache was made
	ahead  atomic.Int64                           // how far the wall clock was ahead of the monotonic one when that was last noted
	slept  atomic.Int64                           // the sum of the forward jumps of the wall clock
	coarse atomic.Int64                           // the age at the last tick, or asleep
	used   atomic.Bool                            // since the last tick; written at most once a tick, since all readers share it
	timer  *time.Timer                            // runs while coarse is not asleep
}

// systemClock returns the time that has passed since it was called itself the first time, by the two clocks of the system.
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
	c.coarse.Store(int64(asleep))
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
		// One reader notes the change. To set the wall clock back changes no age.
		if c.ahead.CompareAndSwap(known, ahead) && forward > 0 {
			c.slept.Add(forward)
		}
	}
	awake = age(monotonic - c.origin)
	return awake + age(c.slept.Load()), awake
}

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

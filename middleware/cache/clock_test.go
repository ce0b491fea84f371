package cache_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
)

// clocks are the clocks of a machine whose wall clock jumps.
type clocks struct {
	start  time.Time
	jumped atomic.Int64
}

func (c *clocks) read() (wall, monotonic time.Duration) {
	now := time.Since(c.start)
	return now + time.Duration(c.jumped.Load()), now
}

func (c *clocks) jump(d time.Duration) { c.jumped.Add(int64(d)) }

// runJumping is run with clocks, and with a memo of the document.
func runJumping(t *testing.T, name string, opts []cache.Option, lease time.Duration, test func(f *fixture, c *clocks)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := &fixture{I: is.New(t), source: &source{version: 1, lease: lease}, began: time.Now()}
			f.cache = cache.New(append([]cache.Option{exact, cache.WithRefreshAhead(0)}, opts...)...)
			c := &clocks{start: f.began}
			cache.SetClock(f.cache, c.read)
			f.layer = newLayer(f.cache, f.source)
			defer func() { f.NoErr(f.layer.Close()) }()
			f.fresh(1, 1)
			f.layer.Memorize("db", db, "")
			test(f, c)
		})
	})
}

// recalls reports whether Recall has a value of the document.
func (f *fixture) recalls() bool {
	s, known := f.layer.Recall("db")
	return known && !s.IsZero()
}

// busy reads every 10 ms for d, which keeps the coarse clock running.
func (f *fixture) busy(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		f.True(f.recalls())
		time.Sleep(10 * time.Millisecond)
	}
}

const twoTicks = 200 * time.Millisecond

// The wall clock jumps by 8 h, as when a machine wakes. The monotonic clock does not.
func TestMachineThatSleeps(t *testing.T) {
	const ttl, night = 5 * time.Minute, 8 * time.Hour
	opts := []cache.Option{cache.WithTTL(ttl), cache.WithMaxStale(time.Hour)}
	runJumping(t, "ends freshness", opts, 0, func(f *fixture, c *clocks) {
		f.busy(time.Minute)
		f.rotate()
		c.jump(night)
		f.fresh(2, 2) // reads by the exact clock notice it at once
	})
	runJumping(t, "ends what the coarse clock is asked for, within two ticks", opts, 0, func(f *fixture, c *clocks) {
		f.busy(time.Minute)
		f.True(f.recalls())
		c.jump(night)
		time.Sleep(twoTicks)
		f.True(!f.recalls())
		f.rotate()
		f.fresh(2, 2)
		f.layer.Memorize("db", db, "") // control: the new value is fresh for its TTL
		f.True(f.recalls())
		f.busy(ttl - time.Minute)
		f.fresh(2, 2)
	})
	runJumping(t, "ends it at once where nobody has read for a while", opts, 0, func(f *fixture, c *clocks) {
		time.Sleep(time.Minute)
		c.jump(night)
		f.True(!f.recalls())
	})
	runJumping(t, "control: no jump", opts, 0, func(f *fixture, _ *clocks) {
		f.busy(time.Minute)
		time.Sleep(twoTicks)
		f.True(f.recalls())
		f.rotate()
		f.at(ttl - 1)
		f.fresh(1, 1)
		f.at(ttl)
		f.fresh(2, 2)
	})
	runJumping(t, "ends not-founds and back-offs", opts, 0, func(f *fixture, c *clocks) {
		f.answers(secrets.ErrNotFound)
		f.True(errors.Is(f.ask("none"), secrets.ErrNotFound))
		f.breakDown("away", "away", "away", "away", "away", "away") // the back-off is 3.2 s
		f.answers(nil)
		time.Sleep(twoTicks)
		f.True(errors.Is(f.ask("none"), secrets.ErrNotFound))
		f.True(errors.Is(f.ask("away"), secrets.ErrUnavailable))
		c.jump(night)
		time.Sleep(twoTicks)
		f.NoErr(f.ask("none"))
		f.NoErr(f.ask("away"))
	})
	runJumping(t, "does not end MaxStale, which is awake time", opts, 0, func(f *fixture, c *clocks) {
		f.answers(secrets.ErrUnavailable)
		f.at(time.Minute)
		c.jump(night)
		f.staleAnswer(1, 2)
		f.at(ttl + time.Hour - 1)
		f.staleAnswer(1, 3)
		f.at(ttl + time.Hour)
		got, err := f.get()
		f.True(isUnavailable(got, err))
	})
	runJumping(t, "ends a lease", opts, time.Hour, func(f *fixture, c *clocks) {
		f.busy(time.Minute)
		f.answers(secrets.ErrUnavailable)
		c.jump(night)
		time.Sleep(twoTicks)
		f.True(!f.recalls())
		f.fails(secrets.ErrUnavailable, 2)
	})
	runJumping(t, "control: a lease without a jump", opts, time.Hour, func(f *fixture, _ *clocks) {
		f.answers(secrets.ErrUnavailable)
		f.at(ttl)
		f.staleAnswer(1, 2)
		f.at(time.Hour - 1)
		f.staleAnswer(1, 3)
		f.at(time.Hour)
		got, err := f.get()
		f.True(isUnavailable(got, err))
	})
	runJumping(t, "a short sleep is as long as it is", opts, 0, func(f *fixture, c *clocks) {
		f.busy(time.Minute)
		f.rotate()
		c.jump(2 * time.Minute)
		f.at(ttl - 2*time.Minute - 1)
		f.fresh(1, 1)
		f.at(ttl - 2*time.Minute)
		f.fresh(2, 2)
	})
	runJumping(t, "each of several sleeps counts", opts, 0, func(f *fixture, c *clocks) {
		f.rotate()
		for range 4 {
			c.jump(time.Minute)
			f.fresh(1, 1)
		}
		f.at(time.Minute - 1)
		f.fresh(1, 1)
		f.at(time.Minute)
		f.fresh(2, 2)
	})
}

// A wall clock that is set back changes no age.
func TestClockThatIsSetBack(t *testing.T) {
	const ttl = 5 * time.Minute
	opts := []cache.Option{cache.WithTTL(ttl), cache.WithMaxStale(time.Hour)}
	runJumping(t, "by hours", opts, 0, func(f *fixture, c *clocks) {
		f.busy(time.Minute)
		c.jump(-8 * time.Hour)
		f.busy(time.Minute)
		f.rotate()
		f.at(ttl - 1)
		f.fresh(1, 1)
		f.at(ttl)
		f.fresh(2, 2)
	})
	runJumping(t, "and on again is a jump", opts, 0, func(f *fixture, c *clocks) {
		c.jump(-8 * time.Hour)
		f.fresh(1, 1)
		c.jump(8 * time.Hour) // a night, say
		f.rotate()
		f.fresh(2, 2)
	})
	runJumping(t, "by hours, within a lease", opts, time.Hour, func(f *fixture, c *clocks) {
		f.answers(secrets.ErrUnavailable)
		c.jump(-8 * time.Hour)
		f.at(time.Hour - 1)
		f.staleAnswer(1, 2)
		f.at(time.Hour)
		got, err := f.get()
		f.True(isUnavailable(got, err))
	})
}

// The wall clock moves by less than a jump: no age changes.
func TestClockThatIsSlewed(t *testing.T) {
	const ttl = 5 * time.Minute
	runJumping(t, "", []cache.Option{cache.WithTTL(ttl)}, 0, func(f *fixture, c *clocks) {
		f.rotate()
		c.jump(time.Second)
		f.at(ttl - 1)
		f.fresh(1, 1)
		f.at(ttl)
		f.fresh(2, 2)
		c.jump(time.Second) // control: together, they are more
		f.at(2*ttl - 2*time.Second - 1)
		f.fresh(2, 2)
		f.at(2*ttl - 2*time.Second)
		f.fresh(2, 3)
	})
}

// A machine starts in 1970, and NTP sets its clock during an outage: stale values are not dropped.
func TestClockThatIsSetAtBoot(t *testing.T) {
	const ttl, step = 5 * time.Minute, 56 * 365 * 24 * time.Hour
	runJumping(t, "", []cache.Option{cache.WithTTL(ttl), cache.WithMaxStale(time.Hour)}, 0, func(f *fixture, c *clocks) {
		f.answers(secrets.ErrUnavailable)
		f.at(time.Minute)
		c.jump(step)
		f.staleAnswer(1, 2)
		f.Equal(f.cache.Stats().Entries, 1)
		f.at(ttl + time.Hour - 1)
		f.staleAnswer(1, 3)
		f.answers(nil)
		f.rotate()
		f.at(ttl + time.Hour)
		_, err := f.get()
		f.True(isUnavailable(secrets.Secret{}, err)) // the back-off
		time.Sleep(time.Minute)
		f.fresh(2, 4)
		f.at(2*ttl + time.Hour)
		f.fresh(2, 4)
	})
}

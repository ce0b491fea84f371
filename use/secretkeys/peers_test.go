package secretkeys_test

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/use/secretkeys"
)

// token is what a process has signed.
type token struct {
	id      string
	expires time.Duration
}

// cluster is several processes with the same keys. Each signs a token a second, which the others verify then and before its end.
type cluster struct {
	backend   *shared
	opts      []secretkeys.Option
	processes []*secretkeys.Keys
	tokens    []token
	now       time.Duration
	verified  int
	unknown   int
}

const (
	processes = 3
	lifetime  = 5 * time.Minute // of a token
	interval  = 30 * time.Second
)

// newCluster starts the processes one after the other, so that they look at different moments.
func newCluster(t *testing.T, opts ...secretkeys.Option) *cluster {
	t.Helper()
	c := &cluster{backend: newShared(), opts: append(opts, secretkeys.Interval(interval))}
	for range processes {
		c.processes = append(c.processes, keysOf(t, c.backend, c.opts...))
		after(7 * time.Second)
	}
	return c
}

// restart makes process i start anew.
func (c *cluster) restart(t *testing.T, i int) {
	t.Helper()
	is.New(t).NoErr(c.processes[i].Close())
	c.processes[i] = keysOf(t, c.backend, c.opts...)
}

// run lets d pass. Each token is verified when it is new, and in its last second.
func (c *cluster) run(t *testing.T, d time.Duration) {
	t.Helper()
	for range d / time.Second {
		for _, p := range c.processes {
			c.tokens = append(c.tokens, token{active(t, p), c.now + lifetime})
			c.verify(c.tokens[len(c.tokens)-1])
		}
		for len(c.tokens) > 0 && c.tokens[0].expires <= c.now {
			c.verify(c.tokens[0])
			c.tokens = c.tokens[1:]
		}
		after(time.Second)
		c.now += time.Second
	}
}

func (c *cluster) verify(tok token) {
	for _, p := range c.processes {
		c.verified++
		if _, ok := p.ByID(tok.id); !ok {
			c.unknown++
		}
	}
}

// rotateAndRestart rotates every few minutes. After each rotation, a process starts anew: first one interval after it, then 2 s later each
// time. Before every other one, too: from a minute before it up to the same moment.
func rotateAndRestart(t *testing.T, c *cluster, rotations int) {
	t.Helper()
	const before = time.Minute
	for n := range rotations {
		offset := time.Duration(n) * 2 * time.Second
		c.run(t, before-offset%before)
		if n%2 == 0 {
			c.restart(t, (n+1)%processes) // a moment before the rotation, or at it
		}
		c.run(t, offset%before)
		c.backend.Set("signing", "key "+strconv.Itoa(n+2))
		c.run(t, interval+offset)
		c.restart(t, n%processes)
		c.run(t, lifetime+2*time.Minute) // a process that starts knows one previous version alone
	}
}

func TestNoPeerMeetsAnUnknownID(t *testing.T) {
	overlap := secretkeys.Overlap(lifetime + time.Minute)
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		c := newCluster(t, overlap)
		rotateAndRestart(t, c, 60)
		t.Logf("default: %d of %d tokens with an unknown id", c.unknown, c.verified)
		is.Equal(c.unknown, 0)
		is.True(c.verified > 100_000)
	})
	synctest.Test(t, func(t *testing.T) { // control
		c := newCluster(t, overlap, secretkeys.ActivateAfter(time.Millisecond))
		rotateAndRestart(t, c, 15)
		t.Logf("ActivateAfter(1ms): %d of %d tokens with an unknown id", c.unknown, c.verified)
		is.New(t).True(c.unknown > 100)
	})
	synctest.Test(t, func(t *testing.T) { // control
		c := newCluster(t, secretkeys.Overlap(time.Minute))
		rotateAndRestart(t, c, 15)
		t.Logf("an overlap of less than the lifetime: %d of %d tokens with an unknown id", c.unknown, c.verified)
		is.New(t).True(c.unknown > 100)
	})
}

// The limit that Open names. The others learn of the key at their next look.
func TestStartWithinAnIntervalOfARotationMaySignTooEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		c := newCluster(t)
		c.backend.Set("signing", "key 2")
		c.restart(t, 0)
		c.run(t, interval)
		is.True(c.unknown > 0)
		before := c.unknown
		c.run(t, 10*time.Minute)
		is.Equal(c.unknown, before)
	})
}

package secretkeys_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/use/secretkeys"
)

// token is a token that a process has signed.
type token struct {
	id      string
	expires time.Duration
}

// rotating is a backend that can write version n, with the key that helpers expect.
type rotating interface {
	secrets.Backend

	rotate(n int)
}

// cluster is several processes with the same keys. Each signs a token per second. The others verify it at once, and just before it expires.
type cluster struct {
	backend   rotating
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

// newCluster starts the processes one after the other, so that they poll at different moments.
func newCluster(t *testing.T, backend rotating, opts ...secretkeys.Option) *cluster {
	t.Helper()
	c := &cluster{backend: backend, opts: append(opts, secretkeys.Interval(interval))}
	for range processes {
		c.processes = append(c.processes, keysOf(t, c.backend, c.opts...))
		after(7 * time.Second)
	}
	return c
}

// restart restarts process i.
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

// rotateAndRestart rotates every few minutes. Two processes restart around each rotation: one at the rotation, 2 s later each time, and
// another a while after that. Before every other rotation, one more restarts, from a minute before it up to the rotation.
func rotateAndRestart(t *testing.T, c *cluster, rotations int, rotate func(n int)) {
	t.Helper()
	const before = time.Minute
	for n := range rotations {
		offset := time.Duration(n) * 2 * time.Second
		c.run(t, before-offset%before)
		if n%2 == 0 {
			c.restart(t, (n+1)%processes) // a moment before the rotation, or at it
		}
		c.run(t, offset%before)
		rotate(n + 2)
		c.run(t, offset)
		c.restart(t, n%processes)
		c.run(t, time.Duration(n%9+1)*7*time.Second)
		c.restart(t, (n+1)%processes)
		c.run(t, lifetime+3*time.Minute) // a starting process knows only one previous version
	}
}

func (s *shared) rotate(n int) { s.Set("signing", "key "+strconv.Itoa(n)) }

// staged is a backend whose versions become current some time after they are created, as in an AWS rotation by steps.
type staged struct {
	*shared

	current atomic.Int64
}

func (s *staged) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	if ref.Version == "" {
		ref.Version = strconv.FormatInt(s.current.Load(), 10)
	}
	return s.shared.Fetch(ctx, ref)
}

// rotate writes version n, and makes it the current one 90 s later.
func (s *staged) rotate(n int) {
	s.shared.rotate(n)
	time.AfterFunc(90*time.Second, func() { s.current.Store(int64(n)) })
}

func newStaged() *staged {
	s := &staged{shared: newShared()}
	s.current.Store(1)
	return s
}

// unknownIDs returns how many tokens of a cluster had an id that a verifying process did not know.
func unknownIDs(t *testing.T, newBackend func() rotating, rotations int, opts ...secretkeys.Option) (unknown int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		backend := newBackend()
		c := newCluster(t, backend, opts...)
		rotateAndRestart(t, c, rotations, backend.rotate)
		t.Logf("%d of %d tokens with an unknown id", c.unknown, c.verified)
		is.New(t).True(c.verified > rotations*5_000)
		unknown = c.unknown
	})
	return unknown
}

func TestNoPeerMeetsAnUnknownID(t *testing.T) {
	const minute = time.Minute
	overlap := secretkeys.Overlap(lifetime + minute)
	long := []secretkeys.Option{secretkeys.ActivateAfter(2*minute + interval), secretkeys.Overlap(lifetime + 2*minute + interval)}
	for name, tc := range map[string]struct {
		backend   func() rotating
		rotations int
		opts      []secretkeys.Option
		none      bool // false for a control
	}{
		"default": {func() rotating { return newShared() }, 60, []secretkeys.Option{overlap}, true},
		"default, without creation times": {
			func() rotating { return &silent{newShared()} }, 15, []secretkeys.Option{overlap}, false,
		},
		"ActivateAfter of 1 ms": {
			func() rotating { return newShared() }, 15, []secretkeys.Option{overlap, secretkeys.ActivateAfter(time.Millisecond)}, false,
		},
		"an overlap of less than the lifetime": {
			func() rotating { return newShared() }, 15, []secretkeys.Option{secretkeys.Overlap(minute)}, false,
		},
		"in steps, shorter than ActivateAfter": {func() rotating { return newStaged() }, 60, long, true},
		"in steps, longer than ActivateAfter":  {func() rotating { return newStaged() }, 60, []secretkeys.Option{overlap}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			unknown := unknownIDs(t, tc.backend, tc.rotations, tc.opts...)
			is.New(t).Equal(unknown == 0, tc.none)
		})
	}
}

package main

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTour(t *testing.T) {
	is := is.New(t)
	var values recorder
	var out strings.Builder
	is.NoErr(run(t.Context(), &out, values.next))

	is.Equal(out.String(), story)

	is.True(len(values.drawn) >= 5) // the tour has secrets to hide
	for _, value := range values.drawn {
		secretstest.AssertNoLeak(t, value, out.String())
	}
}

// A program must not look well when it is not.
func TestTourFails(t *testing.T) {
	is := is.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out strings.Builder
	is.True(run(ctx, &out, rand.Text) != nil) // a tour that cannot ask anybody fails
}

// The search for values must be able to find one.
func TestTourLeakIsSeen(t *testing.T) {
	is := is.New(t)
	var values recorder
	shown := "the password is " + values.next()
	is.True(len(secretstest.Leaks(values.drawn[0], shown)) > 0)
}

// recorder draws values and keeps them.
type recorder struct {
	mu    sync.Mutex
	drawn []string
}

func (r *recorder) next() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	value := rand.Text()
	r.drawn = append(r.drawn, value)
	return value
}

const story = `A tour of package secrets. No line of it holds a secret.

1. A service asks, and does not know where secrets come from
   the shop is connected to its database: from remote, version 1
   mail-token   from file
   payment/key  from env

2. A secret does not show itself
   as text      [REDACTED]
   in Go        [REDACTED]
   in JSON      {"password":"[REDACTED]"}
   in a struct  {User:[REDACTED] Password:[REDACTED]}
   Reveal()     26 characters, which are not printed here

3. A thousand callers at once are one call of the store
   1000 answers, 1 call

4. Many at once: what is there, and what is not
   database#user  [REDACTED], from remote
   mail-token     [REDACTED], from file
   payment/key    [REDACTED], from env
   coupon         not found (remote), not found (file), not found (env)
   payroll#salary permission denied (remote)

5. Missing is not denied
   coupon is in no backend, so that GetOr answers "none today", from "default"
   payroll is not ours to read, and no default hides that:
     secrets: remote: payroll#salary: permission denied: the shop may not read it

6. The store rotates a password
   Get answers from the cache: from remote, version 1
   Refresh asks the store:     from remote, version 2

7. A file is rotated
   the next Get has the new value: files and variables are read anew each time

8. The store is down
   the network is cut, and every cached value has passed its TTL
   the shop still connects: from remote, version 2, stale
   mail-token   from file
   discount     unavailable (remote), not found (file), not found (env)

9. The store is back
   the shop is connected to its database: from remote, version 3

That is all. The code is in examples/quickstart, from main.go on.
`

package main

import (
	"context"
	"crypto/rand"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets/secretstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestScenes(t *testing.T) {
	is := is.New(t)
	var values recorder
	var out strings.Builder
	is.NoErr(run(t.Context(), &out, false, values.next))

	directory := regexp.MustCompile(`\S*quickstart-\d+`)
	is.Equal(directory.ReplaceAllString(out.String(), "DIRECTORY"), story)

	is.True(len(values.drawn) >= 5) // there are secrets to hide
	for _, value := range values.drawn {
		secretstest.AssertNoLeak(t, value, out.String())
	}
}

// A program must not look well when it is not.
func TestScenesFail(t *testing.T) {
	is := is.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out strings.Builder
	is.True(run(ctx, &out, false, rand.Text) != nil) // nobody can be asked
}

// The search for values must be able to find one.
func TestALeakIsSeen(t *testing.T) {
	is := is.New(t)
	var values recorder
	shown := "the password is " + values.next()
	is.True(len(secretstest.Leaks(values.drawn[0], shown)) > 0)
}

// Colours are for terminals.
func TestColours(t *testing.T) {
	is := is.New(t)
	null, err := os.Open(os.DevNull)
	is.NoErr(err)
	defer null.Close()
	file, err := os.Create(t.TempDir() + "/output")
	is.NoErr(err)
	defer file.Close()
	is.True(!hasColour(file))
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	is.True(hasColour(null)) // a device, as a terminal is
	t.Setenv("NO_COLOR", "1")
	is.True(!hasColour(null))

	var out strings.Builder
	is.NoErr(run(t.Context(), &out, true, rand.Text))
	plain := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(out.String(), "")
	is.True(plain != out.String())
	is.True(strings.HasPrefix(story, plain[:100]))
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

const story = `Everything runs in this process. Nothing is installed, and nothing leaves this machine. No line below holds a secret.

    // store stands for a store over the network; files are in a directory
    client, err := secrets.New(store, secrets.WithFallback(fallback.To(files)), middleware.Standard())

1. Missing is not denied

    client.GetOr(ctx, "coupon", "none today")
      "none today", since no store has it

    client.GetOr(ctx, "payroll#salary", "none today")
      secrets: store: payroll#salary: permission denied: the shop may not read it
      A default never hides a denial.

2. The store goes down, and comes back

    client.Get(ctx, "database#password")
      [REDACTED] from store, version 1

    // the store is down, and the TTL of one second is over

    client.Get(ctx, "database#password")
      [REDACTED] from store, version 1, stale

    client.GetOr(ctx, "discount", "none today")
      secrets: store: discount: unavailable: connection refused; file: discount: not found: no file discount in DIRECTORY

    // what the log says meanwhile
      level=WARN msg="secrets: backend unavailable" backend=store class=unavailable detail="connection refused"

    // the store is back

    client.Refresh(ctx, "database#password")
      [REDACTED] from store, version 2

3. What the store does not have, the files may have

    client.Get(ctx, "mail-token")
      [REDACTED] from file

4. Many at once

    // 1,000 goroutines at once

    client.Get(ctx, "database#password")
      1000 answers, 1 call to the store

    client.GetMany(ctx, "database#user", "mail-token", "coupon", "payroll#salary")
      database#user  [REDACTED] from store
      mail-token     [REDACTED] from file
      coupon         not found
      payroll#salary permission denied

5. A password changes

    handle, err := client.Watch(ctx, "database")
      handle.Secret() is from store, version 2

    // somebody rotates the password

    client.Do(ctx, "database", login)
      login with version 2: refused
      login with version 3: accepted

    handle.Secret()
      from store, version 3

6. A secret does not show itself

    fmt.Printf("%v %+v", password, struct{ Password secrets.Secret }{password})
      [REDACTED] {Password:[REDACTED]}

    // a driver quotes its connection string, and redact.Handler masks it

    logger.Error("cannot connect", "error", err)
      level=ERROR msg="cannot connect" error="dial postgres://shop:[REDACTED]@db: refused"

7. Each error says what to do

    client.Get(ctx, "database#pasword")
      secrets: store: database#pasword: field not found: the document has no field pasword; its fields are password, user

    client.Get(ctx, "a b\tc")
      secrets: "a b\tc": invalid key: the key has a control, format or line-separator character

    client.Get(ctx, "payroll")
      secrets: store: payroll: permission denied: the shop may not read it

Where to go next

    README.md                what to write for each of these, on one page
    go run ./examples/detect which store the environment of this shell would choose
    docs/rotation.md         pools, certificates and HTTP clients that survive a rotation
    docs/testing.md          the fake store for your tests
`

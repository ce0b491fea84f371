package awssm_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

// virtual runs f in a bubble with a server outside it. An open connection stops the clock of a bubble, so the backend closes each one after
// its call, and calls take no time. The bubble starts at the time of the server, which checks the times of signatures.
func virtual(t *testing.T, f func(t *testing.T, server *awstest.Server, b *awssm.Backend)) {
	t.Helper()
	server := awstest.NewServer(t)
	now := time.Now()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(now))
		cfg := config()
		cfg.Region, cfg.Credentials = server.Region(), keys(server)
		cfg.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.DisableKeepAlives = true })
		f(t, server, backend(t, server.URL(), awssm.WithConfig(cfg)))
	})
}

// database accepts one password.
type database struct {
	mu       sync.Mutex
	password string
	attempts int
	refused  int
}

// setPassword is the step setSecret of a rotation.
func (d *database) setPassword(password string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.password = password
}

func (d *database) login(_ context.Context, s secrets.Secret) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.attempts++; s.Reveal() != d.password {
		d.refused++
		return fmt.Errorf("login: %w", secrets.ErrRejected)
	}
	return nil
}

// The times of a rotation by the single-user strategy, since the start. The steps are those of
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html.
const (
	createSecret = 10 * time.Second // AWSPENDING appears
	setSecret    = 12 * time.Second // the database has the new password
	testSecret   = 14 * time.Second
	finishSecret = setSecret + 20*time.Second // AWSCURRENT moves to the new password, AWSPREVIOUS to the old one
	runEnd       = 90 * time.Second           // more than a minute later

	workers = 4
	every   = 100 * time.Millisecond
)

// rotation counts what a workload did, with or without a rotation of the password.
type rotation struct {
	done, failed  int           // calls of the workload
	inWindow      int           // failed calls between setSecret and finishSecret
	calls         int           // to the server
	refused       int           // logins at the database
	longest       time.Duration // of all calls of the workload
	firstFailed   time.Duration // start of the call
	lastFailed    time.Duration
	firstErrorWas error
}

// rotate runs work on all workers once per interval. If rotates is true, it rotates the secret db meanwhile.
func rotate(t *testing.T, rotates, hidden bool, work func(ctx context.Context, c *secrets.Client, db *database) error) (r rotation) {
	t.Helper()
	virtual(t, func(t *testing.T, server *awstest.Server, b *awssm.Backend) {
		server.Put("db", "old")
		db := &database{password: "old"}
		c := client(t, b, middleware.Standard())
		if hidden { // a policy with a condition on secretsmanager:VersionStage
			server.Handle(func(r *awstest.Request) *awstest.Response {
				if r.Stage != "AWSPENDING" {
					return nil
				}
				return awstest.Fault("AccessDeniedException", "")
			})
		}
		began := time.Now()
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() {
				time.Sleep(time.Duration(2*i+1) * every / (2 * workers)) // no call at the time of a step
				for time.Since(began) < runEnd {
					start := time.Now()
					err := work(t.Context(), c, db)
					mu.Lock()
					r.count(start.Sub(began), time.Since(start), err)
					mu.Unlock()
					time.Sleep(every - time.Since(start)%every)
				}
			})
		}
		if rotates {
			wg.Go(func() {
				at := func(d time.Duration) { time.Sleep(time.Until(began.Add(d))) }
				at(createSecret)
				server.PutVersion("db", "new", "AWSPENDING")
				at(setSecret)
				db.setPassword("new")
				at(testSecret)
				if err := db.login(t.Context(), secrets.NewSecret("new", secrets.Meta{})); err != nil {
					t.Error(err)
				}
				at(finishSecret)
				server.Promote("db")
			})
		}
		wg.Wait()
		r.calls, r.refused = server.Count("*"), db.refused
	})
	return r
}

// count records a call of the workload that began at the given time.
func (r *rotation) count(at, took time.Duration, err error) {
	r.done++
	r.longest = max(r.longest, took)
	if err == nil {
		return
	}
	if r.failed == 0 {
		r.firstFailed, r.firstErrorWas = at, err
	}
	r.failed++
	r.lastFailed = at
	if at >= setSecret && at < finishSecret {
		r.inWindow++
	}
}

// The ways in which a program uses a credential.
var (
	getOnly = func(ctx context.Context, c *secrets.Client, db *database) error {
		s, err := c.Get(ctx, "db")
		if err != nil {
			return err
		}
		return db.login(ctx, s)
	}
	refreshOnly = func(ctx context.Context, c *secrets.Client, db *database) error {
		err := getOnly(ctx, c, db)
		if !errors.Is(err, secrets.ErrRejected) {
			return err
		}
		s, err := c.Refresh(ctx, "db")
		if err != nil {
			return err
		}
		return db.login(ctx, s)
	}
	do = func(opts ...secrets.DoOption) func(ctx context.Context, c *secrets.Client, db *database) error {
		return func(ctx context.Context, c *secrets.Client, db *database) error {
			return c.Do(ctx, "db", db.login, opts...)
		}
	}
)

// Between setSecret and finishSecret, the database accepts only AWSPENDING, and AWSCURRENT is still the old password. Only Do with the
// alternates succeeds, or Bridge if the program may not read AWSPENDING.
func TestDoInARotation(t *testing.T) {
	const window = workers * int((finishSecret-setSecret)/every) // calls during it
	bridge := secrets.Bridge(30 * time.Second)
	control := rotate(t, false, false, do())
	is.New(t).Equal(control.failed, 0)
	var table strings.Builder
	line := func(name string, r rotation) {
		_, _ = fmt.Fprintf(&table, "\n%-40s %6d %7d %10d %12d %16d %8v", name, r.done, r.failed, r.inWindow, r.calls-control.calls, r.refused,
			r.longest) // a Builder never fails
	}
	_, _ = fmt.Fprintf(&table, "\n%-40s %6s %7s %10s %12s %16s %8s",
		"", "calls", "failed", "in window", "extra calls", "refused attempts", "longest")
	line("no rotation", control)
	for _, c := range []struct {
		name   string
		hidden bool
		work   func(ctx context.Context, c *secrets.Client, db *database) error
		check  func(is *is.I, r rotation)
	}{
		{"Get only", false, getOnly, func(is *is.I, r rotation) {
			is.Equal(r.inWindow, window)
			is.Equal(r.failed, workers*int((runEnd-setSecret)/every)) // until the TTL of the cache ends
		}},
		{"Get, and Refresh on a refusal", false, refreshOnly, func(is *is.I, r rotation) {
			is.Equal(r.inWindow, window)
			is.Equal(r.failed, window)
		}},
		{"Do", false, do(), func(is *is.I, r rotation) {
			is.Equal(r.failed, 0)
			is.Equal(r.done, control.done)
			is.True(r.calls-control.calls <= 3)
			is.Equal(r.longest, time.Duration(0))
		}},
		{"Do with Bridge(30s)", false, do(bridge), func(is *is.I, r rotation) {
			is.Equal(r.failed, 0)
			is.Equal(r.done, control.done)
			is.True(r.calls-control.calls <= 3)
			is.Equal(r.longest, time.Duration(0))
		}},
		{"Do, AWSPENDING hidden", true, do(), func(is *is.I, r rotation) {
			is.Equal(r.inWindow, window)
			is.True(errors.Is(r.firstErrorWas, secrets.ErrRejected))
			is.True(r.lastFailed < finishSecret+10*time.Second) // the longest back-off
		}},
		{"Do with Bridge(30s), AWSPENDING hidden", true, do(bridge), func(is *is.I, r rotation) {
			is.Equal(r.failed, 0)
			is.True(r.longest > finishSecret-setSecret-every)
			is.True(r.longest <= 30*time.Second)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rotate(t, true, c.hidden, c.work)
			line(c.name, r)
			c.check(is.New(t), r)
		})
	}
	t.Log(table.String())
}

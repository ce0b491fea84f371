//go:build vault && unix

package drivertest_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/internal/postgresserver"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
	"github.com/seed-5482dd03/secrets/use/secretsql"
)

// Times of a rotation by the single-user strategy, since the start. Its steps:
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html.
const (
	createSecret = 2 * time.Second           // AWSPENDING appears
	setSecret    = 3 * time.Second           // the database has the new password
	finishSecret = setSecret + 5*time.Second // AWSCURRENT moves; later on a slow machine
	runEnd       = 4 * time.Second           // after finishSecret

	perSecond = 200 // connections, on a fast enough machine
)

// The database changes a user's password seconds before AWSCURRENT moves, under a steady load of new connections.
func TestAWSRotation(t *testing.T) {
	database := postgresserver.Start(t)
	for name, hidden := range map[string]bool{"AWSPENDING can be read": false, "a policy hides AWSPENDING": true} {
		t.Run(name, func(t *testing.T) { testAWSRotation(t, database, hidden) })
	}
}

func testAWSRotation(t *testing.T, database *postgresserver.Server, hidden bool) {
	t.Helper()
	is := is.New(t)
	const user, before, after = "app", "correct horse", "battery staple"
	database.Must(t, `DROP ROLE IF EXISTS app; CREATE ROLE app LOGIN PASSWORD '`+before+`'`)
	server := awstest.NewServer(t)
	server.Put("db", document(t, user, before))
	if hidden {
		server.Handle(func(r *awstest.Request) *awstest.Response {
			if r.Stage != "AWSPENDING" {
				return nil
			}
			return awstest.Fault("AccessDeniedException", "")
		})
	}
	open := connectorTo(t, database)
	key := whole("db")
	client, naiveClient := awsClient(t, server), awsClient(t, server)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began := time.Now()
	var inWindow atomic.Bool
	failed := make(chan struct{}) // closed when the control has failed in the window
	fail := sync.OnceFunc(func() { close(failed) })

	var ours, control, controlInWindow tally
	var running sync.WaitGroup
	run := func(perSecond int, c driver.Connector, note func(wasInWindow bool, err error)) {
		db := sql.OpenDB(c)
		db.SetMaxIdleConns(-1) // each query opens a connection
		running.Go(func() {
			paced(ctx, perSecond, func() {
				wasInWindow := inWindow.Load()
				var one int
				err := db.QueryRowContext(context.WithoutCancel(ctx), "SELECT 1").Scan(&one)
				note(wasInWindow && inWindow.Load(), err)
			})
			is.NoErr(db.Close())
		})
	}
	run(perSecond, secretsql.Connector(client, key, open, secretsql.Bridge(30*time.Second)), func(_ bool, err error) { ours.note(err) })
	run(10, &naive{naiveClient, key, open}, func(wasInWindow bool, err error) {
		control.note(err)
		if wasInWindow {
			controlInWindow.note(err)
			if err != nil {
				fail()
			}
		}
	})
	for _, step := range []struct {
		at time.Duration
		do func()
	}{
		{createSecret, func() { server.PutVersion("db", document(t, user, after), "AWSPENDING") }},
		{setSecret, func() {
			database.Must(t, `ALTER ROLE app PASSWORD '`+after+`'`)
			inWindow.Store(true)
		}},
		{finishSecret, func() {
			select {
			case <-failed:
			case <-time.After(time.Minute): // the end of the test reports it
			}
			inWindow.Store(false)
			server.Promote("db")
		}},
	} {
		timer := time.NewTimer(time.Until(began.Add(step.at)))
		<-timer.C
		step.do()
	}
	time.AfterFunc(runEnd, cancel)
	running.Wait()
	t.Logf("secretsql: %v; %.0f connections a second", &ours, float64(ours.ok)/time.Since(began).Seconds())
	t.Logf("the naive recipe: %v; in the window %v; %d calls to AWS by both", &control, &controlInWindow, server.Count("*"))
	is.Equal(ours.failures(), 0)
	is.True(ours.ok > 0)
	is.Equal(controlInWindow.ok, 0)
	is.True(controlInWindow.failures() > 0)
}

func awsClient(t *testing.T, server *awstest.Server) *secrets.Client {
	t.Helper()
	keys := server.Credentials()
	b, err := awssm.New(t.Context(), awssm.WithEndpoint(server.URL()), awssm.WithConfig(aws.Config{
		Region:      server.Region(),
		Credentials: credentials.NewStaticCredentialsProvider(keys.AccessKeyID, keys.SecretAccessKey, keys.SessionToken),
	}))
	is.New(t).NoErr(err)
	return newClient(t, b)
}

// paced calls f perSecond times a second, or as often as the machine can, until ctx ends.
func paced(ctx context.Context, perSecond int, f func()) {
	var calls sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	slots := make(chan struct{}, workers/2) // more would only wait for each other
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			continue
		}
		slots <- struct{}{}
		calls.Go(func() {
			defer func() { <-slots }()
			f()
		})
	}
	calls.Wait()
}

//go:build vault && unix

package postgresserver_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets/internal/postgresserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServer(t *testing.T) {
	is := is.New(t)
	dir, err := os.MkdirTemp("", "postgres-test-") //nolint:usetesting // the other user cannot enter what t makes
	is.NoErr(err)
	defer os.Remove(dir)
	is.NoErr(os.Chmod(dir, 0o711))
	t.Setenv("TMPDIR", dir)

	server := postgresserver.Start(t)
	server.Must(t, `CREATE ROLE app LOGIN PASSWORD 'hunter2'`)
	user, err := server.Query(t.Context(), "app", "hunter2", "SELECT current_user, 1")
	is.NoErr(err)
	is.Equal(user, "app|1")
	is.Equal(server.Must(t, `SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'app'`), "t")

	for _, login := range [][2]string{{"app", "wrong"}, {"app", ""}, {"none", "hunter2"}, {server.User, "wrong"}} {
		_, err = server.Query(t.Context(), login[0], login[1], "SELECT 1")
		is.Equal(postgresserver.IsRefused(err), login[1] != "") // without a password, psql does not connect
		is.True(err != nil)
	}
	_, err = server.Query(t.Context(), "app", "hunter2", "SELECT rolpassword FROM pg_authid")
	is.True(err != nil && !postgresserver.IsRefused(err)) // logged in, without permission for the query

	server.Stop()
	server.Stop()
	_, err = server.Query(t.Context(), "app", "hunter2", "SELECT 1")
	is.True(err != nil && !postgresserver.IsRefused(err))
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	is.NoErr(err)
	is.Equal(len(left), 0)
}

// A role may be dropped during a login, or just after. The second text is a server's answer then.
func TestARoleThatIsDropped(t *testing.T) {
	is := is.New(t)
	const failed = `psql: error: connection to server at "127.0.0.1", port 5432 failed: FATAL:  `
	for text, refused := range map[string]bool{
		failed + `password authentication failed for user "app"`:       true,
		failed + `role "app" does not exist`:                           true,
		failed + `database "app" does not exist`:                       false,
		failed + `sorry, too many clients already`:                     false,
		`psql: error: connection to server failed: Connection refused`: false,
	} {
		is.Equal(postgresserver.IsRefused(&postgresserver.Error{Exit: 2, Text: text}), refused)
		is.True(!postgresserver.IsRefused(&postgresserver.Error{Exit: 3, Text: text}))
	}

	server := postgresserver.Start(t)
	for range 20 {
		server.Must(t, `CREATE ROLE app LOGIN PASSWORD 'hunter2'`)
		dropped := make(chan error, 1)
		go func() {
			_, err := server.Query(t.Context(), server.User, server.Password, `DROP ROLE app`)
			dropped <- err
		}()
		user, err := server.Query(t.Context(), "app", "hunter2", "SHOW session_authorization")
		is.NoErr(<-dropped)
		if err != nil {
			is.True(postgresserver.IsRefused(err))
		} else {
			is.Equal(user, "app")
		}
	}
}

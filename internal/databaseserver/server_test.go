//go:build vault && unix

package databaseserver_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/matryer/is"
	"go.uber.org/goleak"

	"github.com/seed-5482dd03/secrets/internal/databaseserver"
	"github.com/seed-5482dd03/secrets/internal/postgresserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Users of both kinds of role can log in, until Vault has dropped them.
func TestServer(t *testing.T) {
	is := is.New(t)
	s := databaseserver.Start(t)
	login := func(path string) (query func() error) {
		data, ok := s.Vault.Must(t, http.MethodGet, databaseserver.Mount+"/"+path, nil)["data"].(map[string]any)
		is.True(ok)
		return func() error {
			_, err := s.SQL.Query(t.Context(), fmt.Sprint(data["username"]), fmt.Sprint(data["password"]), "SELECT 1")
			return err
		}
	}
	is.NoErr(login("static-creds/" + s.StaticRole(t, "1h"))())
	for _, revocation := range []string{databaseserver.DropsRole, databaseserver.EndsConnections} {
		role := s.DynamicRole(t, "1h", revocation)
		query := login("creds/" + role)
		is.NoErr(query())
		s.RevokeLeases(t, role)
		is.True(postgresserver.IsRefused(query()))
	}
}

//go:build unix

package databaseserver

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"

	"github.com/seed-5482dd03/secrets/internal/child"
	"github.com/seed-5482dd03/secrets/internal/postgresserver"
	"github.com/seed-5482dd03/secrets/internal/vaultserver"
)

// TB is the subset of *testing.T and *testing.B that this package uses.
type TB = child.TB

// Mount is the mount of the database secrets engine.
const Mount = "database"

// What Vault does at the end of a lease.
const (
	// DropsRole is Vault's default: it drops the role. Open connections stay open; their queries fail.
	DropsRole = ""
	// EndsConnections makes Vault end the connections of the role first.
	EndsConnections = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'; DROP ROLE IF EXISTS "{{name}}"`
)

// Server is a PostgreSQL server and the Vault server that manages its users.
type Server struct {
	SQL   *postgresserver.Server
	Vault *vaultserver.Server
}

// Start starts both servers and stops them when t ends: Vault first, since it needs the other.
func Start(t TB) *Server {
	t.Helper()
	s := &Server{SQL: postgresserver.Start(t), Vault: vaultserver.Start(t)}
	s.Vault.Must(t, http.MethodPost, "sys/mounts/"+Mount, map[string]any{"type": "database"})
	s.Vault.Must(t, http.MethodPost, Mount+"/config/postgres", map[string]any{
		"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "username": s.SQL.User, "password": s.SQL.Password,
		"connection_url": "postgresql://{{username}}:{{password}}@" + s.SQL.Addr + "/postgres?sslmode=disable",
	})
	return s
}

// DynamicRole creates a role. Each read of creds/<role> creates a user that lives for ttl. revocation is [DropsRole] or [EndsConnections].
func (s *Server) DynamicRole(t TB, ttl, revocation string) (role string) {
	t.Helper()
	role = unique("role")
	options := map[string]any{
		"db_name": "postgres", "default_ttl": ttl, "max_ttl": ttl,
		"creation_statements": `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`,
	}
	if revocation != DropsRole {
		options["revocation_statements"] = revocation
	}
	s.Vault.Must(t, http.MethodPost, Mount+"/roles/"+role, options)
	return role
}

// StaticRole creates a user whose password Vault changes every period. Its credentials are at static-creds/<role>.
func (s *Server) StaticRole(t TB, period string) (role string) {
	t.Helper()
	role = unique("static")
	s.SQL.Must(t, `CREATE ROLE "`+role+`" LOGIN`)
	s.Vault.Must(t, http.MethodPost, Mount+"/static-roles/"+role, map[string]any{
		"db_name": "postgres", "username": role, "rotation_period": period,
	})
	return role
}

// RevokeLeases revokes all leases of a dynamic role, as an operator does.
func (s *Server) RevokeLeases(t TB, role string) {
	t.Helper()
	prefix := Mount + "/creds/" + role + "/"
	_, answer := s.Vault.Do(t, "LIST", "sys/leases/lookup/"+prefix, nil)
	data, _ := answer["data"].(map[string]any) //nolint:errcheck // nil has no keys
	keys, _ := data["keys"].([]any)            //nolint:errcheck // nil has no keys
	if len(keys) == 0 {
		t.Fatalf("no lease to revoke")
	}
	for _, key := range keys {
		lease := fmt.Sprint(prefix, key)
		s.Vault.Must(t, http.MethodPost, "sys/leases/revoke", map[string]any{"lease_id": lease, "sync": true})
	}
}

func unique(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()) }

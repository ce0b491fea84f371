// Package postgresserver starts real PostgreSQL servers for tests, on loopback and with files of their own, and speaks to them with
// psql, so that no driver is among the requirements of the module.
//
//	server := postgresserver.Start(t)
//	server.Must(t, `CREATE ROLE app LOGIN PASSWORD 'hunter2'`)
//	_, err := server.Query(ctx, "app", "hunter2", "SELECT 1")
//	refused := postgresserver.IsRefused(err)
//
// It works on Unix only, with PostgreSQL 12 or newer. The tests that use it carry the build tag vault, as those with a Vault server do.
// On Debian, `apt-get install --no-install-recommends postgresql` installs what it needs.
package postgresserver

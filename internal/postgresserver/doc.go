// Package postgresserver starts real PostgreSQL servers for tests, on loopback and with files of their own. It queries them with psql, so
// the module requires no driver.
//
//	server := postgresserver.Start(t)
//	server.Must(t, `CREATE ROLE app LOGIN PASSWORD 'hunter2'`)
//	_, err := server.Query(ctx, "app", "hunter2", "SELECT 1")
//	refused := postgresserver.IsRefused(err)
//
// It works on Unix only, with PostgreSQL 12 or newer. Tests that use it have the build tag vault, like those with a Vault server.
// On Debian, `apt-get install --no-install-recommends postgresql` installs what it needs.
package postgresserver

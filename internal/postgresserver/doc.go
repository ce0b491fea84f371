// Package postgresserver starts real PostgreSQL servers for tests, on loopback and with their own files. It queries them with psql, so the
// module needs no driver.
//
//	server := postgresserver.Start(t)
//	server.Must(t, `CREATE ROLE app LOGIN PASSWORD 'hunter2'`)
//	_, err := server.Query(ctx, "app", "hunter2", "SELECT 1")
//	refused := postgresserver.IsRefused(err)
//
// It works on Unix only, with PostgreSQL 12 or newer. Its tests have the build tag vault. On Debian, `apt-get install
// --no-install-recommends postgresql` installs what it needs.
package postgresserver

// Package drivertest tests use/secretsql with real drivers, and shows its use with them. It is a separate module without code, so that no
// driver is in the library's go.mod.
//
//	go test ./...                               # the examples compile
//	go test -v -tags vault ./...                # with PostgreSQL and Vault, for 15 s each
//	ROTATION_TEST=60s go test -v -tags vault -timeout 0 ./...
//	go test -v -tags mariadb ./...              # with MariaDB: apt-get install mariadb-server
package drivertest

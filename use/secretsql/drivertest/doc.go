// Package drivertest tests use/secretsql with real drivers, and shows how to use it with them. It has no code of its own, and is a module
// of its own, so that no driver enters the go.mod of the library.
//
//	go test ./...                               # the examples compile
//	go test -v -tags vault ./...                # with PostgreSQL and Vault, for 15 s each
//	ROTATION_TEST=60s go test -v -tags vault -timeout 0 ./...
//	go test -v -tags mariadb ./...              # with MariaDB: apt-get install mariadb-server
package drivertest

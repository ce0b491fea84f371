// Package databaseserver starts a real PostgreSQL server whose users a real Vault server manages, for rotation tests.
//
//	server := databaseserver.Start(t)
//	role := server.DynamicRole(t, "4s", databaseserver.DropsRole) // each read of database/creds/<role> creates a user for 4 s
//	static := server.StaticRole(t, "10s")                         // Vault changes its password every 10 s
//
// It works on Unix only. Its tests have the build tag vault.
package databaseserver

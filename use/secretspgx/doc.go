// Package secretspgx gives a pgxpool.Pool a credential that rotates. It is a separate module, so pgx is not in the go.mod of package
// secrets.
//
//	cfg, err := pgxpool.ParseConfig("host=db.example.com dbname=shop sslmode=verify-full")
//	if err != nil {
//		return err
//	}
//	if err := secretspgx.Configure(cfg, client, "database"); err != nil {
//		return err
//	}
//	pool, err := pgxpool.NewWithConfig(ctx, cfg)
//
// Make the client with middleware.Standard(): without a cache, each login of a dynamic role creates a lease.
//
// # The secret
//
// The key names the whole document: "database", or "creds/app#" for Vault's database engine. A JSON document has the fields username or
// user, and password. Vault's database engine, RDS secrets of AWS Secrets Manager and Kubernetes secrets of type basic-auth have them.
// Without a user, that of the connection string is used. A secret that is not a JSON object is the password. For other forms, use
// [WithCredential].
//
// Host, port and database come only from the connection string; fields such as host, port and dbname are ignored. A changed secret cannot
// send the program to another server.
//
// # What it does
//
// Each connection logs in with the current secret and retires before the secret's lease ends. If the server refuses a login, the next one
// uses the next candidate, as in secrets.Client.Do.
//
// # Limits
//
//   - A query or transaction that runs longer than [Grace] may fail. By default, Vault drops the role at the end of the lease: open
//     connections stay, and their queries fail with SQLSTATE 42501. With pg_terminate_backend in revocation_statements, they end.
//   - Do not read dynamic credentials through the cache of a Vault Agent or Proxy. It repeats the full lease duration in each answer and
//     so hides the end of the lease.
//   - When an operator revokes a lease early, only a refused login reveals it. With [RetireOnChange], the first refusal also retires the
//     open connections.
//   - pgx tries one password per Acquire: if the server refuses it, that Acquire fails. The next one reads the secret again and tries
//     other versions. If none works, each Acquire that logs in fails. Files and variables have no other versions, so this lasts until
//     server and secret agree. Retry Acquire, or use secretsql, which has a Bridge.
//   - When Vault rotates a static role, a client gets the new password up to a second late. Only an Acquire that needs a new connection
//     in that second can fail, because open connections stay.
//   - MaxConnLifetime is not needed for rotation.
//   - A retired connection stays open until it is acquired, or idle for MaxConnIdleTime. [Configure] sets no AfterRelease: with it,
//     pgxpool takes seven times as long for an acquire, and opens MaxConns connections for a program that needs one.
//   - A connection taken with [pgxpool.Conn.Hijack] does not retire. One that is opened with ConnConfig, without the pool, gets no
//     secret.
//   - pgx copies user and password into the configuration of a connection, of a ConnectTracer and of a pgconn.ConnectError. Their texts
//     show no password, but dumps of them do.
package secretspgx

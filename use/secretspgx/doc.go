// Package secretspgx lets a pgxpool.Pool live with rotation. It is a module of its own, so that pgx stays out of the go.mod of package
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
// Each connection logs in with the current secret, and retires before the lease of its secret ends. If the server refuses a login, the
// next one uses the next candidate, as secrets.Client.Do does. Make the client with middleware.Standard(): without a cache, each login
// of a dynamic role creates a lease.
//
// # The secret
//
// The key names the whole document: "database", or "creds/app#" of Vault's database engine. A JSON document has the fields username or
// user, and password. Vault's database engine, RDS secrets of AWS Secrets Manager and Kubernetes secrets of type basic-auth have them. If
// it names no user, that of the connection string counts. A secret of any other form is the password. [WithCredential] takes other forms.
//
// Host, port and database are those of the connection string: fields such as host, port and dbname are ignored. Whoever can write the
// secret cannot send the program to another server.
//
// # Limits
//
//   - A query or transaction that runs for longer than [Grace] may fail. By default, Vault drops the role at the end of the lease: open
//     connections live on, and their queries fail with SQLSTATE 42501. With pg_terminate_backend in revocation_statements they end.
//   - Do not read dynamic credentials through the cache of a Vault Agent or Proxy. It repeats the duration of a lease each time, and so
//     hides when the lease ends.
//   - An operator who revokes a lease early is noticed by refused logins only. With [RetireOnChange], the first of them also retires the
//     open connections.
//   - pgx gives no second chance in one Acquire: if the server refuses the password, that Acquire fails. It makes the next one read the
//     secret anew, and try other versions. Where there is none that works, each Acquire that logs in fails: files and variables have no
//     other versions, so that it lasts until server and secret agree. Then try Acquire again, or use secretsql, which has a Bridge.
//   - A static role of Vault is such a rotation: a client learns of the new password up to a second late. Open connections live on until
//     then, so that only an Acquire that needs one more connection in that second can fail.
//   - MaxConnLifetime is not needed for rotation.
//   - A connection whose time is over stays open until it is acquired, or idle for MaxConnIdleTime. [Configure] sets no AfterRelease:
//     with it, pgxpool takes seven times as long for an acquire, and opens MaxConns connections for a program that needs one.
//   - A connection of [pgxpool.Conn.Hijack] does not retire. One that is opened with ConnConfig, without the pool, gets no secret.
//   - pgx hands user and password on: in the configuration of a connection, of a ConnectTracer and of a pgconn.ConnectError. Their
//     texts hold no password; dumps of them do.
package secretspgx

// Package secretsql opens database/sql connections with a credential that rotates, with any driver. The code that queries does not change.
//
//	open := func(_ context.Context, s secrets.Secret) (driver.Connector, error) {
//		user, err := s.Field("username") // an error, if the document has no such field
//		if err != nil {
//			return nil, err
//		}
//		password, err := s.Field("password")
//		if err != nil {
//			return nil, err
//		}
//		cfg := base.Copy() // a *pgx.ConnConfig with host, database and TLS
//		cfg.User, cfg.Password = user.Reveal(), password.Reveal()
//		return stdlib.GetConnector(*cfg), nil
//	}
//	db := sql.OpenDB(secretsql.Connector(client, "database", open))
//	defer db.Close()
//
// # Configuration
//
//   - Give the Client middleware.Standard(). Without a cache, each connection creates its own lease. For files, only its redaction
//     matters.
//   - Keep user and password in one document, so that they have the same version. To replace two files together, fill a new directory and
//     swap a symlink, as Kubernetes does.
//   - Add [Bridge] if the backend has no other versions to try, such as files, and secret and database do not change at the same moment.
//   - Set MaxOpenConns, as for any pool. During a change, it limits connections with the old and the new credential together.
//     ConnMaxLifetime is not needed.
//   - Vault's database engine creates a user per lease. Objects that such a user creates belong to it, and then its role cannot be
//     dropped. Let a group role own all objects: https://developer.hashicorp.com/vault/docs/secrets/databases/postgresql
//   - In a test, give the Client a secretstest.Backend. SetLease gives the secret a lease; Set and then [secrets.Client.Refresh] rotate
//     it. In a testing/synctest bubble, time passes at once.
//
// # What it does
//
// Each new connection logs in with the current credential. If the database refuses it, [secrets.Client.Do] tries the credential that the
// backend has now, then other versions, such as AWSPENDING during a rotation. A connection whose credential has a lease retires before the
// lease ends; database/sql then opens another one, and no query fails.
//
// # Errors
//
// SQLSTATE 28P01 and 28000 of PostgreSQL count as refused logins. For other databases, pass the refusals to [WithRejected]. For MySQL:
//
//	secretsql.WithRejected(func(err error) bool {
//		refusal, ok := errors.AsType[*mysql.MySQLError](err)
//		return ok && refusal.Number == 1045 // SQL Server has 18456
//	})
//
// Errors of open and of the driver are returned unchanged.
//
// # Limits
//
//   - A connection in use does not retire. A query or transaction that runs longer than [Grace] may fail; so may a [database/sql.Conn]
//     that the program keeps longer. By default, Vault drops the role when the lease ends. Its connections stay open, and their queries
//     fail with SQLSTATE 42501, which does not count as a refused login.
//   - Do not read dynamic credentials through the cache of a Vault Agent or Proxy. It repeats the full lease duration in each answer and
//     so hides the end of the lease.
//   - The pool does not notice when an operator revokes a lease early. Queries on its connections fail until the lease would have ended.
//     With [RetireOnChange], [secrets.Client.Refresh] ends that at once.
//   - (*sql.Conn).Raw returns this package's connection. Use [Raw] for the driver's own.
package secretsql

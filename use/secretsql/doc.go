// Package secretsql connects database/sql with a credential that changes, by any driver. It needs no change in the code that queries.
//
//	open := func(_ context.Context, s secrets.Secret) (driver.Connector, error) {
//		var login struct {
//			Username string
//			Password secrets.Secret
//		}
//		if err := s.JSON(&login); err != nil {
//			return nil, err
//		}
//		cfg := base.Copy() // a *pgx.ConnConfig
//		cfg.User, cfg.Password = login.Username, login.Password.Reveal()
//		return stdlib.GetConnector(*cfg), nil
//	}
//	db := sql.OpenDB(secretsql.Connector(client, "database", open))
//	defer db.Close()
//
// A new connection logs in with the current credential. If the database refuses it, the login goes through [secrets.Client.Do]: it tries
// the credential that the backend has now, and then other versions, such as AWSPENDING in the middle of a rotation. A connection whose
// credential has a lease retires before the lease ends. database/sql then opens another one, and no query fails.
//
// Refusals of PostgreSQL are known by their SQLSTATE, 28P01 and 28000. For other databases, say which errors are refusals. For MySQL:
//
//	secretsql.WithRejected(func(err error) bool {
//		refusal, ok := errors.AsType[*mysql.MySQLError](err)
//		return ok && refusal.Number == 1045 // SQL Server has 18456
//	})
//
// # Advice
//
//   - Give the Client middleware.Standard(). Without a cache, each connection creates a lease of its own. Files need it for redaction only.
//   - Add [Bridge] if the backend has no other versions to try, such as files, and secret and database do not change at the same moment.
//   - ConnMaxLifetime is not needed. Set MaxOpenConns, as for each pool. It also bounds the connections with the old and the new
//     credential together, during a change.
//   - Vault's database engine makes another user for each lease. What such a user creates belongs to it, and its role cannot be dropped
//     while that is so. Let a group role own all objects: https://developer.hashicorp.com/vault/docs/secrets/databases/postgresql
//   - User and password must be of one document, so that they are of one version. To change two files at once, fill a new directory and
//     swap a symbolic link, as Kubernetes does.
//   - In a test, give the Client a secretstest.Backend. SetLease gives the secret a lease, and Set followed by [secrets.Client.Refresh]
//     rotates it. In a bubble of testing/synctest, time passes at once.
//
// # Limits
//
//   - A connection in use does not retire. A transaction or a query that is longer than [Grace] may fail. So may a [database/sql.Conn]
//     that the program keeps for longer. By default, Vault's revocation drops the role. Connections of the role stay open, and their
//     queries fail with SQLSTATE 42501, which is no refused login.
//   - Do not read dynamic credentials through the cache of a Vault Agent or Proxy. It repeats the duration of a lease each time, and so
//     hides when the lease ends.
//   - If an operator revokes a lease before its end, nobody tells the pool. Queries of its connections fail until the lease would have
//     ended. With [RetireOnChange], [secrets.Client.Refresh] ends that at once.
//   - (*sql.Conn).Raw hands out the connection of this package. Use [Raw] to reach the driver's own.
package secretsql

package secretsql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/use/secretsql"
)

// valuer is a driver.Valuer whose calls the journal records.
type valuer struct {
	j   *journal
	v   any
	err error
}

func (v valuer) Value() (driver.Value, error) {
	v.j.note("Value")
	return v.v, v.err
}

// battery returns what a program can do with a pool. Each entry returns what the program sees.
func battery(j *journal) map[string]func(ctx context.Context, db *sql.DB) (string, error) {
	type call = func(ctx context.Context, db *sql.DB) (string, error)
	calls := map[string]call{
		"Ping":      func(ctx context.Context, db *sql.DB) (string, error) { return "", db.PingContext(ctx) },
		"PingConn":  onConn(func(ctx context.Context, c *sql.Conn) error { return c.PingContext(ctx) }),
		"Begin":     begin(nil, (*sql.Tx).Commit),
		"Rollback":  begin(nil, (*sql.Tx).Rollback),
		"default":   begin(&sql.TxOptions{}, (*sql.Tx).Commit),
		"isolation": begin(&sql.TxOptions{Isolation: sql.LevelSerializable}, (*sql.Tx).Commit),
		"read-only": begin(&sql.TxOptions{ReadOnly: true}, (*sql.Tx).Commit),
		"Background": func(_ context.Context, db *sql.DB) (string, error) {
			return begin(nil, (*sql.Tx).Commit)(context.Background(), db)
		},
		"context end": cancelTx,
		"context end on a Conn": onConn(func(ctx context.Context, c *sql.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			_, err := c.BeginTx(ctx, nil)
			cancel()
			synctest.Wait()
			return errors.Join(err, c.PingContext(context.Background()))
		}),
		"in a transaction": begin(nil, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(context.Background(), "insert ?", 7)
			return errors.Join(err, tx.Commit())
		}),
		"statement again": func(ctx context.Context, db *sql.DB) (string, error) {
			s, err := db.PrepareContext(ctx, "insert ?")
			if err != nil {
				return "", err
			}
			defer s.Close()
			_, first := s.ExecContext(ctx, 1)
			_, second := s.ExecContext(ctx, special{2})
			return "", errors.Join(first, second)
		},
	}
	for name, args := range map[string][]any{
		"none": nil, "int": {7}, "string": {"a"}, "bytes": {[]byte("a")}, "nil": {nil}, "two": {1, "b"},
		"valuer": {valuer{j, int64(5), nil}}, "wrong valuer": {valuer{j, unknown{}, nil}}, "failing valuer": {valuer{j, nil, errQuery}},
		"null": {sql.NullString{}}, "special": {special{3}}, "special and more": {special{3}, special{4}}, "unknown": {unknown{}},
		"removed": {removed{}}, "removed, then one": {removed{}, 8}, "one, then removed": {8, removed{}}, "channel": {(chan int)(nil)},
		"channel beyond": {1, (chan int)(nil)}, "valuer beyond": {1, valuer{j, int64(5), nil}}, "out": {sql.Out{}},
		"named": {sql.Named("n", 1)}, "named special": {sql.Named("n", special{1})}, "named unknown": {sql.Named("n", unknown{})},
		"bad name": {sql.Named("1n", 1)}, "big": {uint64(1) << 63},
	} {
		for _, query := range []string{"insert", "insert ?", "skip ?", "fail ?", "bad ?"} {
			label := fmt.Sprintf("%s, %s: ", query, name)
			calls[label+"Exec"] = func(ctx context.Context, db *sql.DB) (string, error) {
				return exec(db.ExecContext(ctx, query, args...))
			}
			calls[label+"Query"] = func(ctx context.Context, db *sql.DB) (string, error) {
				return scan(db.QueryContext(ctx, query, args...))
			}
			calls[label+"Stmt"] = func(ctx context.Context, db *sql.DB) (string, error) {
				s, err := db.PrepareContext(ctx, query)
				if err != nil {
					return "", err
				}
				defer s.Close()
				executed, err := exec(s.ExecContext(ctx, args...))
				queried, failure := scan(s.QueryContext(ctx, args...))
				return executed + queried, errors.Join(err, failure)
			}
			calls[label+"Conn"] = onConn(func(ctx context.Context, c *sql.Conn) error {
				_, err := exec(c.ExecContext(ctx, query, args...))
				_, failure := scan(c.QueryContext(ctx, query, args...))
				return errors.Join(err, failure)
			})
		}
	}
	for _, call := range []string{"Prepare", "Begin", "CheckNamedValue", "Value", "ColumnConverter"} {
		calls["context end in "+call] = endIn(j, call)
	}
	return calls
}

func exec(r sql.Result, err error) (string, error) {
	if err != nil {
		return "", err
	}
	n, err := r.RowsAffected()
	return fmt.Sprint(n, " affected"), err
}

func scan(rows *sql.Rows, err error) (text string, _ error) {
	if err != nil {
		return "", err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&text); err != nil {
			return "", err
		}
	}
	return text, rows.Err()
}

func onConn(f func(context.Context, *sql.Conn) error) func(ctx context.Context, db *sql.DB) (string, error) {
	return func(ctx context.Context, db *sql.DB) (string, error) {
		c, err := db.Conn(ctx)
		if err != nil {
			return "", err
		}
		defer c.Close()
		return "", f(ctx, c)
	}
}

func begin(opts *sql.TxOptions, end func(*sql.Tx) error) func(ctx context.Context, db *sql.DB) (string, error) {
	return func(ctx context.Context, db *sql.DB) (string, error) {
		tx, err := db.BeginTx(ctx, opts)
		if err != nil {
			return "", err
		}
		return "", end(tx)
	}
}

// cancelTx ends the context of a transaction, after which database/sql discards some connections.
func cancelTx(ctx context.Context, db *sql.DB) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	tx, err := db.BeginTx(ctx, nil)
	cancel()
	if err != nil {
		return "", err
	}
	synctest.Wait()
	return fmt.Sprint(db.Stats().OpenConnections, " open"), tx.Commit()
}

// endIn ends the context in the middle of a driver call, or of a Value call.
func endIn(j *journal, call string) func(ctx context.Context, db *sql.DB) (string, error) {
	return func(ctx context.Context, db *sql.DB) (string, error) {
		defer j.onCall("", nil)
		var errs []error
		for _, f := range []func(ctx context.Context) error{
			func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "insert ?", valuer{j, int64(1), nil})
				return err
			},
			func(ctx context.Context) error {
				s, err := db.PrepareContext(ctx, "insert ?")
				if err != nil {
					return err
				}
				defer s.Close()
				_, err = s.ExecContext(ctx, valuer{j, int64(1), nil})
				return err
			},
			func(ctx context.Context) error {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				synctest.Wait()
				return tx.Commit()
			},
		} {
			ctx, cancel := context.WithCancel(ctx)
			j.onCall(call, cancel)
			errs = append(errs, f(ctx))
			cancel()
			synctest.Wait()
		}
		return "", errors.Join(errs...)
	}
}

// play runs each entry of the battery on a pool with one idle connection. It returns what the program saw and the driver calls.
func play(ctx context.Context, pool func() *sql.DB, j *journal) map[string]string {
	played := make(map[string]string)
	calls := battery(j)
	for _, name := range sorted(calls) {
		db := pool()
		err := db.PingContext(ctx)
		var result string
		if err == nil {
			result, err = calls[name](ctx, db)
		}
		synctest.Wait()
		s := db.Stats()
		played[name] = fmt.Sprintf("%s; %v; %s; %d open, %d idle", result, err, strings.Join(j.take(), ", "), s.OpenConnections, s.Idle)
		_ = db.Close()
		j.take()
	}
	return played
}

// A driver behaves the same with and without the connector: same results, same errors, same driver calls.
func TestSameAsWithout(t *testing.T) {
	for _, name := range sorted(kinds(nil)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				kind := connector{kinds(&j)[name]}
				client, _ := open(t)
				bare := func() *sql.DB { return sql.OpenDB(kind) }
				wrapped := func() *sql.DB {
					return sql.OpenDB(secretsql.Connector(client, key, func(context.Context, secrets.Secret) (driver.Connector, error) {
						return kind, nil
					}))
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				same, names, different := compare(play(ctx, bare, &j), play(ctx, wrapped, &j))
				t.Logf("%d calls are the same; %d differ by when the name of an argument is checked", same, names)
				if len(different) > 0 {
					t.Error(strings.Join(different, "\n"))
				}
			})
		})
	}
}

// Control: the battery detects a wrapper that hides interfaces of the driver.
func TestSameAsWithoutControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		kind := kinds(&j)["full, and checks"]
		hidden := func() driver.Conn { return struct{ driver.Conn }{kind()} }
		play := func(conn func() driver.Conn) map[string]string {
			return play(t.Context(), func() *sql.DB { return sql.OpenDB(connector{conn}) }, &j)
		}
		_, _, different := compare(play(kind), play(hidden))
		is.New(t).True(len(different) > 400)
	})
}

// compare returns the differences. database/sql checks argument names before it tries a fast path, which conn always has. A bad name is
// therefore an error before the driver prepares the statement, not after; names counts these.
func compare(bare, wrapped map[string]string) (same, names int, different []string) {
	for _, name := range sorted(bare) {
		switch {
		case bare[name] == wrapped[name]:
			same++
		case strings.Contains(wrapped[name], `name "1n" does not begin with a letter`):
			names++
		default:
			different = append(different, fmt.Sprintf("%s:\n\tbare    %s\n\twrapped %s", name, bare[name], wrapped[name]))
		}
	}
	return same, names, different
}

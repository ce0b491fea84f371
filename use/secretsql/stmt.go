package secretsql

import (
	"context"
	"database/sql/driver"
)

// statement returns the statement for database/sql. If the driver has both fast paths, it is the driver's own. Otherwise it checks its own
// values, so that database/sql uses the checks of conn only for the fast paths.
func (c *conn) statement(s driver.Stmt, err error) (driver.Stmt, error) {
	if err != nil || s == nil || c.hasFastPaths() {
		return s, err
	}
	w := stmt{s, c}
	if converter, ok := s.(driver.ColumnConverter); ok { //nolint:staticcheck // some drivers implement no other
		return &convertingStmt{w, converter}, nil
	}
	return &w, nil
}

// stmt is a driver's statement. If the driver lacks an interface, stmt does what database/sql does without it.
type stmt struct {
	driver.Stmt

	conn *conn
}

// convertingStmt is a stmt that converts values by column. For it, database/sql counts arguments differently.
type convertingStmt struct {
	stmt

	converter driver.ColumnConverter //nolint:staticcheck // some drivers implement no other
}

// ColumnConverter calls the driver's converter.
func (s *convertingStmt) ColumnConverter(i int) driver.ValueConverter {
	return s.converter.ColumnConverter(i)
}

// CheckNamedValue calls the checker of the statement or, without one, of the connection.
func (s *stmt) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := s.Stmt.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return s.conn.check(v)
}

// ExecContext executes the statement.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if e, ok := s.Stmt.(driver.StmtExecContext); ok {
		return e.ExecContext(ctx, args)
	}
	values, err := positional(ctx, args)
	if err != nil {
		return nil, err
	}
	return s.Exec(values)
}

// QueryContext executes a query.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if q, ok := s.Stmt.(driver.StmtQueryContext); ok {
		return q.QueryContext(ctx, args)
	}
	values, err := positional(ctx, args)
	if err != nil {
		return nil, err
	}
	return s.Query(values)
}

var (
	_ driver.StmtExecContext   = (*stmt)(nil)
	_ driver.StmtQueryContext  = (*stmt)(nil)
	_ driver.NamedValueChecker = (*stmt)(nil)
	_ driver.ColumnConverter   = (*convertingStmt)(nil) //nolint:staticcheck // some drivers implement no other
)

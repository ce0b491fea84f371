package secretspgx

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/use/internal/pool"
)

// dataPrefix and the key form the name under which a connection stores its lifetime.
const dataPrefix = "github.com/seed-5482dd03/secrets/use/secretspgx "

// errSkipped makes Do go on to the next candidate.
var errSkipped = fmt.Errorf("secretspgx: refused lately: %w", secrets.ErrRejected)

// logins is the state that the hooks of a Config share.
type logins struct {
	credential *pool.Credential
	set        func(cfg *pgx.ConnConfig, s secrets.Secret) error
	data       string // name of the lifetime in a connection's custom data
	refused    refused
}

// beforeConnect returns the hook that runs before each login. It cannot see the outcome, so it adds hooks to the connection's copy of the
// configuration.
func (l *logins) beforeConnect(before func(context.Context, *pgx.ConnConfig) error) func(context.Context, *pgx.ConnConfig) error {
	return func(ctx context.Context, cfg *pgx.ConnConfig) error {
		if before != nil {
			if err := before(ctx, cfg); err != nil {
				return err
			}
		}
		lifetime, err := l.credential.Begin(ctx)
		if err != nil {
			return err
		}
		s, err := l.candidate(ctx)
		if err != nil {
			return err
		}
		if err := l.set(cfg, s); err != nil {
			l.refused.add(s)
			return err
		}
		l.observe(&cfg.Config, lifetime, s)
		return nil
	}
}

// candidate returns the secret to log in with.
func (l *logins) candidate(ctx context.Context) (s secrets.Secret, err error) {
	err = l.credential.Do(ctx, func(_ context.Context, candidate secrets.Secret) error {
		if l.refused.has(candidate) {
			return errSkipped
		}
		s = candidate
		return nil
	})
	if !errors.Is(err, errSkipped) {
		return s, err
	}
	// All candidates were refused; the server may accept them now. If Do has met a denial or a deletion, this call returns that error.
	l.refused.clear()
	err = l.credential.Do(ctx, func(_ context.Context, current secrets.Secret) error {
		s = current
		return nil
	})
	return s, err
}

// observe makes cfg record how the login with s ends. A login can be several attempts: at several hosts, with and without TLS.
func (l *logins) observe(cfg *pgconn.Config, lifetime *pool.Lifetime, s secrets.Secret) {
	onError, afterConnect := cfg.OnPgError, cfg.AfterConnect
	cfg.OnPgError = func(conn *pgconn.PgConn, err *pgconn.PgError) bool {
		if _, loggedIn := conn.CustomData()[l.data]; !loggedIn && l.credential.IsRejected(err) {
			l.refused.add(s)
		}
		return onError == nil || onError(conn, err)
	}
	cfg.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		l.refused.remove(s)
		own := *lifetime // a copy: the program may open more connections with cfg
		own.LoggedIn(s)
		conn.CustomData()[l.data] = &own
		if afterConnect == nil {
			return nil
		}
		return afterConnect(ctx, conn)
	}
}

// prepareConn returns the hook that runs before each use of a connection. Like the pool, it calls beforeAcquire only if prepare is nil.
func (l *logins) prepareConn(prepare func(context.Context, *pgx.Conn) (bool, error), beforeAcquire func(context.Context, *pgx.Conn) bool,
) func(context.Context, *pgx.Conn) (bool, error) {
	return func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		switch {
		case l.mustRetire(conn):
			return false, nil // the pool replaces it
		case prepare != nil:
			return prepare(ctx, conn)
		case beforeAcquire != nil:
			return beforeAcquire(ctx, conn), nil
		default:
			return true, nil
		}
	}
}

// mustRetire reports whether conn must retire.
func (l *logins) mustRetire(conn *pgx.Conn) bool {
	lifetime, ok := conn.PgConn().CustomData()[l.data].(*pool.Lifetime)
	return ok && lifetime.IsOver()
}

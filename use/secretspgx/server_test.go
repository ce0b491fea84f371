package secretspgx_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/use/secretspgx"
)

// server is a fake database behind pipes, so that it works in a synctest bubble. It has no TLS and asks for plain-text passwords.
type server struct {
	mu      sync.Mutex
	login   func(password string) (state string) // result of a login; "" accepts it
	query   func(password, sql string) (state string)
	tried   []string // logins, as user:password or user:password!28P01
	offered int      // TLS requests
	serving int      // open connections
}

// only accepts one password, and refuses others.
func only(password string) func(string) string {
	return func(other string) string {
		if other != password {
			return "28P01"
		}
		return ""
	}
}

func newServer(login func(password string) (state string)) *server {
	return &server{login: login, query: func(string, string) string { return "" }}
}

// set replaces the login function.
func (s *server) set(login func(password string) (state string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.login = login
}

// logins returns the logins since the last call.
func (s *server) logins() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	tried := s.tried
	s.tried = nil
	return tried
}

func (s *server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serving
}

// config returns a pool configuration. more is added to the connection string.
func (s *server) config(t testing.TB, more string) *pgxpool.Config {
	t.Helper()
	cfg, err := pgxpool.ParseConfig("host=127.0.0.1 user=nobody password=none dbname=db sslmode=disable " + more)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.DialFunc = s.dial
	return cfg
}

func (s *server) dial(context.Context, string, string) (net.Conn, error) {
	conn, other := net.Pipe()
	go func() {
		defer other.Close()
		s.count(1)
		defer s.count(-1)
		_ = s.serve(other)
	}()
	return conn, nil
}

func (s *server) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving += n
}

// configured returns the configuration of a pool that logs in with the secret db.
func (s *server) configured(t testing.TB, client *secrets.Client, more string, opts ...secretspgx.Option) *pgxpool.Config {
	t.Helper()
	cfg := s.config(t, more)
	if err := secretspgx.Configure(cfg, client, "db", opts...); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// open opens a pool, which closes before the test's bubble ends.
func open(t testing.TB, cfg *pgxpool.Config) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func (s *server) serve(conn net.Conn) error {
	backend := pgproto3.NewBackend(conn, conn)
	password, ok, err := s.admit(conn, backend)
	if err != nil || !ok {
		return err
	}
	for {
		message, err := backend.Receive()
		if err != nil {
			return err
		}
		query, isQuery := message.(*pgproto3.Query)
		if !isQuery {
			return nil
		}
		s.mu.Lock()
		state := s.query(password, query.String)
		s.mu.Unlock()
		if state != "" {
			backend.Send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: state, Message: "it fails"})
		} else {
			backend.Send(&pgproto3.EmptyQueryResponse{})
		}
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if err := backend.Flush(); err != nil {
			return err
		}
	}
}

// admit handles a login.
func (s *server) admit(conn net.Conn, backend *pgproto3.Backend) (password string, ok bool, err error) {
	message, err := backend.ReceiveStartupMessage()
	if err != nil {
		return "", false, err
	}
	if _, isTLS := message.(*pgproto3.SSLRequest); isTLS {
		s.mu.Lock()
		s.offered++
		s.mu.Unlock()
		_, err = conn.Write([]byte("N"))
		return "", false, err
	}
	startup, isStartup := message.(*pgproto3.StartupMessage)
	if !isStartup {
		return "", false, errors.New("no startup message")
	}
	backend.Send(&pgproto3.AuthenticationCleartextPassword{})
	if err := errors.Join(backend.Flush(), backend.SetAuthType(pgproto3.AuthTypeCleartextPassword)); err != nil {
		return "", false, err
	}
	message, err = backend.Receive()
	answer, isPassword := message.(*pgproto3.PasswordMessage)
	if err != nil || !isPassword {
		return "", false, errors.Join(err, errors.New("no password"))
	}
	s.mu.Lock()
	state := s.login(answer.Password)
	login := startup.Parameters["user"] + ":" + answer.Password
	if state != "" {
		login += "!" + state
	}
	s.tried = append(s.tried, login)
	s.mu.Unlock()
	if state != "" {
		backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: state, Message: "it refuses"})
		return "", false, backend.Flush()
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte("1234")})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return answer.Password, true, backend.Flush()
}

// versions is a backend with one document and other versions of it that Do may try.
type versions struct {
	mu      sync.Mutex
	current string
	others  map[string]string // by name
	failure error
	calls   int
}

func (v *versions) set(current string, others map[string]string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current, v.others = current, others
}

func (v *versions) fail(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failure = err
}

func (v *versions) fetchCount() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls
}

func (v *versions) fetch(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls++
	value, found := v.others[ref.Version]
	if ref.Version == "" {
		value, found = v.current, true
	}
	switch {
	case v.failure != nil:
		return secrets.Secret{}, v.failure
	case !found:
		return secrets.Secret{}, secrets.ErrNotFound
	default:
		return secrets.NewSecret(value, secrets.Meta{}), nil
	}
}

func (v *versions) backend() secrets.Backend {
	return secrets.NewBackend(secrets.Info{Name: "versions", Alternates: func(ref secrets.Ref) []secrets.Ref {
		return []secrets.Ref{{Path: ref.Path, Version: "PENDING"}, {Path: ref.Path, Version: "PREVIOUS"}}
	}}, v.fetch)
}

func newClient(t testing.TB, backend secrets.Backend, opts ...secrets.Option) *secrets.Client {
	t.Helper()
	client, err := secrets.New(backend, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// acquire returns the error of an Acquire of pool, within a minute.
func acquire(t testing.TB, pool *pgxpool.Pool) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := pool.Acquire(ctx)
	if err == nil {
		conn.Release()
	}
	return err
}

//go:build unix

package postgresserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/seed-5482dd03/secrets/internal/child"
)

// TB is the subset of *testing.T and *testing.B that this package uses.
type TB = child.TB

const (
	host         = "127.0.0.1"
	superuser    = "superuser"
	database     = "postgres"            // every server has it
	startTimeout = time.Minute           // A server starts in less than a second; a busy machine takes longer.
	queryTimeout = 30 * time.Second      // of [Server.Must]
	stopTimeout  = 10 * time.Second      // A server ends in milliseconds.
	pollInterval = 20 * time.Millisecond // Between two checks of a starting server.
	portAttempts = 5                     // Attempts to start while other processes take the port.
	logTail      = 4 << 10               // Bytes of the log that an error shows.
	otherUser    = "nobody"              // PostgreSQL refuses to run as root.
	private      = 0o600

	// exitOfConnection is psql's exit code for a failed connection: https://www.postgresql.org/docs/15/app-psql.html#id-1.9.4.20.7
	exitOfConnection = 2
	// stopNow makes the server abort its connections and end: https://www.postgresql.org/docs/15/server-shutdown.html. It then frees its
	// shared memory, which SIGKILL would leave behind.
	stopNow = syscall.SIGQUIT
)

// A Server is a PostgreSQL server with SCRAM-SHA-256 passwords and without TLS. Its methods are safe for concurrent use.
type Server struct {
	// Addr is the address of the server, as 127.0.0.1:5432.
	Addr string
	// User and Password are the superuser's.
	User, Password string

	bin        string              // the directory of the programs
	dir        string              // the directory of the server's files
	credential *syscall.Credential // of the server's user; nil: the tests' own
	process    *child.Process      // started last, or nil
}

// Start starts a server, and stops it when t ends. If t has failed, it logs the end of the server's log.
func Start(t TB) *Server {
	t.Helper()
	s, err := newServer()
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the log of the PostgreSQL server at %s:\n%s", s.Addr, s.logTail())
		}
		s.Stop()
	})
	return s
}

func newServer() (*Server, error) {
	s := &Server{User: superuser, Password: rand.Text()}
	var err error
	if s.bin, err = programs(); err != nil {
		return nil, err
	}
	if s.credential, err = runAs(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "postgresserver-"); err != nil {
		return nil, fmt.Errorf("postgresserver: %w", err)
	}
	if err = s.initialize(); err == nil {
		err = s.launch()
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// programs returns the directory of initdb, postgres and psql. Debian has one for each version, outside PATH.
func programs() (string, error) {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")                         //nolint:errcheck // the pattern is valid
	slices.SortFunc(dirs, func(a, b string) int { return strings.Compare(b, a) }) // the newest first
	dirs = append(dirs, filepath.SplitList(os.Getenv("PATH"))...)
	for _, dir := range dirs {
		if !slices.ContainsFunc([]string{"initdb", "postgres", "psql"}, func(program string) bool {
			_, err := exec.LookPath(filepath.Join(dir, program))
			return err != nil
		}) {
			return dir, nil
		}
	}
	return "", errors.New("postgresserver: no initdb, postgres and psql in /usr/lib/postgresql/*/bin or PATH; install the package postgresql")
}

// runAs returns the user that runs the server, or nil for the tests' own.
func runAs() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // SysProcAttr accepts nil.
	}
	other, err := user.Lookup(otherUser)
	if err != nil {
		return nil, fmt.Errorf("postgresserver: %w", err)
	}
	const bits = 32
	uid, uidErr := strconv.ParseUint(other.Uid, 10, bits)
	gid, gidErr := strconv.ParseUint(other.Gid, 10, bits)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, fmt.Errorf("postgresserver: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// initialize creates the server's files.
func (s *Server) initialize() error {
	passwordFile := filepath.Join(s.dir, "password")
	if err := os.WriteFile(passwordFile, []byte(s.Password), private); err != nil {
		return fmt.Errorf("postgresserver: %w", err)
	}
	if s.credential != nil {
		for _, name := range []string{s.dir, passwordFile} {
			if err := os.Chown(name, int(s.credential.Uid), int(s.credential.Gid)); err != nil {
				return fmt.Errorf("postgresserver: %w", err)
			}
		}
	}
	if err := s.start("initdb", "--pgdata="+s.data(), "--username="+s.User, "--pwfile="+passwordFile, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C", "--no-sync"); err != nil {
		return err
	}
	<-s.process.Done
	if err := s.process.Err; err != nil {
		return fmt.Errorf("postgresserver: initdb: %w\n%s", err, s.logTail())
	}
	return os.Remove(passwordFile)
}

// launch starts the server on a free port and waits until it serves.
func (s *Server) launch() error {
	for attempt := 1; ; attempt++ {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.Addr = net.JoinHostPort(host, port)
		// Without these settings, a killed server leaves a socket or shared memory outside dir. No data has to survive a crash.
		err = s.start("postgres", "-D", s.data(), "-h", host, "-p", port, "-c", "unix_socket_directories=", "-c", "ssl=off",
			"-c", "password_encryption=scram-sha-256", "-c", "dynamic_shared_memory_type=mmap", "-c", "fsync=off",
			"-c", "shared_buffers=16MB", "-c", "log_timezone=UTC")
		if err == nil {
			err = s.await()
		}
		if err == nil || attempt == portAttempts || !strings.Contains(s.logTail(), "Address already in use") {
			return err
		}
	}
}

// freePort returns a port that was free a moment ago.
func freePort() (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", fmt.Errorf("postgresserver: %w", err)
	}
	defer listener.Close() //nolint:errcheck // nothing was written
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}

// await waits until the server serves.
func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		_, err := s.Query(ctx, s.User, s.Password, "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.process.Done:
			return fmt.Errorf("postgresserver: the server ended at once: %w\n%s", s.process.Err, s.logTail())
		case <-ctx.Done():
			return fmt.Errorf("postgresserver: the server does not serve after %v: %w\n%s", startTimeout, err, s.logTail())
		}
	}
}

// start starts a program whose output goes to the log.
func (s *Server) start(program string, args ...string) (err error) {
	cmd := exec.Command(filepath.Join(s.bin, program), args...) //nolint:noctx,gosec // of PostgreSQL; Stop ends it
	cmd.Dir, cmd.Env, cmd.SysProcAttr = s.dir, environment(), attributes(s.credential)
	if s.process, err = child.Start(cmd, s.log()); err != nil {
		return fmt.Errorf("postgresserver: %w; does %s let every user in?", err, filepath.Dir(s.dir))
	}
	return nil
}

// environment returns the tests' environment without variables that configure PostgreSQL or translate its messages.
func environment(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "PG") || strings.HasPrefix(variable, "LC_") || strings.HasPrefix(variable, "LANG")
	})
	return append(append(env, "LC_ALL=C"), more...)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) log() string { return filepath.Join(s.dir, "log") }

func (s *Server) logTail() string {
	log, _ := os.ReadFile(s.log()) //nolint:errcheck // only for a person to read
	return string(log[max(0, len(log)-logTail):])
}

// Stop ends the server with its connections, and removes its files. It may be called more than once.
func (s *Server) Stop() {
	if s.process != nil {
		_ = s.process.OS.Signal(stopNow) //nolint:errcheck // it may have ended
		timer := time.NewTimer(stopTimeout)
		defer timer.Stop()
		select {
		case <-s.process.Done:
		case <-timer.C:
			_ = s.process.OS.Kill() //nolint:errcheck // it may have ended; its child processes end with it
			<-s.process.Done
		}
	}
	_ = os.RemoveAll(s.dir) //nolint:errcheck // no process writes to it any more
}

// Query logs in as a user with a password, runs a query, and returns psql's output: a line for each row, with | between columns. The error
// is an [*Error], or that of ctx.
func (s *Server) Query(ctx context.Context, user, password, query string) (string, error) {
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return "", fmt.Errorf("postgresserver: %w", err)
	}
	//nolint:gosec // psql of PostgreSQL
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "psql"), "--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--quiet",
		"--set=ON_ERROR_STOP=1", "--host="+host, "--port="+port, "--username="+user, "--dbname="+database, "--file=-")
	cmd.Env = environment("PGPASSWORD="+password, "PGSSLMODE=disable", "PGGSSENCMODE=disable")
	var output, text bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(query), &output, &text
	switch err := cmd.Run(); {
	case err == nil:
		return strings.TrimSpace(output.String()), nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case cmd.ProcessState == nil:
		return "", fmt.Errorf("postgresserver: %w", err)
	}
	return "", &Error{Exit: cmd.ProcessState.ExitCode(), Text: strings.TrimSpace(text.String())}
}

// Must runs a query as the superuser, and ends the test if it fails.
func (s *Server) Must(t TB, query string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), queryTimeout)
	defer cancel()
	output, err := s.Query(ctx, s.User, s.Password, query)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return output
}

// Error is a failure of psql.
type Error struct {
	Exit int
	Text string
}

func (e *Error) Error() string { return fmt.Sprintf("psql ended with %d: %s", e.Exit, e.Text) }

// IsRefused reports whether the server refused the user or the password.
func IsRefused(err error) bool {
	var failure *Error
	if !errors.As(err, &failure) || failure.Exit != exitOfConnection {
		return false
	}
	_, of, isRole := strings.Cut(failure.Text, `FATAL:  role "`)
	return strings.Contains(failure.Text, "authentication failed") || // a wrong password, or no such role
		isRole && strings.HasSuffix(of, `" does not exist`) // dropped during the login
}

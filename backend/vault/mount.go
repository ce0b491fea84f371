package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// kvVersion is a version of the KV secrets engine.
type kvVersion int

const (
	unknownVersion kvVersion = iota
	kv1
	kv2
)

// recheck is how old the knowledge of a mount's version may be before a not-found, a denial or a refusal is believed. A mount
// that was removed and made again with another version, or upgraded together with its policies, answers so for everything.
const recheck = time.Minute

// mount is the mount of a KV secrets engine. Its version decides at which path a secret is, and is asked of the server.
type mount struct {
	path  string
	fixed bool // the program says which version it is

	mu      sync.Mutex
	version kvVersion // or unknownVersion
	noted   time.Time // when version was
	query   *query    // under way, or nil
}

// query is a question for the version that several callers wait for.
type query struct {
	serial  uint64        // of the token that asks
	done    chan struct{} // closed after the others are set
	version kvVersion
	err     error
}

func newMount(path string, version kvVersion) *mount {
	return &mount{path: path, fixed: version != unknownVersion, version: version}
}

// find returns the version of the mount. It is unknownVersion if the server does not tell.
func (m *mount) find(ctx context.Context, s *server, t token) (kvVersion, error) {
	for {
		version, q, mine := m.join(t)
		switch {
		case version != unknownVersion:
			return version, nil
		case mine:
			m.run(ctx, q, s, t)
			return q.version, q.err
		}
		select {
		case <-ctx.Done():
			return unknownVersion, ctx.Err()
		case <-q.done:
		}
		// The next one asks if who asked has given up, or was refused for a token that is another's by now.
		if !isContextError(q.err) && (q.serial == t.serial || !errors.Is(q.err, secrets.ErrUnauthenticated)) {
			return q.version, q.err
		}
	}
}

// known returns the version as far as it is known. It asks nobody, and nobody holds the lock while they ask.
func (m *mount) known() kvVersion {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.version
}

// join returns the version if it is known, and else the query for it. If mine is true, the caller has to run it, with t.
func (m *mount) join(t token) (version kvVersion, q *query, mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.version != unknownVersion {
		return m.version, nil, false
	}
	if m.query != nil {
		return unknownVersion, m.query, false
	}
	m.query = &query{serial: t.serial, done: make(chan struct{}), err: context.Canceled} // until it is answered
	return unknownVersion, m.query, true
}

func (m *mount) run(ctx context.Context, q *query, s *server, t token) {
	defer close(q.done)
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.query = nil
		m.set(q.version)
	}()
	q.version, q.err = m.ask(ctx, s, t)
}

// ask asks the server what is mounted. Any token that may do something below the mount may ask.
func (m *mount) ask(ctx context.Context, s *server, t token) (kvVersion, error) {
	a, err := s.get(ctx, t, "sys/internal/ui/mounts/"+m.path, nil)
	if err != nil {
		return unknownVersion, err
	}
	switch a.status {
	case http.StatusOK:
		return m.read(a)
	case http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		if err := a.failure("the mount " + m.path); errors.Is(err, secrets.ErrUnauthenticated) {
			return unknownVersion, err
		}
		return unknownVersion, nil // the secrets themselves may be readable
	default:
		return unknownVersion, a.failure("the mount " + m.path)
	}
}

// read reads what is mounted from an answer.
func (m *mount) read(a answer) (kvVersion, error) {
	fields, err := a.success("the mount " + m.path)
	if err != nil {
		return unknownVersion, err
	}
	var engine, path string
	var options map[string]string
	decode(fields["type"], &engine)
	decode(fields["path"], &path)
	decode(fields["options"], &options)
	switch path = strings.TrimSuffix(path, "/"); { // of what the server says, only what the program has said too is shown
	case strings.HasPrefix(m.path, path+"/"):
		return unknownVersion, invalid(fmt.Sprintf("the mount is %q, and WithMount or VAULT_MOUNT says %q", path, m.path))
	case path != "" && path != m.path:
		return unknownVersion, malformed("an answer about another mount than " + m.path)
	case engine != "kv" && engine != "generic":
		return unknownVersion, invalid("what is mounted at " + m.path + " is no KV secrets engine: a read may make a lease, " +
			"which WithDynamicSecrets allows")
	}
	switch options["version"] {
	case "2":
		return kv2, nil
	case "1", "": // https://developer.hashicorp.com/vault/docs/secrets/kv: without a version, it is 1
		return kv1, nil
	default:
		return unknownVersion, nil
	}
}

// note records that the mount is of version.
func (m *mount) note(version kvVersion) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(version)
}

// set is note for who holds the lock.
func (m *mount) set(version kvVersion) {
	if !m.fixed && version != unknownVersion {
		m.version, m.noted = version, time.Now()
	}
}

// forget makes the next find ask again, if version is still what is known. It reports whether there is something to ask.
func (m *mount) forget(version kvVersion) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fixed {
		return false
	}
	if m.version == version {
		m.version = unknownVersion
	}
	return true
}

// doubt is forget if version was noted too long ago to believe what may be for another version.
func (m *mount) doubt(version kvVersion) bool {
	m.mu.Lock()
	old := !m.fixed && time.Since(m.noted) >= recheck
	m.mu.Unlock()
	return old && m.forget(version)
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

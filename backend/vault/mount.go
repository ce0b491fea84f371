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

// recheck is the age from which a not-found, a denial or a refusal makes the backend detect the version again: a mount that was recreated
// with another version, or upgraded together with its policies, answers like that for every secret.
const recheck = time.Minute

// mount is the mount of a KV secrets engine. Its version, which the server reports, decides the path of a secret.
type mount struct {
	path  string
	fixed bool // version is from WithKVVersion

	mu      sync.Mutex
	version kvVersion // or unknownVersion
	noted   time.Time // when version was set
	query   *query    // under way, or nil
}

// query is a request for the version, shared by callers.
type query struct {
	serial  uint64        // of its token
	done    chan struct{} // closed after the others are set
	version kvVersion
	err     error
}

func newMount(path string, version kvVersion) *mount {
	return &mount{path: path, fixed: version != unknownVersion, version: version}
}

// find returns the version of the mount, or unknownVersion if the server does not say.
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
		// Another caller runs the next query if the last caller has left, or its token was rejected and this caller has another.
		if !isContextError(q.err) && (q.serial == t.serial || !errors.Is(q.err, secrets.ErrUnauthenticated)) {
			return q.version, q.err
		}
	}
}

// known returns the version if it was detected. It makes no network calls.
func (m *mount) known() kvVersion {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.version
}

// join returns the version if it is known, or else the query for it. If mine is true, the caller must run it with t.
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
	q.version, q.err = m.fetchVersion(ctx, s, t)
}

// fetchVersion reads the mount's version from the server. A token that has any permission below the mount may do so.
func (m *mount) fetchVersion(ctx context.Context, s *server, t token) (kvVersion, error) {
	a, err := s.get(ctx, t, "sys/internal/ui/mounts/"+m.path, nil)
	if err != nil {
		return unknownVersion, err
	}
	switch a.status {
	case http.StatusOK:
		return m.parseVersion(a)
	case http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		if err := a.failure("the mount " + m.path); errors.Is(err, secrets.ErrUnauthenticated) {
			return unknownVersion, err
		}
		return unknownVersion, nil // the secrets themselves may be readable
	default:
		return unknownVersion, a.failure("the mount " + m.path)
	}
}

// parseVersion returns the version in an answer.
func (m *mount) parseVersion(a answer) (kvVersion, error) {
	fields, err := a.success("the mount " + m.path)
	if err != nil {
		return unknownVersion, err
	}
	var engine, path string
	var options map[string]string
	decode(fields["type"], &engine)
	decode(fields["path"], &path)
	decode(fields["options"], &options)
	switch path = strings.TrimSuffix(path, "/"); { // of the server's text, only what is in the program's own path may be shown
	case strings.HasPrefix(m.path, path+"/"):
		return unknownVersion, invalid(fmt.Sprintf("the mount is %q, but WithMount or VAULT_MOUNT says %q; "+
			"set it to %[1]q, and write the rest in front of the key", path, m.path))
	case path != "" && path != m.path:
		return unknownVersion, malformed("an answer about another mount than " + m.path)
	case engine != "kv" && engine != "generic":
		return unknownVersion, invalid(m.path + " is not a KV secrets engine; if its reads may create leases, use WithDynamicSecrets")
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

// note records the version of the mount.
func (m *mount) note(version kvVersion) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(version)
}

// set is note for a caller that holds the lock.
func (m *mount) set(version kvVersion) {
	if !m.fixed && version != unknownVersion {
		m.version, m.noted = version, time.Now()
	}
}

// invalidate makes the next find query the server, if version is still current. It returns false for a fixed version.
func (m *mount) invalidate(version kvVersion) bool {
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

// invalidateIfOld is invalidate, if version is older than recheck.
func (m *mount) invalidateIfOld(version kvVersion) bool {
	m.mu.Lock()
	old := !m.fixed && time.Since(m.noted) >= recheck
	m.mu.Unlock()
	return old && m.invalidate(version)
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"

	"github.com/seed-5482dd03/secrets"
)

// Store stands for a store over the network. It is a small backend: Fetch, with an error of one class where it has no answer, Info and
// Close. The Client adds the rest.
type Store struct {
	newValue func() string

	mu        sync.Mutex
	documents map[string]secrets.Secret
	isDown    bool
	calls     int
}

// NewStore returns an empty store that draws its values from newValue.
func NewStore(newValue func() string) *Store {
	return &Store{newValue: newValue, documents: make(map[string]secrets.Secret)}
}

// Info describes the backend.
func (*Store) Info() secrets.Info { return secrets.Info{Name: "store"} }

// Close does nothing. A real backend would end its connections.
func (*Store) Close() error { return nil }

// Fetch returns the document at ref.Path.
func (s *Store) Fetch(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	document, found := s.documents[ref.Path]
	switch {
	case s.isDown:
		return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, "connection refused")
	case ref.Path == "payroll":
		return secrets.Secret{}, secrets.NewError(secrets.ErrPermissionDenied, "the shop may not read it")
	case !found, ref.Version != "" && ref.Version != document.Meta().Version: // it keeps no old versions
		return secrets.Secret{}, secrets.NewError(secrets.ErrNotFound, "")
	default:
		return document, nil
	}
}

var _ secrets.Backend = (*Store)(nil)

// Rotate gives the document at path a new user, a new password and the next version.
func (s *Store) Rotate(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, _ := strconv.Atoi(s.documents[path].Meta().Version) // 0 if there is none
	document, err := json.Marshal(map[string]string{"user": s.newValue(), "password": s.newValue()})
	if err != nil {
		panic(fmt.Sprintf("strings can always be encoded: %v", err))
	}
	s.documents[path] = secrets.NewSecret(string(document), secrets.Meta{Version: strconv.Itoa(last + 1)})
}

// Stop takes the store down, and Start brings it back.
func (s *Store) Stop() { s.setDown(true) }

// Start ends what Stop began.
func (s *Store) Start() { s.setDown(false) }

func (s *Store) setDown(isDown bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isDown = isDown
}

// Calls returns how often the store was asked.
func (s *Store) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Login stands for a database that accepts the current password alone.
func (s *Store) Login(_ context.Context, credentials secrets.Secret) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.documents["database"].Equal(credentials) {
		return fmt.Errorf("login: %w", secrets.ErrRejected)
	}
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"

	"github.com/seed-5482dd03/secrets"
)

// Remote stands for a store across the network. It is a small backend: Fetch, with an error of one class where it has no answer,
// Info and Close. The Client adds the rest.
type Remote struct {
	newValue func() string

	mu        sync.Mutex
	documents map[string]secrets.Secret
	down      bool
	calls     int
}

// NewRemote returns an empty store that draws its values from newValue.
func NewRemote(newValue func() string) *Remote {
	return &Remote{newValue: newValue, documents: make(map[string]secrets.Secret)}
}

// Info describes the backend.
func (*Remote) Info() secrets.Info { return secrets.Info{Name: "remote"} }

// Close does nothing. A real backend would end its connections.
func (*Remote) Close() error { return nil }

// Fetch returns the document at ref.Path. GetMany of the Client calls it for each document, several at a time. A store that can
// answer many at once would gather these calls with secrets.NewBatcher.
func (r *Remote) Fetch(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	document, found := r.documents[ref.Path]
	switch {
	case r.down:
		return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, "connection refused")
	case ref.Path == "payroll":
		return secrets.Secret{}, secrets.NewError(secrets.ErrPermissionDenied, "the shop may not read it")
	case !found, ref.Version != "" && ref.Version != document.Meta().Version: // it keeps no old versions
		return secrets.Secret{}, secrets.NewError(secrets.ErrNotFound, "")
	default:
		return document, nil
	}
}

var _ secrets.Backend = (*Remote)(nil)

// Rotate gives the document at path a new user, a new password and the next version.
func (r *Remote) Rotate(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, _ := strconv.Atoi(r.documents[path].Meta().Version) // 0 if there is none
	document, err := json.Marshal(map[string]string{"user": r.newValue(), "password": r.newValue()})
	if err != nil {
		panic(fmt.Sprintf("strings can always be encoded: %v", err))
	}
	r.documents[path] = secrets.NewSecret(string(document), secrets.Meta{Version: strconv.Itoa(last + 1)})
}

// SetDown cuts the network, or mends it.
func (r *Remote) SetDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

// Calls returns how often the store was asked.
func (r *Remote) Calls() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

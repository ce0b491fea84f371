package main

import (
	"context"
	"sync/atomic"

	"github.com/seed-5482dd03/secrets"
)

// remote stands for a store across the network.
type remote struct {
	documents map[string]string
	down      atomic.Bool
}

func newRemote(documents map[string]string) *remote { return &remote{documents: documents} }

// Info describes the backend.
func (*remote) Info() secrets.Info { return secrets.Info{Name: "remote"} }

// Close does nothing.
func (*remote) Close() error { return nil }

// Fetch returns the document at ref.Path.
func (r *remote) Fetch(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
	value, found := r.documents[ref.Path]
	switch {
	case r.down.Load():
		return secrets.Secret{}, secrets.NewError(secrets.ErrUnavailable, "connection refused")
	case !found, ref.Version != "": // it keeps no old versions
		return secrets.Secret{}, secrets.NewError(secrets.ErrNotFound, "")
	default:
		return secrets.NewSecret(value, secrets.Meta{}), nil
	}
}

// setDown cuts the network, or mends it.
func (r *remote) setDown(down bool) { r.down.Store(down) }

var _ secrets.Backend = (*remote)(nil)

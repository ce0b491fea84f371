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

// Name returns "remote".
func (*remote) Name() string { return "remote" }

// Fetch returns the document at ref.Path.
func (r *remote) Fetch(_ context.Context, ref secrets.Ref) (secrets.Secret, error) {
	value, found := r.documents[ref.Path]
	switch {
	case r.down.Load():
		return secrets.Secret{}, &secrets.Error{Err: secrets.ErrUnavailable, Detail: "connection refused"}
	case !found, ref.Version != "": // it keeps no old versions
		return secrets.Secret{}, &secrets.Error{Err: secrets.ErrNotFound}
	default:
		return secrets.NewSecret(value, secrets.Meta{}), nil
	}
}

// FetchMany asks for each ref by itself.
func (r *remote) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	return secrets.FetchEach(ctx, r.Fetch, refs)
}

// setDown cuts the network, or mends it.
func (r *remote) setDown(down bool) { r.down.Store(down) }

var _ secrets.Backend = (*remote)(nil)

package vault

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// readDynamic reads ref from any other secrets engine.
func (b *Backend) readDynamic(ctx context.Context, t token, ref secrets.Ref) (secrets.Secret, error) {
	if ref.Version != "" {
		return secrets.Secret{}, invalid("a dynamic secret has no versions; leave ?version= out")
	}
	where := b.plainPath(ref)
	began := time.Now()
	a, err := b.server.get(ctx, t, where, nil)
	if err != nil {
		return secrets.Secret{}, err
	}
	fields, err := a.success(where)
	if err != nil {
		return secrets.Secret{}, err
	}
	// A static role has no lease. Its password changes periodically or by a schedule; the answer says when.
	var rotation time.Time
	_, periodic := fields["rotation_period"]
	_, scheduled := fields["rotation_schedule"]
	if periodic || scheduled {
		rotation = began.Add(max(seconds(fields["ttl"]), minRotation))
		a.data = without(fields, "ttl") // it changes every second, and the version with it
	}
	return b.leased(t, ref, a, began, rotation)
}

// minRotation is how long the password of a static role is valid while its rotation is due. Vault checks for due rotations every 5 s and
// retries if the database did not answer. Until then, it reports a ttl of 0. See CredentialTTL and runTicker in
// https://github.com/hashicorp/vault/tree/v1.21.0/builtin/logical/database.
const minRotation = time.Second

// without returns fields as JSON, except one of them.
func without(fields map[string]json.RawMessage, name string) json.RawMessage {
	fields = maps.Clone(fields)
	delete(fields, name)
	text, err := json.Marshal(fields)
	if err != nil {
		return nil // cannot happen: fields were parsed from JSON
	}
	return text
}

// errTokenEnded says that the token, and the lease with it, ended during the request.
var errTokenEnded = errors.New("the token of the lease has ended")

// leased returns the secret in a, the answer to a request at began, with the end of its lease, or until without one. Only an answer with a
// lease_id has a lease: KV version 1 reports 32 days for every secret. A lease without a usable duration has ended at once.
func (b *Backend) leased(t token, ref secrets.Ref, a answer, began, until time.Time) (secrets.Secret, error) {
	text := string(a.data)
	meta := secrets.Meta{Version: b.version(ref.Path, text), ExpiresAt: until}
	if a.leased {
		meta.ExpiresAt = began.Add(a.lease)
		if !b.leases.note(ref, t.serial, meta.ExpiresAt) {
			return secrets.Secret{}, errTokenEnded
		}
	}
	return secrets.NewSecret(text, meta), nil
}

// leases records which token obtained which document. When a token ends, the server revokes its leases, and a cache must drop their
// documents.
type leases struct {
	mu      sync.Mutex
	onEnded func(refs ...secrets.Ref) // or nil
	held    map[secrets.Ref]held
	sweepAt int    // the number of leases at which expired ones are removed; 0: minSweep
	floor   uint64 // tokens with a lower serial have ended
}

type held struct {
	serial uint64
	until  time.Time
}

// minSweep is the number of leases at which expired ones are first removed. After that, it is twice the number left, so a lease costs
// amortized constant time.
const minSweep = 1000

// note records a lease of ref that belongs to the token serial. It returns false if that token has ended.
func (l *leases) note(ref secrets.Ref, serial uint64, until time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if serial < l.floor {
		return false
	}
	if l.held == nil {
		l.held = make(map[secrets.Ref]held)
	}
	if len(l.held) >= max(l.sweepAt, minSweep) {
		now := time.Now()
		maps.DeleteFunc(l.held, func(_ secrets.Ref, h held) bool { return now.After(h.until) })
		l.sweepAt = 2 * len(l.held)
	}
	l.held[ref] = held{serial, until}
	return true
}

// end records that the token serial and those before it have ended.
func (l *leases) end(serial uint64) {
	if onEnded, refs := l.drop(serial); onEnded != nil && len(refs) > 0 {
		onEnded(refs...)
	}
}

func (l *leases) drop(serial uint64) (onEnded func(refs ...secrets.Ref), refs []secrets.Ref) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.floor = max(l.floor, serial+1)
	for ref, h := range l.held {
		if h.serial <= serial {
			refs = append(refs, ref)
			delete(l.held, ref)
		}
	}
	return l.onEnded, refs
}

// onEnd sets the function that gets the documents whose leases have ended.
func (l *leases) onEnd(onEnded func(refs ...secrets.Ref)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onEnded = onEnded
}

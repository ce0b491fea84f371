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

// dynamic reads ref from a secrets engine of any other kind.
func (b *Backend) dynamic(ctx context.Context, t token, ref secrets.Ref) (secrets.Secret, error) {
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
	// A static role has no lease. Its password changes after a period or by a schedule, and the answer says when.
	var rotation time.Time
	_, periodic := fields["rotation_period"]
	_, scheduled := fields["rotation_schedule"]
	if periodic || scheduled {
		rotation = began.Add(max(seconds(fields["ttl"]), leastRotation))
		a.data = without(fields, "ttl") // each answer would be another version
	}
	return b.leased(t, ref, a, began, rotation)
}

// leastRotation is for how long a password of a static role is good if its rotation is due. Vault looks for what is due every 5 s, and
// again if the database did not answer. Until it has rotated, it says that the ttl is 0. See CredentialTTL and runTicker in
// https://github.com/hashicorp/vault/tree/v1.21.0/builtin/logical/database
const leastRotation = time.Second

// without returns fields as JSON, but for one of them.
func without(fields map[string]json.RawMessage, name string) json.RawMessage {
	fields = maps.Clone(fields)
	delete(fields, name)
	text, err := json.Marshal(fields)
	if err != nil {
		return nil // what was parsed is valid
	}
	return text
}

// errVoid says that the token ended while it was used to get a lease, which ended with it.
var errVoid = errors.New("the token of the lease has ended")

// leased returns the secret in a, an answer that was asked for at began, with the end of its lease, or until if it has none.
// Only a lease_id makes a lease of the duration that Vault gives: KV version 1 says 32 days of every secret. One without a usable
// duration is over at once, for nobody knows how long the secret may be kept.
func (b *Backend) leased(t token, ref secrets.Ref, a answer, began, until time.Time) (secrets.Secret, error) {
	text := string(a.data)
	meta := secrets.Meta{Version: b.version(ref.Path, text), ExpiresAt: until}
	if a.leased {
		meta.ExpiresAt = began.Add(a.lease)
		if !b.leases.note(ref, t.serial, meta.ExpiresAt) {
			return secrets.Secret{}, errVoid
		}
	}
	return secrets.NewSecret(text, meta), nil
}

// leases knows which documents were got with which token. When that ends, the server revokes their leases, and they must not
// be served from a cache any more.
type leases struct {
	mu     sync.Mutex
	forget func(refs ...secrets.Ref) // or nil
	held   map[secrets.Ref]held
	full   int    // how many are held before those that are over are looked for; 0 is fewLeases
	floor  uint64 // tokens with a lower serial have ended
}

type held struct {
	serial uint64
	until  time.Time
}

// fewLeases is how many leases are held before those that are over are looked for at first. After that, it is twice as many as are left:
// so a lease takes constant work, however many there are.
const fewLeases = 1000

// note notes that ref has a lease of the token serial. It reports whether that is still valid.
func (l *leases) note(ref secrets.Ref, serial uint64, until time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if serial < l.floor {
		return false
	}
	if l.held == nil {
		l.held = make(map[secrets.Ref]held)
	}
	if len(l.held) >= max(l.full, fewLeases) {
		now := time.Now()
		maps.DeleteFunc(l.held, func(_ secrets.Ref, h held) bool { return now.After(h.until) })
		l.full = 2 * len(l.held)
	}
	l.held[ref] = held{serial, until}
	return true
}

// end notes that the token serial has ended, and those before it.
func (l *leases) end(serial uint64) {
	if forget, refs := l.drop(serial); forget != nil && len(refs) > 0 {
		forget(refs...)
	}
}

func (l *leases) drop(serial uint64) (forget func(refs ...secrets.Ref), refs []secrets.Ref) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.floor = max(l.floor, serial+1)
	for ref, h := range l.held {
		if h.serial <= serial {
			refs = append(refs, ref)
			delete(l.held, ref)
		}
	}
	return l.forget, refs
}

// onEnd sets who is told of documents whose leases have ended.
func (l *leases) onEnd(forget func(refs ...secrets.Ref)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget = forget
}

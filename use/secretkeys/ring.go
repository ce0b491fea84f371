package secretkeys

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// maxKeys limits the stored keys. Above it, the key that ends first is removed.
const maxKeys = 1000

// never is the end of a key that has not been replaced.
const never = time.Duration(1<<63 - 1)

// snapshot is an immutable set of keys. Its times count from ring.start and decide which key signs or verifies at a given moment.
type snapshot struct {
	byID  map[string]entry
	turns []turn // keys in signing order: the first one signs already, the last one is the current version
}

type entry struct {
	key secrets.Secret
	end time.Duration // verifies until then
}

type turn struct {
	id    string
	key   secrets.Secret
	begin time.Duration // signs from then on
}

func (r *ring) active() (id string, key secrets.Secret) {
	turns := r.now.Load().turns
	last := len(turns) - 1
	if last > 0 { // a single key needs no clock
		now := time.Since(r.start)
		for last > 0 && turns[last].begin > now {
			last--
		}
	}
	return turns[last].id, turns[last].key
}

func (r *ring) byID(id string) (key secrets.Secret, ok bool) {
	e, ok := r.now.Load().byID[id]
	if !ok || e.end != never && e.end <= time.Since(r.start) {
		return secrets.Secret{}, false
	}
	return e.key, true
}

// follow makes s the current version.
func (r *ring) follow(s secrets.Secret) error {
	id, key, err := r.source.read(s)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Since(r.start)
	old := r.now.Load()
	if old == nil { // Open
		r.now.Store(&snapshot{map[string]entry{id: {key, never}}, []turn{{id, key, now}}})
		return nil
	}
	next := old.at(now)
	defer r.install(next)
	if i := slices.IndexFunc(next.turns, func(t turn) bool { return t.id == id }); i < 0 {
		next.turns = append(next.turns, turn{id, key, now + r.activateAfter})
	} else {
		next.turns[i].key = key // the backend may have reused the version for another value
		for _, t := range next.turns[i+1:] {
			// A rollback. Peers that have not fetched it yet may sign with this key.
			next.byID[t.id] = entry{t.key, now + r.activateAfter + r.overlap}
		}
		next.turns = next.turns[:i+1]
	}
	next.byID[id] = entry{key, never}
	for i, t := range next.turns[1:] {
		before := next.turns[i]
		next.byID[before.id] = entry{before.key, t.begin + r.overlap}
	}
	return nil
}

// at returns a copy of s without what has ended by now.
func (s *snapshot) at(now time.Duration) *snapshot {
	next := &snapshot{maps.Clone(s.byID), slices.Clone(s.turns)}
	maps.DeleteFunc(next.byID, func(_ string, e entry) bool { return e.end <= now })
	for len(next.turns) > 1 && next.turns[1].begin <= now {
		next.turns = slices.Delete(next.turns, 0, 1)
	}
	return next
}

// install replaces the snapshot by next.
func (r *ring) install(next *snapshot) {
	for len(next.byID) > maxKeys {
		first, end := "", never
		for id, e := range next.byID {
			if e.end < end {
				first, end = id, e.end
			}
		}
		delete(next.byID, first)
		next.turns = slices.DeleteFunc(next.turns, func(t turn) bool { return t.id == first && len(next.turns) > 1 })
	}
	r.now.Store(next)
}

// collect adds the other versions of key that the backend names, for verification.
func (r *ring) collect(ctx context.Context, client *secrets.Client, key string) error {
	others, err := client.Alternates(ctx, key)
	if err != nil {
		return err
	}
	r.add(others)
	return nil
}

// add makes others verify, unless they already do.
func (r *ring) add(others []secrets.Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Since(r.start)
	next := r.now.Load().at(now)
	var last turn // turn of the last of others, or zero
	for _, s := range others {
		last = turn{}
		id, key, err := r.source.read(s)
		if _, known := next.byID[id]; err != nil || known {
			continue
		}
		next.byID[id] = entry{key, now + r.activateAfter + r.overlap} // peers may sign with it for ActivateAfter
		last = turn{id, key, now}
	}
	if !r.isOpen {
		r.isOpen = true
		r.catchUp(next, last, now)
	}
	r.install(next)
}

// catchUp gives Open the same state as in processes that ran when the current version was created. That version signs activateAfter later;
// until then, the one before it signs. If the creation time is unknown, or there is no version before it, the current version signs at
// once.
//
// previous is the last version that the backend names, or zero: AWSPREVIOUS, or the previous version in Vault. AWSPENDING is named before
// it, and may remain from a rotation that failed long ago, so no peer knows it. If AWSPENDING is the only one, it is younger than the
// current version. So is AWSPREVIOUS after a rollback, whose time the backend does not report: peers may have dropped that version.
func (r *ring) catchUp(next *snapshot, previous turn, now time.Duration) {
	current := next.turns[0]
	created, before := current.key.Meta().CreatedAt, previous.key.Meta().CreatedAt
	if created.IsZero() || before.IsZero() || before.After(created) {
		return
	}
	age := max(time.Since(created.Round(0)), 0) // the clock of the backend may be ahead
	current.begin = now + r.activateAfter - age
	next.byID[previous.id] = entry{previous.key, current.begin + r.overlap}
	if current.begin > now {
		next.turns = []turn{previous, current}
	}
}

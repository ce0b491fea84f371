package cache

import (
	"github.com/seed-5482dd03/secrets"
)

// memo is what a key, as the program writes it, means at present: the selected secret of an entry. A read of it needs one
// look-up and nothing else: the key is not parsed, the document not searched for the field, and the time not read.
//
// A memo is of one entry, and goes with it. It holds all that a read needs, so that only the mark of the entry is read
// beside it.
type memo struct {
	secret secrets.Secret // zero if the entry is a not-found
	until  age
	entry  *entry
}

// Recall returns the secret that key means, if that is in memory and fresh: see [keyspace.Memorize]. A zero Secret that is
// known is a remembered not-found. If the answer is not known, Fetch has it.
func (k *keyspace) Recall(key string) (secret secrets.Secret, known bool) {
	m, found := k.memos.Load(key)
	if !found || !k.clock.longBefore(m.until) && !k.clock.before(m.until) {
		return secrets.Secret{}, false
	}
	m.entry.touch()
	if k.countHits.Load() && !m.secret.IsZero() {
		k.hits.n.Add(1)
	}
	return m.secret, true
}

// RecallMany puts what Recall returns for each of keys into found, and reports whether all of it is there. An entry that
// is made in the meantime fails it: the secrets of one document must be of one version.
func (k *keyspace) RecallMany(keys []string, found map[string]secrets.Secret) bool {
	inserts := k.inserts.Load()
	for _, key := range keys {
		m, remembered := k.memos.Load(key)
		if !remembered || m.secret.IsZero() || !k.clock.longBefore(m.until) && !k.clock.before(m.until) {
			return false
		}
		m.entry.touch()
		found[key] = m.secret
	}
	if k.inserts.Load() != inserts {
		return false
	}
	if k.countHits.Load() { // only now: a batch that fails is asked again, and counted then
		k.hits.n.Add(uint64(len(keys)))
	}
	return true
}

// Memorize makes Recall know what key means: field of doc, or the whole if field is empty. It does so only as long as doc is
// in memory and fresh, and no renewal is due.
func (k *keyspace) Memorize(key string, doc secrets.Ref, field string) {
	if m, known := k.memos.Load(key); known && k.clock.longBefore(m.until) {
		return // the key is known, and means the same for ever: see secrets.Info
	}
	if e, found := k.index.Load(docKeyOf(doc)); found {
		k.memorize(key, e, field)
	}
}

func (k *keyspace) memorize(key string, e *entry, field string) {
	m, ok := e.memo()
	if !ok || !k.wants(key, m, field) {
		return
	}
	if field != "" && e.isValue() {
		var err error
		if m.secret, err = e.secret.Field(field); err != nil {
			return
		}
	}
	k.cache.mu.Lock()
	defer k.cache.mu.Unlock()
	if now, _ := k.index.Load(e.document); now != e {
		return
	}
	if old, has := k.memos.Load(key); has && old.entry == e || e.memorized(key) {
		k.memos.Store(key, m)
	}
}

// memo returns what a memo of e holds, before a field is selected, and whether there may be one.
func (e *entry) memo() (m memo, ok bool) {
	m = memo{secret: e.secret, until: e.expireAt, entry: e}
	if !e.isValue() {
		return m, secrets.Class(e.err) == secrets.ErrNotFound // the narrower kinds stop a chain
	}
	// A renewal that was put off may be due after the value has expired.
	m.until = min(m.until, age(e.refreshAt.Load()))
	return m, true
}

// wants reports whether m, with that field selected, would be something new for key, and of use.
func (k *keyspace) wants(key string, m memo, field string) bool {
	old, has := k.memos.Load(key)
	switch {
	case k.clock.now() >= m.until:
		return false
	case has && old.entry == m.entry:
		return old.until != m.until
	case field == "":
		return true
	default: // a field that there is no room for is not to be looked for
		k.cache.mu.Lock()
		defer k.cache.mu.Unlock()
		return !m.entry.full()
	}
}

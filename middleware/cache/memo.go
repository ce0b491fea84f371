package cache

import (
	"github.com/seed-5482dd03/secrets"
)

// memo maps a key, as the program writes it, to the selected secret of an entry. A read of a memo takes one look-up: it does not parse
// the key, search the document for the field, or read the time.
//
// A memo belongs to one entry and is removed with it. Of the entry, a read uses only the touched mark.
type memo struct {
	secret secrets.Secret // zero for a not-found
	until  age
	entry  *entry
}

// Recall returns the secret of key, if there is a memo of it that is fresh: see [keyspace.Memorize]. A zero Secret with known true is a
// cached not-found. If known is false, the caller has to call Fetch.
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

// RecallMany puts what Recall returns for each of keys into found, and reports whether all are there. It returns false if an entry was
// added in the meantime: all secrets of one document must be of one version.
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
	if k.countHits.Load() { // not earlier: a batch that fails is read again, and counted then
		k.hits.n.Add(uint64(len(keys)))
	}
	return true
}

// Memorize makes Recall return field of doc for key, or the whole document if field is empty. That holds while doc is in memory and fresh,
// and no renewal is due.
func (k *keyspace) Memorize(key string, doc secrets.Ref, field string) {
	if m, known := k.memos.Load(key); known && k.clock.longBefore(m.until) {
		return // the meaning of a key never changes: see secrets.Info
	}
	if e, found := k.index.Load(docKeyOf(doc)); found {
		k.memorize(key, e, field)
	}
}

func (k *keyspace) memorize(key string, e *entry, field string) {
	m, ok := e.memo()
	if !ok || !k.isNewMemo(key, m, field) {
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
	if old, has := k.memos.Load(key); has && old.entry == e || e.addMemo(key) {
		k.memos.Store(key, m)
	}
}

// memo returns a memo of e without a selected field, and whether e may have memos.
func (e *entry) memo() (m memo, ok bool) {
	m = memo{secret: e.secret, until: e.expireAt, entry: e}
	if !e.isValue() {
		return m, secrets.Class(e.err) == secrets.ErrNotFound // its subclasses stop a fallback chain
	}
	// A renewal may be postponed past the TTL.
	m.until = min(m.until, age(e.refreshAt.Load()))
	return m, true
}

// isNewMemo reports whether storing m, with that field selected, for key would change anything.
func (k *keyspace) isNewMemo(key string, m memo, field string) bool {
	old, has := k.memos.Load(key)
	switch {
	case k.clock.now() >= m.until:
		return false
	case has && old.entry == m.entry:
		return old.until != m.until
	case field == "":
		return true
	default: // do not search for the field if there is no room for the memo
		k.cache.mu.Lock()
		defer k.cache.mu.Unlock()
		return !m.entry.memosFull()
	}
}

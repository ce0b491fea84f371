package secretspgx

import (
	"slices"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets"
)

const (
	// refusedFor is how long a refused candidate is skipped. It is longer than Do remembers an accepted other version. Do therefore
	// fetches again before the current one is tried again.
	refusedFor = 5 * time.Minute
	// maxRefused limits the stored candidates. A backend has up to four at a time.
	maxRefused = 8
)

// refused holds the candidates that were recently refused. The zero value is empty. It is safe for concurrent use.
type refused struct {
	mu    sync.Mutex
	marks []mark // oldest first
}

type mark struct {
	secret secrets.Secret
	until  time.Time
}

func (r *refused) add(s secrets.Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(s)
	if len(r.marks) == maxRefused {
		r.marks = slices.Delete(r.marks, 0, 1)
	}
	r.marks = append(r.marks, mark{s, time.Now().Add(refusedFor)})
}

func (r *refused) remove(s secrets.Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(s)
}

func (r *refused) has(s secrets.Secret) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	return slices.ContainsFunc(r.marks, func(m mark) bool { return now.Before(m.until) && m.secret.Equal(s) })
}

func (r *refused) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marks = nil
}

// drop removes s and expired marks, since they hold values. mu must be held.
func (r *refused) drop(s secrets.Secret) {
	now := time.Now()
	r.marks = slices.DeleteFunc(r.marks, func(m mark) bool { return !now.Before(m.until) || m.secret.Equal(s) })
}

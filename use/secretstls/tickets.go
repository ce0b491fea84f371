package secretstls

import (
	"crypto/rand"
	"crypto/tls"
	"slices"
	"sync"
	"time"
)

// Session ticket keys rotate as in crypto/tls (ticketKeyRotation and ticketKeyLifetime there): a new one each day; tickets are valid for
// seven days.
const (
	ticketKeyAge  = 24 * time.Hour
	maxTicketKeys = 7
)

// tickets holds the session ticket keys of one version. A Config without its own keys would use those of the Config that GetConfigForClient
// belongs to, which all versions share. A session would then resume after its client's CA was removed.
type tickets struct {
	mu   sync.Mutex
	keys [][32]byte // newest first
	made time.Time  // when the newest key was made
}

// renew gives c a new key once a day.
func (t *tickets) renew(c *tls.Config) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if len(t.keys) > 0 && now.Sub(t.made) < ticketKeyAge {
		return
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // it never fails
	t.keys = slices.Insert(t.keys, 0, key)
	t.keys = t.keys[:min(len(t.keys), maxTicketKeys)]
	t.made = now
	c.SetSessionTicketKeys(t.keys)
}

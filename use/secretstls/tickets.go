package secretstls

import (
	"crypto/rand"
	"crypto/tls"
	"slices"
	"sync"
	"time"
)

// The keys of session tickets are renewed as crypto/tls renews its own (ticketKeyRotation and ticketKeyLifetime there): each day a new
// one, which the last seven days' tickets outlive.
const (
	ticketKeyAge  = 24 * time.Hour
	maxTicketKeys = 7
)

// tickets are the session ticket keys of one version. A Config without keys of its own would use those of the Config that
// GetConfigForClient belongs to, which all versions share: a session would resume though the CA of its client is gone.
type tickets struct {
	mu   sync.Mutex
	keys [][32]byte // the newest first
	made time.Time  // when the newest was made
}

// renew gives c a new key if it is time.
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

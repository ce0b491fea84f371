package vault_test

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/middleware/dedup"
)

// monitored is a cache layer that exposes its cache to a test.
type monitored struct {
	*cache.Cache

	cache secrets.Cache
}

func (m *monitored) NewCache(info secrets.Info, below secrets.Fetcher, share func(secrets.Fetcher) secrets.Fetcher) secrets.Cache {
	m.cache = m.Cache.NewCache(info, below, share)
	return m.cache
}

// A server that throttles is available: other documents are fetched as usual.
func TestThrottlingIsNoOutage(t *testing.T) {
	for status, outage := range map[int]bool{
		http.StatusTooManyRequests:     false,
		http.StatusInternalServerError: true, // the control
	} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			f := inMemory(t)
			names := []string{"a", "b", "c"}
			for _, name := range names {
				f.put(name, `{"user":"u"}`)
			}
			m := &monitored{Cache: cache.New()}
			c := client(t, f.backend(t), secrets.WithCache(m), secrets.WithDedup(dedup.New()))
			_, err := c.GetMany(t.Context(), names...)
			is.NoErr(err)
			for _, name := range names {
				f.reply("secret/data/"+name, status, `{"errors":[]}`)
				_, err := c.Refresh(t.Context(), name)
				is.True(errors.Is(err, secrets.ErrUnavailable))
			}
			is.Equal(m.cache.Outage(), outage)
			is.NoErr(c.Close())
		})
	}
}

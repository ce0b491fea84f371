package secrets_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/cache"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// All handles of one document share its polls: 1,000 handles of 10 documents cost 10 fetches per poll.
func TestThousandHandlesOfTenDocuments(t *testing.T) {
	const documents, fields, handles = 10, 10, 1000
	for _, tc := range []struct {
		name           string
		opts           func() []secrets.Option // the clock of a cache is that of the bubble in which it is made
		atFirst        int                     // fetches of the 1,000 calls of Watch
		least, longest time.Duration
	}{
		// Every 30 s, minus up to a tenth.
		{"without layers", func() []secrets.Option { return nil }, handles, 27 * time.Second, 30 * time.Second},
		// When 0.8 of a TTL of 5 minutes is over.
		{"with a cache", func() []secrets.Option {
			return []secrets.Option{middleware.Standard(cache.WithJitter(0))}
		}, documents, 4 * time.Minute, 4 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				path := func(i int) string { return fmt.Sprintf("service-%d/database", i%documents) }
				document := func(value string) string {
					members := make([]string, fields)
					for i := range members {
						members[i] = fmt.Sprintf(`"field-%d":"%s"`, i, value)
					}
					return "{" + strings.Join(members, ",") + "}"
				}
				backend := secretstest.NewBackend(nil)
				set := func(value string) {
					for i := range documents {
						backend.Set(path(i), document(value))
					}
				}
				set("one")
				client := open(t, backend, tc.opts()...)
				all := make([]*secrets.Handle, handles)
				for i := range all {
					var err error
					all[i], err = client.Watch(t.Context(), fmt.Sprintf("%s#field-%d", path(i), i/documents%fields))
					is.NoErr(err)
				}
				is.Equal(backend.Calls(), tc.atFirst)

				backend.ResetCounts()
				elapse(time.Hour)
				for i := range documents {
					n := backend.Fetches(path(i))
					is.True(n >= int(time.Hour/tc.longest)-1) // the last one is not due yet
					is.True(n <= int(time.Hour/tc.least))
				}
				polls := backend.Calls()
				set("two")
				elapse(tc.longest)
				for _, h := range all {
					is.Equal(h.Secret().Reveal(), "two")
				}
				elapse(time.Second)

				backend.ResetCounts()
				keys := make([]string, documents)
				for i := range keys {
					keys[i] = path(i)
				}
				for range 20 {
					client.Invalidate(keys...)
					elapse(time.Second)
				}
				is.Equal(backend.Calls(), 20*documents) // one per poll
				runtime.KeepAlive(all)
				t.Logf("an hour: %d fetches; 20 polls after an Invalidate: %d", polls, backend.Calls())
			})
		})
	}
}

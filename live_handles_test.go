package secrets_test

import (
	"fmt"
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

// All handles of one document share its looks: 1,000 handles of 10 documents cost 10 fetches a look.
func TestThousandHandlesOfTenDocuments(t *testing.T) {
	const documents, handles = 10, 1000
	for _, tc := range []struct {
		name           string
		opts           []secrets.Option
		atFirst        int // fetches of the 1,000 calls of Watch
		least, longest time.Duration
	}{
		// Every 30 s, minus up to a tenth.
		{"without layers", nil, handles, 27 * time.Second, 30 * time.Second},
		// When 0.8 of a TTL of 5 minutes is over, which is up to a tenth longer or shorter.
		{"standard", []secrets.Option{middleware.Standard()}, documents, 216 * time.Second, 264 * time.Second},
		{"standard, exact", []secrets.Option{middleware.Standard(cache.WithJitter(0))}, documents, 4 * time.Minute, 4 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				path := func(i int) string { return fmt.Sprintf("service-%d/database", i%documents) }
				document := func(value string) string {
					fields := make([]string, handles/documents)
					for i := range fields {
						fields[i] = fmt.Sprintf(`"field-%d":"%s"`, i, value)
					}
					return "{" + strings.Join(fields, ",") + "}"
				}
				backend := secretstest.NewBackend(nil)
				set := func(value string) {
					for i := range documents {
						backend.Set(path(i), document(value))
					}
				}
				set("one")
				client := open(t, backend, tc.opts...)
				all := make([]*secrets.Handle, handles)
				for i := range all {
					var err error
					all[i], err = client.Watch(t.Context(), fmt.Sprintf("%s#field-%d", path(i), i/documents))
					is.NoErr(err)
				}
				is.Equal(backend.Calls(), tc.atFirst)

				backend.ResetCounts()
				elapse(time.Hour)
				for i := range documents {
					n := backend.Fetches(path(i))
					t.Log(n)
					is.True(n >= int(time.Hour/tc.longest)-1) // the last one is not due yet
					is.True(n <= int(time.Hour/tc.least))
				}
				looks := backend.Calls()
				t.Log("hour", looks)
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
				for range 100 {
					client.Invalidate(keys...)
					elapse(time.Second)
				}
				t.Log("inv", backend.Calls())
				is.True(backend.Calls() >= 100*documents) // each is a look
				is.True(backend.Calls() <= 104*documents) // and some were due
				t.Logf("an hour: %d fetches; 100 looks that an Invalidate makes: %d", looks, backend.Calls())
			})
		})
	}
}

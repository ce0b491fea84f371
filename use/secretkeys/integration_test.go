//go:build vault

package secretkeys_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/vaultserver"
	"github.com/seed-5482dd03/secrets/use/secretkeys"
)

func TestKeysOfRealVault(t *testing.T) {
	server := vaultserver.Start(t)
	put := func(content string) {
		server.Must(t, http.MethodPost, "secret/data/signing", map[string]any{"data": json.RawMessage(content)})
	}
	t.Run("by version", func(t *testing.T) {
		is := is.New(t)
		v := ofVault(server.Addr, server.RootToken, put)
		began := time.Now()
		v.test(t)
		client := open(t, v.newBackend(t))
		one, err := client.Get(t.Context(), "signing?version=1")
		is.NoErr(err)
		two, err := client.Get(t.Context(), "signing")
		is.NoErr(err)
		var last time.Time
		for _, s := range []secrets.Secret{one, two} { // the server has the same clock as the test
			at := s.Meta().CreatedAt
			is.True(at.After(began) && at.After(last) && at.Before(time.Now()))
			last = at
		}
	})
	t.Run("by field", func(t *testing.T) {
		is := is.New(t)
		v := ofVault(server.Addr, server.RootToken, put)
		put(document("a", "key a"))
		put(document("b", "key b"))
		keys, err := secretkeys.Open(t.Context(), open(t, v.newBackend(t)), v.path, fields, secretkeys.ActivateAfter(time.Hour))
		is.NoErr(err)
		defer keys.Close()
		isActive(t, keys, "a", "key a")
		verifies(t, keys, "b", "key b")
	})
}

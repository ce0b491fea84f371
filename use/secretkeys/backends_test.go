package secretkeys_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
	"github.com/seed-5482dd03/secrets/secretstest/vaulttest"
	"github.com/seed-5482dd03/secrets/use/secretkeys"
)

// versions is a secret on a server outside a bubble.
type versions struct {
	newBackend func(t *testing.T) secrets.Backend
	path       string
	put        func(content string) (id string)
}

func ofAWS(server *awstest.Server) versions {
	keys := server.Credentials()
	cfg := aws.Config{
		Region:      server.Region(),
		Credentials: credentials.NewStaticCredentialsProvider(keys.AccessKeyID, keys.SecretAccessKey, keys.SessionToken),
	}
	return versions{
		newBackend: func(t *testing.T) secrets.Backend {
			t.Helper()
			backend, err := awssm.New(t.Context(), awssm.WithConfig(cfg), awssm.WithEndpoint(server.URL()))
			is.New(t).NoErr(err)
			return backend
		},
		path: "prod/signing",
		put:  func(content string) (id string) { return server.Put("prod/signing", content) },
	}
}

// noEnvironment is the lookup of backends that must not read the environment.
func noEnvironment(string) (string, bool) { return "", false }

// A process that starts right after a rotation signs with the previous key, and knows both; one that starts later does not.
func (v versions) test(t *testing.T) {
	t.Helper()
	is := is.New(t)
	keysOf := func(opts ...secretkeys.Option) *secretkeys.Keys {
		keys, err := secretkeys.Open(t.Context(), open(t, v.newBackend(t), middleware.Standard()), v.path, opts...)
		is.NoErr(err)
		t.Cleanup(func() { is.NoErr(keys.Close()) })
		return keys
	}
	reveal := func(id string, key secrets.Secret) (string, string) {
		value, err := key.Field("key")
		is.NoErr(err)
		return id, value.Reveal()
	}
	began := time.Now().Add(-time.Millisecond) // the resolution of AWS
	one := v.put(keyDocument("key 1"))
	first := keysOf()
	id, key := reveal(first.Active())
	is.Equal(id, one)
	is.Equal(key, "key 1")

	two := v.put(keyDocument("key 2"))
	second := keysOf(secretkeys.ActivateAfter(time.Hour))
	id, active := second.Active()
	is.Equal(id, one)
	is.True(!active.Meta().CreatedAt.Before(began))
	for want, wanted := range map[string]string{one: "key 1", two: "key 2"} {
		found, ok := second.ByID(want)
		is.True(ok)
		_, key := reveal("", found)
		is.Equal(key, wanted)
		is.True(!found.Meta().CreatedAt.After(time.Now()))
	}

	third := keysOf(secretkeys.ActivateAfter(time.Millisecond))
	for id = ""; id != two; id, active = third.Active() { //nolint:revive // it waits for up to a millisecond
	}
	_, key = reveal(id, active)
	is.Equal(key, "key 2")
	_, ok := third.ByID(one)
	is.True(ok)
}

func keyDocument(key string) string { return `{"key":"` + key + `"}` }

func TestKeysOfAWS(t *testing.T) {
	is := is.New(t)
	server := awstest.NewServer(t)
	v := ofAWS(server)
	v.test(t)

	// A pending version verifies, and does not sign.
	pending := server.PutVersion("prod/signing", keyDocument("key 3"), "AWSPENDING")
	keys, err := secretkeys.Open(t.Context(), open(t, v.newBackend(t)), v.path, secretkeys.ActivateAfter(time.Millisecond))
	is.NoErr(err)
	defer keys.Close()
	_, ok := keys.ByID(pending)
	is.True(ok)
	id, _ := keys.Active()
	is.True(id != pending)
}

// ofVault returns the versions of a KV v2 secret in the mount secret.
func ofVault(address, token string, put func(content string)) versions {
	written := 0
	return versions{
		newBackend: func(t *testing.T) secrets.Backend {
			t.Helper()
			backend, err := vault.New(vault.WithAddress(address), vault.WithToken(token), vault.WithLookup(noEnvironment))
			is.New(t).NoErr(err)
			return backend
		},
		path: "signing",
		put: func(content string) (id string) {
			put(content)
			written++
			return strconv.Itoa(written)
		},
	}
}

func TestKeysOfVault(t *testing.T) {
	server := vaulttest.New(t)
	ofVault(server.Address(), server.Token(), func(content string) { server.Put("secret/signing", content) }).test(t)
}

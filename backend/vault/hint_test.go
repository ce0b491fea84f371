package vault_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
)

// For a key that was copied from an API path or a policy, the error shows the right key.
func TestAKeyThatBeginsWithTheMount(t *testing.T) {
	for name, test := range map[string]struct {
		path string
		want string // in the error, or "" for no hint
		opts []vault.Option
	}{
		"the mount":                     {path: "secret/app", want: "app in place of secret/app"},
		"the mount and data":            {path: "secret/data/team/app", want: "team/app in place of secret/data/team/app"},
		"data":                          {path: "data/app", want: "app in place of data/app"},
		"a deep mount":                  {path: "team/kv/a", want: "a in place of team/kv/a", opts: []vault.Option{vault.WithMount("team/kv")}},
		"version 1":                     {path: "old/app", want: "app in place of old/app", opts: []vault.Option{vault.WithMount("old")}},
		"a mount of dynamic secrets":    {path: "secret/creds/x", want: "creds/x in place", opts: []vault.Option{vault.WithDynamicSecrets()}},
		"an unrelated path":             {path: "team/app"},
		"a name with the same prefix":   {path: "secrets/app"},
		"the mount alone":               {path: "secret", want: "the key must not begin with the mount, secret"},
		"data of a mount other than KV": {path: "data/x", opts: []vault.Option{vault.WithDynamicSecrets()}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.vault.Mount("team/kv", 2)
			f.vault.Mount("old", 1)
			b := f.backend(t, test.opts...)
			for _, class := range []error{secrets.ErrNotFound, secrets.ErrPermissionDenied} {
				is := is.New(t)
				if class == secrets.ErrPermissionDenied {
					for _, mount := range []string{"secret", "team/kv", "old"} {
						f.reply(mount+"/"+test.path, http.StatusForbidden, bodyDenied)
						f.reply(mount+"/data/"+test.path, http.StatusForbidden, bodyDenied)
					}
				}
				_, err := b.Fetch(t.Context(), secrets.Ref{Path: test.path})
				is.Equal(secrets.Class(err), class)
				is.Equal(strings.Contains(err.Error(), "must not begin"), test.want != "")
				is.True(strings.Contains(err.Error(), test.want))
			}
		})
	}
}

// A secret's name may begin with the mount.
func TestASecretWhoseNameBeginsWithTheMount(t *testing.T) {
	is := is.New(t)
	f := newFake(t)
	f.put("secret/app", `{"a":"b"}`)
	f.put("data/app", `{"a":"b"}`)
	b := f.backend(t)
	for _, path := range []string{"secret/app", "data/app"} {
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: path})
		is.NoErr(err)
	}
	f.vault.Delete("secret/secret/app")
	_, err := b.Fetch(t.Context(), secrets.Ref{Path: "secret/app"})
	is.Equal(secrets.Class(err), secrets.ErrDeleted)
	is.True(!strings.Contains(err.Error(), "in place of")) // it existed: the key is right
}

package vault

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

const canary = "hvs.canary-7f3Kq9ZxWv2m"

func TestStaticToken(t *testing.T) {
	is := is.New(t)
	for _, bad := range []string{"", " \n", "two\nlines", "nul\x00", "ünicode", canary + "\x7f" + canary} {
		s, err := staticToken(bad)
		is.True(err != nil && s == nil)
		secretstest.AssertNoLeak(t, canary, err)
	}
	s, err := staticToken(" " + canary + "\r\n")
	is.NoErr(err)
	got, err := s.token(t.Context())
	is.NoErr(err)
	is.Equal(got.value.Reveal(), canary)
	is.True(!s.another(t.Context(), got, true))
	is.NoErr(s.close())
	secretstest.AssertNoLeak(t, canary, s)
	secretstest.AssertNoLeak(t, canary, got)
}

func TestNoToken(t *testing.T) {
	is := is.New(t)
	got, err := noToken{}.token(t.Context())
	is.NoErr(err)
	is.True(got.value.IsZero())
	is.Equal(got.value.Reveal(), "")
	is.True(!noToken{}.another(t.Context(), got, true))
	is.NoErr(noToken{}.close())
}

func TestFileToken(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "token")
	var e endings
	s := fileToken(path, e.add)
	write := func(content string) { is.NoErr(os.WriteFile(path, []byte(content), 0o600)) }
	fails := func(class error) {
		t.Helper()
		_, err := s.token(t.Context())
		is.Equal(secrets.Class(err), class)
		is.True(strings.Contains(err.Error(), path) || class == secrets.ErrUnauthenticated)
		secretstest.AssertNoLeak(t, canary, err)
	}

	fails(secrets.ErrUnavailable) // not written yet
	write(" \n")
	fails(secrets.ErrUnavailable)
	write(canary + "\nsecond line")
	fails(secrets.ErrUnauthenticated)
	write(strings.Repeat(canary, 10_000))
	fails(secrets.ErrUnauthenticated)

	write(canary + "\n")
	first, err := s.token(t.Context())
	is.NoErr(err)
	is.Equal(first.value.Reveal(), canary)
	is.True(!s.another(t.Context(), first, true)) // still the same
	same, err := s.token(t.Context())
	is.NoErr(err)
	is.Equal(same.serial, first.serial)
	is.Equal(e.all(), nil)

	write(canary + "2")
	is.True(s.another(t.Context(), first, false))
	second, err := s.token(t.Context())
	is.NoErr(err)
	is.True(second.serial != first.serial)
	is.Equal(e.all(), []uint64{first.serial})
	is.True(s.another(t.Context(), first, true))

	is.NoErr(os.Remove(path))
	is.True(!s.another(t.Context(), second, true)) // no other token
	fails(secrets.ErrUnavailable)
	is.NoErr(os.Mkdir(path, 0o700))
	fails(secrets.ErrUnauthenticated)
	s = fileToken(filepath.Join(path, "x", "y"), nil)
	_, err = s.token(t.Context())
	is.Equal(secrets.Class(err), secrets.ErrUnavailable)
	is.NoErr(s.close())
	secretstest.AssertNoLeak(t, canary, &s.last)
}

func TestClientToken(t *testing.T) {
	is := is.New(t)
	t.Setenv("VAULT_TOKEN", "")
	client, err := api.NewClient(api.DefaultConfig())
	is.NoErr(err)
	s := clientToken(client, nil)
	_, err = s.token(t.Context())
	is.True(errors.Is(err, secrets.ErrUnauthenticated))
	client.SetToken("one")
	first, err := s.token(t.Context())
	is.NoErr(err)
	is.Equal(first.value.Reveal(), "one")
	client.SetToken("two")
	is.True(s.another(t.Context(), first, false))
	is.NoErr(s.close())
	is.Equal(client.Token(), "two")
}

package secretkeys_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/internal/fingerprint"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretkeys"
)

const (
	noVersion     = "secretkeys: the secret has no version"
	isFingerprint = "secretkeys: the version of the secret is a fingerprint"
)

// versioned returns a backend whose secret has that version.
func versioned(version string) secrets.Backend {
	return secrets.NewBackend(secrets.Info{Name: "own"}, func(context.Context, secrets.Ref) (secrets.Secret, error) {
		return secrets.NewSecret("canary-7f3Kq9ZxWv2m", secrets.Meta{Version: version}), nil
	})
}

func TestIDIsAVersionThatAllProcessesShare(t *testing.T) {
	t.Setenv("SIGNING", "canary-7f3Kq9ZxWv2m")
	dir := t.TempDir()
	is.New(t).NoErr(os.WriteFile(filepath.Join(dir, "signing"), []byte("canary-7f3Kq9ZxWv2m"), 0o600))
	files, err := file.New(dir)
	is.New(t).NoErr(err)
	for name, tc := range map[string]struct {
		backend secrets.Backend
		want    string // prefix of the error; "" for none
	}{
		"env":                   {env.New(), noVersion},
		"file":                  {files, isFingerprint},
		"a fingerprint":         {versioned(fingerprint.New()("signing", "x")), isFingerprint},
		"KV version 2":          {versioned("7"), ""},
		"AWS":                   {versioned("a1b2c3d4-5678-90ab-cdef-111111111111"), ""},
		"AWS, chosen by client": {versioned("0123456789abcdef0123456789abcdef"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			keys, err := secretkeys.Open(t.Context(), open(t, tc.backend), "signing")
			if tc.want == "" {
				is.NoErr(err)
				is.NoErr(keys.Close())
				return
			}
			is.True(err != nil)
			is.True(strings.HasPrefix(err.Error(), tc.want))
			secretstest.AssertNoLeak(t, "canary-7f3Kq9ZxWv2m", err)
		})
	}
}

// If a source without versions takes over, the keys stay.
func TestAVersionThatIsNotAnIDIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var unnamed atomic.Bool
		backend := secrets.NewBackend(secrets.Info{Name: "own"}, func(context.Context, secrets.Ref) (secrets.Secret, error) {
			meta := secrets.Meta{Version: "1"}
			if unnamed.Load() {
				meta.Version = ""
			}
			return secrets.NewSecret("key 1", meta), nil
		})
		keys := keysOf(t, backend)
		unnamed.Store(true)
		after(seen)
		is.True(strings.HasPrefix(keys.Err().Error(), noVersion))
		is.Equal(active(t, keys), "1")
		unnamed.Store(false)
		after(seen)
		is.NoErr(keys.Err())
		is.Equal(known(t, keys), "1")
	})
}

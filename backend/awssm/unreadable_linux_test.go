package awssm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/internal/otheruser"
)

// The SDK silently skips a file that it cannot read and uses the credentials of the container or the instance: another identity.
func TestAnUnreadableProfileFileIsAnError(t *testing.T) {
	agent := map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1"}
	unreadable := func(t *testing.T, path string) { write(t, path, "[default]\n") } // owned by another user, see below
	for name, c := range map[string]struct {
		env     map[string]string
		make    func(t *testing.T, path string)
		unnamed bool   // no variable names the file
		home    bool   // the home directory belongs to another user too
		want    string // part of the error, or "" for no error
	}{
		"a file of another user":           {make: unreadable, want: `/credentials" may not be read by this user`},
		"with a container":                 {env: agent, make: unreadable, want: `/credentials" may not be read by this user`},
		"in the home directory":            {make: unreadable, unnamed: true, want: `/credentials" may not be read by this user`},
		"in another user's home directory": {make: unreadable, unnamed: true, home: true},
		"named, in another's directory":    {make: unreadable, home: true, want: `/credentials" may not be read by this user`},
		"a directory":                      {make: mkdir, want: `/credentials" is a directory`},
		"keys of variables": {env: map[string]string{"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "x"},
			make: unreadable}, // they come first, so the SDK skips nothing
		"a profile in it": {env: map[string]string{"AWS_PROFILE": "app"}, make: unreadable,
			want: `there is no profile "app"`},
		"no file": {make: func(*testing.T, string) {}},
		"a readable file": {make: func(t *testing.T, path string) {
			unreadable(t, path)
			if err := os.Chmod(path, 0o644); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			hermetic(t, map[string]string{"AWS_REGION": "eu-west-1"})
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			home := os.Getenv("HOME")
			is.NoErr(os.Chmod(filepath.Dir(home), 0o755))
			path := os.Getenv("AWS_SHARED_CREDENTIALS_FILE")
			if c.unnamed {
				is.NoErr(os.Mkdir(filepath.Join(home, ".aws"), 0o755))
				path = filepath.Join(home, ".aws", "credentials")
				t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "")
				t.Setenv("AWS_CONFIG_FILE", "")
			}
			c.make(t, path)
			mode := os.FileMode(0o755)
			if c.home {
				mode = 0o700
			}
			is.NoErr(os.Chmod(home, mode))
			var b *awssm.Backend
			var err error
			otheruser.Nobody(t, func() { b, err = awssm.New(t.Context()) })
			if c.want == "" {
				is.NoErr(err)
				is.NoErr(b.Close())
				return
			}
			is.True(err != nil)
			is.True(strings.Contains(err.Error(), c.want))
		})
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

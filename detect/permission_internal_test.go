//go:build linux

package detect

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/internal/otheruser"
)

// A directory without read permission does not count as one without secrets.
func TestAnUnreadableDirectoryIsAnError(t *testing.T) {
	root := os.Getuid() == 0
	base := t.TempDir()
	for _, dir := range []string{filepath.Dir(base), base} {
		if err := os.Chmod(dir, 0o755); err != nil { // another user can enter
			t.Fatal(err)
		}
	}
	closed, below := filepath.Join(base, "closed"), filepath.Join(base, "closed", "below")
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(closed, "database"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !root { // the owner must be denied
		if err := os.Chmod(closed, 0); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(closed, 0o700) //nolint:errcheck // for TempDir
	}
	for name, tc := range map[string]struct {
		vars   map[string]string
		strict bool
		want   string // the provider, or "" for an error
	}{
		"nothing else":                    {},
		"nothing else, strict":            {strict: true},
		"$CREDENTIALS_DIRECTORY":          {vars: map[string]string{varCredentials: closed}},
		"$CREDENTIALS_DIRECTORY, below":   {vars: map[string]string{varCredentials: below}},
		"a region without credentials":    {vars: map[string]string{varRegion: "eu-west-1"}},
		"a prefix":                        {vars: map[string]string{varPrefix: "SHOP_"}, want: provEnv},
		"the type":                        {vars: map[string]string{varType: "env"}, strict: true, want: provEnv},
		"the type, CREDENTIALS_DIRECTORY": {vars: map[string]string{varType: "env", varCredentials: closed}, want: provEnv},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			detect := func(inspect func(dir string) dirState) (Detection, error) {
				opts := []Option{WithDirectory(closed), WithLookup(func(name string) (string, bool) {
					value, set := tc.vars[name]
					return value, set
				})}
				if tc.strict {
					opts = append(opts, WithStrict())
				}
				c := newConfig(opts)
				c.inspect = inspect
				_, d, err := c.detect(t.Context())
				return d, err
			}
			d, err := detect(func(dir string) (s dirState) {
				otheruser.Nobody(t, func() { s = inspect(dir) })
				return s
			})
			is.Equal(d.Provider, tc.want)
			if tc.want != "" {
				is.NoErr(err)
				return
			}
			is.True(strings.Contains(err.Error(), "cannot be read: permission denied; "))
			is.True(strings.HasSuffix(err.Error(), ", or set SECRET_MANAGER_TYPE"))
			is.True(strings.Contains(err.Error(), closed))
			if root && name == "nothing else" { // the control: root can read the directory
				d, err = detect(inspect)
				is.NoErr(err)
				is.Equal(d.Provider, provFile)
			}
		})
	}
}

package detect

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
)

// hung returns a configuration whose inspection of the directory hangs until release is called.
func hung(vars map[string]string, opts ...Option) (c *config, release func()) {
	gate := make(chan struct{})
	c = newConfig(append(opts, WithLookup(func(name string) (string, bool) {
		value, set := vars[name]
		return value, set
	})))
	c.inspect = func(string) dirState {
		<-gate
		return dirState{file: true, what: "holds a file"}
	}
	return c, func() { close(gate) }
}

// A file system that hangs delays the detection by a second at most. If the choice depends on it, that is an error.
func TestADirectoryThatHangs(t *testing.T) {
	for _, tc := range []struct {
		vars   map[string]string
		strict bool
		want   string // the provider, or "" for an error
	}{
		{vars: map[string]string{}},
		{vars: map[string]string{"AWS_REGION": "eu-west-1"}},
		{vars: map[string]string{"SECRET_MANAGER_TYPE": "env"}, want: "env"},
		{vars: map[string]string{"SECRET_MANAGER_TYPE": "env"}, strict: true, want: "env"},
		{vars: map[string]string{"SECRET_MANAGER_PREFIX": "SHOP_"}, strict: true, want: "env"},
		{vars: map[string]string{"AWS_REGION": "eu-west-1", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x"}, want: "aws"},
		{vars: map[string]string{"AWS_REGION": "eu-west-1", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x"}, strict: true},
	} {
		t.Run(fmt.Sprint(tc), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
				var opts []Option
				if tc.strict {
					opts = append(opts, WithStrict())
				}
				c, release := hung(tc.vars, opts...)
				defer release()
				began := time.Now()
				_, d, err := c.detect(t.Context())
				is.Equal(time.Since(began), inspectTimeout)
				is.Equal(d.Provider, tc.want)
				if tc.want != "" {
					is.NoErr(err)
					return
				}
				is.True(strings.Contains(err.Error(), "/run/secrets has not answered within 1s; fix that, or set SECRET_MANAGER_TYPE"))
				is.Equal(len(d.Others), 4)
			})
		})
	}
}

func TestTheContextEndsTheWaitForADirectoryThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		c, release := hung(nil)
		defer release()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, _, err := c.detect(ctx)
		is.Equal(err, context.DeadlineExceeded)
		is.Equal(time.Since(began), 10*time.Millisecond)
	})
}

func TestInspect(t *testing.T) {
	is := is.New(t)
	dir := t.TempDir()
	is.Equal(inspect(filepath.Join(dir, "nowhere")).what, "does not exist")
	is.Equal(inspect(dir), dirState{what: "holds no file of secrets"})

	for i := range maxEntries + 1 {
		is.NoErr(os.MkdirAll(filepath.Join(dir, fmt.Sprint(i), "deep"), 0o700))
	}
	is.Equal(inspect(dir), dirState{odd: true, what: "holds no file of secrets among its first 1000 entries"})

	file := filepath.Join(dir, "file")
	is.NoErr(os.WriteFile(file, nil, 0o600))
	is.True(!inspect(file).file)
	other := t.TempDir()
	is.NoErr(os.Mkdir(filepath.Join(other, "etc-pki-entitlement"), 0o700))
	is.Equal(inspect(other), dirState{what: "holds no file of secrets"}) // an entry of a platform is not odd
	is.NoErr(os.Mkdir(filepath.Join(other, "db_password"), 0o700))
	is.True(inspect(other).odd)
	for _, name := range []string{"kubernetes.io", "..data", "rhsm", "rhsm-host", "redhat.repo"} {
		is.NoErr(os.WriteFile(filepath.Join(other, name), nil, 0o600))
	}
	is.True(!inspect(other).file)
	is.NoErr(os.WriteFile(filepath.Join(other, "database"), nil, 0o600))
	is.Equal(inspect(other+string(os.PathSeparator)), dirState{file: true, what: "holds a file"})
}

func TestNearest(t *testing.T) {
	is := is.New(t)
	names := append(builtin(), "keyring", auto)
	for given, want := range map[string]string{
		"vualt": "vault", "valt": "vault", "vaullt": "vault", "vaut": "vault", "ens": "env", "nev": "env", "awss": "aws", "fiel": "file",
		"files": "file", "environment": "env", "awssm": "aws", "hashicorp-vault": "vault", "autp": "auto", "keyrnig": "keyring",
		"gcp": "", "k8s": "", "azure": "", "x": "", "": "", "automatic": "", "hvs.CAESIJawsenvvault": "",
	} {
		if got := nearest(given, names); got != want {
			t.Errorf("%q is near %q, not %q", given, got, want)
		}
	}
	is.Equal(distance("ca", "abc"), 3) // no other edit within swapped letters
}

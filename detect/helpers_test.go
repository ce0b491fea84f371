package detect_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/detect"
)

// hermetic sets vars, in an environment without other signals, in which the SDKs find nothing of the machine.
func hermetic(t *testing.T, vars map[string]string) {
	t.Helper()
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		for _, prefix := range []string{"AWS_", "VAULT_", "SECRET_MANAGER_", "CREDENTIALS_DIRECTORY"} {
			if strings.HasPrefix(name, prefix) {
				t.Setenv(name, "") // to restore it
				if err := os.Unsetenv(name); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	home := t.TempDir()
	for name, value := range map[string]string{
		"HOME": home, "USERPROFILE": home, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": filepath.Join(home, "config"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(home, "credentials"),
	} {
		t.Setenv(name, value)
	}
	for name, value := range vars {
		t.Setenv(name, value)
	}
}

// lookup returns WithLookup for vars.
func lookup(vars map[string]string) detect.Option {
	return detect.WithLookup(func(name string) (string, bool) {
		value, set := vars[name]
		return value, set
	})
}

// directory creates a directory with entries: "a" is a file, "a/" a directory, and "a -> b" a link to b.
func directory(t *testing.T, entries ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, entry := range entries {
		var err error
		name, target, isLink := strings.Cut(entry, " -> ")
		switch path := filepath.Join(dir, name); {
		case isLink:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o700)
		default:
			if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
				err = os.WriteFile(path, []byte("correct horse"), 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// shut closes backend, unless it is nil.
func shut(t *testing.T, backend secrets.Backend) {
	t.Helper()
	if backend == nil {
		return
	}
	if err := backend.Close(); err != nil {
		t.Error(err)
	}
}

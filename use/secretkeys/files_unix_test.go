//go:build unix

package secretkeys_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/use/secretkeys"
)

// volume is a directory that is written like a mounted Kubernetes Secret, with the key at signing.
type volume struct {
	dir     string
	updates int
}

// update writes the files of a key to a new directory, and points the symlink ..data to it.
func (v *volume) update(t *testing.T, id, key string) {
	t.Helper()
	is := is.New(t)
	v.updates++
	mount := filepath.Join(v.dir, "signing")
	data := "..v" + strconv.Itoa(v.updates)
	is.NoErr(os.MkdirAll(filepath.Join(mount, data), 0o700))
	for name, content := range map[string]string{"id": id, "key": key} {
		is.NoErr(os.WriteFile(filepath.Join(mount, data, name), []byte(content+"\n"), 0o600))
	}
	is.NoErr(os.Symlink(data, filepath.Join(mount, "..data_tmp")))
	is.NoErr(os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")))
	if v.updates > 1 {
		is.NoErr(os.RemoveAll(filepath.Join(mount, "..v"+strconv.Itoa(v.updates-1))))
		return
	}
	for _, name := range []string{"id", "key"} {
		is.NoErr(os.Symlink(filepath.Join("..data", name), filepath.Join(mount, name)))
	}
}

func TestFieldsOfAKubernetesVolume(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		v := &volume{dir: dir}
		v.update(t, "a", "key a")
		process := func() *secretkeys.Keys {
			backend, err := file.New(dir)
			is.NoErr(err)
			return keysOf(t, backend, fields, secretkeys.Overlap(time.Minute))
		}
		keys, peer := process(), process()
		isActive(t, keys, "a", "key a")
		v.update(t, "b", "key b")
		after(time.Second)
		for _, keys := range []*secretkeys.Keys{keys, peer} {
			isActive(t, keys, "a", "key a")
			verifies(t, keys, "b", "key b")
		}
		after(time.Minute) // ActivateAfter
		for _, keys := range []*secretkeys.Keys{keys, peer} {
			isActive(t, keys, "b", "key b")
			verifies(t, keys, "a", "key a")
			is.NoErr(keys.Err())
		}
		late := process()
		isActive(t, late, "b", "key b")
		verifies(t, late, "a", "") // a limit in the package comment
		after(time.Minute)
		verifies(t, keys, "a", "")
	})
}

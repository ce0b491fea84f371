package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
)

// weaker returns a Client for b with a fallback that has every secret, with the value "weaker".
func weaker(t *testing.T, b *file.Backend) *secrets.Client {
	t.Helper()
	variables := env.New(env.WithLookup(func(string) (string, bool) { return "weaker", true }))
	return client(t, b, secrets.WithFallback(fallback.OnNotFound(variables)))
}

// Docker creates an empty directory where the source of a bind mount is missing. It is not a secret; an empty file is.
func TestAnEmptyDirectoryIsNotFound(t *testing.T) {
	t.Parallel()
	for _, opts := range [][]file.Option{nil, {file.WithCaching()}} {
		is := is.New(t)
		dir := tree(t, map[string]string{"db_password/": "", "nested/deep/x": "1", "dots/.gitkeep": "", "volume/..v1/": "", "empty": ""})
		link(t, dir, "..v1", "volume/..data") // an optional Kubernetes Secret that does not exist
		c := weaker(t, backend(t, dir, opts...))
		for key, detail := range map[string]string{
			"db_password": "is an empty directory, as Docker makes where the source of a bind mount is missing",
			"nested":      "is a directory without files of its own",
			"dots":        "is a directory without files of its own",
			"volume":      "is a directory without files of its own",
		} {
			for _, key := range []string{key, key + "#field"} {
				_, err := client(t, backend(t, dir, opts...)).Get(t.Context(), key)
				is.Equal(secrets.Class(err), secrets.ErrNotFound)
				is.True(strings.Contains(err.Error(), detail))
				got, err := c.Get(t.Context(), key)
				is.NoErr(err)
				is.Equal(got.Reveal(), "weaker") // the fallback is used
			}
		}
		got, err := c.Get(t.Context(), "empty") // the control
		is.NoErr(err)
		is.Equal(got.Reveal(), "")
	}
}

// File names decide whether a directory has a field. The content and permissions of other files do not matter.
func TestNamesDecideWhetherAFieldExists(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := tree(t, map[string]string{
		"tls/password": canary, "tls/keystore.p12": "\xff\x00", "tls/" + strings.Repeat("x", 200): strings.Repeat("x", 2000), "tls/sub/y": "",
	})
	link(t, filepath.Join(dir, "tls"), "/etc/hostname", "out")
	c := weaker(t, backend(t, dir, file.WithMaxSize(1000)))
	for _, key := range []string{
		"tls#passphrase", "tls#sub", "tls#sub/y", "tls#sub.y", "tls#..names", "tls#" + strings.Repeat("x", 256), "tls#password.user",
	} {
		_, err := c.Get(t.Context(), key)
		is.Equal(secrets.Class(err), secrets.ErrFieldNotFound)
		is.True(!strings.Contains(err.Error(), canary))
		got, err := c.GetOr(t.Context(), key, "default")
		is.NoErr(err)
		is.Equal(got.Reveal(), "default") // the fallback is not used
		has, err := c.Has(t.Context(), key)
		is.NoErr(err)
		is.True(!has)
	}
	_, err := c.Get(t.Context(), "tls#Pass-Word")
	is.True(strings.Contains(err.Error(), "did you mean password?"))
	for key, want := range map[string]string{"tls#password": canary, "tls#keystore.p12": "\xff\x00"} {
		got, err := c.Get(t.Context(), key)
		is.NoErr(err)
		is.Equal(got.Reveal(), want)
	}
	_, err = c.Get(t.Context(), "tls#out") // a link that leads out is not "not found"
	is.Equal(secrets.Class(err), secrets.ErrInvalidKey)
	_, err = c.Get(t.Context(), "tls")
	is.Equal(secrets.Class(err), secrets.ErrMalformed) // the whole document needs all files
	is.True(strings.Contains(err.Error(), "tls/keystore.p12"))
}

// The document of the file names is internal: no key reads it.
func TestNoKeyReadsTheNames(t *testing.T) {
	t.Parallel()
	for _, opts := range [][]file.Option{nil, {file.WithCaching()}} {
		is := is.New(t)
		c := client(t, backend(t, tree(t, map[string]string{"db/password": canary, "token": canary, "json": `{"password":"x"}`}), opts...))
		for _, key := range []string{
			"db/..names", "db/..names#", "db/..names#password", "db/..names#x", "db/..names/..names", "token/..names", "json/..names#password",
		} {
			_, err := c.Get(t.Context(), key)
			is.Equal(secrets.Class(err), secrets.ErrInvalidKey)
			is.True(strings.Contains(err.Error(), "names that begin with .."))
			_, err = c.GetMany(t.Context(), key, "token")
			is.Equal(secrets.Class(err), secrets.ErrInvalidKey)
		}
		_, err := c.Get(t.Context(), "db#x") // the control: it reads the names
		is.Equal(secrets.Class(err), secrets.ErrFieldNotFound)
		is.True(strings.Contains(err.Error(), "its one field is password"))
		_, err = c.Get(t.Context(), "db#..names")
		is.Equal(secrets.Class(err), secrets.ErrFieldNotFound)
		is.True(!strings.Contains(err.Error(), "db/..names")) // not a valid key
	}
}

// A directory with more names than the backend lists for an error still reports a missing field.
func TestAMissingFieldOfALargeDirectoryIsReported(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := tree(t, map[string]string{"d/": ""})
	for i := range 400 {
		is.NoErr(os.WriteFile(filepath.Join(dir, "d", strings.Repeat("x", 200)+strconv.Itoa(i)), nil, 0o600))
	}
	for _, opts := range [][]file.Option{nil, {file.WithMaxSize(10)}} {
		_, err := weaker(t, backend(t, dir, opts...)).Get(t.Context(), "d#password")
		is.Equal(secrets.Class(err), secrets.ErrFieldNotFound)
	}
}

// Dot files and editor backups are not fields. Their paths are keys.
func TestBackupsAndDotFilesAreNotFields(t *testing.T) {
	t.Parallel()
	hidden := []string{".DS_Store", ".password.swp", ".#password", ".nfs0001", ".dockerconfigjson", "password~", "#password#"}
	files := map[string]string{"db/password": canary, "db/password.bak": "1", "db/~": "2", "db/#": "3"}
	for _, name := range hidden {
		files["db/"+name] = "\xff" + name
	}
	dir := tree(t, files)
	for _, opts := range [][]file.Option{nil, {file.WithCaching()}} {
		is := is.New(t)
		c := client(t, backend(t, dir, opts...))
		got, err := c.Get(t.Context(), "db")
		is.NoErr(err)
		is.Equal(got.Reveal(), `{"#":"3","password":"`+canary+`","password.bak":"1"}`)
		for _, name := range hidden {
			_, err := c.Get(t.Context(), secrets.Ref{Path: "db", Field: name}.String())
			is.Equal(secrets.Class(err), secrets.ErrFieldNotFound)
			is.True(strings.Contains(err.Error(), "the key of such a file is db/"+name))
			got, err := c.Get(t.Context(), secrets.Ref{Path: "db/" + name}.String())
			is.NoErr(err)
			is.Equal(got.Reveal(), "\xff"+name)
		}
	}
}

// Docker and Swarm have no directories of secrets: the key database#password of other platforms is the file database_password there.
func TestNotFoundNamesSimilarFiles(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"database_password": canary, "database-user": canary, "Database.Host": canary, "database_port": canary, "databases": canary,
		"api_key": canary, "deep_a_b": canary, ".token": canary,
	})
	link(t, dir, "gone", "dangling")
	c := client(t, backend(t, dir))
	for key, want := range map[string]string{
		"dangling":          `no file dangling in ` + dir,
		"database#password": `no file database in ` + dir + `; there is "Database.Host", "database-user", "database_password", …`,
		"database/password": `no file database/password in ` + dir + `; there is "database_password"`,
		"api-key":           `no file api-key in ` + dir + `; there is "api_key"`,
		"deep/a#b":          `no file deep/a in ` + dir + `; there is "deep_a_b"`,
		"token":             `no file token in ` + dir,
		"data":              `no file data in ` + dir,
	} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			_, err := c.Get(t.Context(), key)
			is.Equal(err.Error(), "secrets: file: "+key+": not found: "+want)
		})
	}
}

// A file name cannot add lines to a log.
func TestFileNamesInErrorsAreQuoted(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	const name = "x\n\x1b[31mlevel=INFO"
	dir := tree(t, map[string]string{"text/" + name: "\xff", "a_" + name: "", "link/": ""})
	link(t, dir, "/etc/hostname", "link/"+name)
	c := client(t, backend(t, dir))
	for _, key := range []string{"text", "link", "text#y", "link#y", "a"} {
		_, err := c.Get(t.Context(), key)
		is.True(!strings.ContainsAny(err.Error(), "\n\x1b"))
		is.True(strings.Contains(err.Error(), `x\n\x1b[31mlevel=INFO`))
	}
}

// Windows editors write a byte order mark before a text. Like the newline at the end, it is not part of the text.
func TestAByteOrderMarkIsRemoved(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	const mark = "\ufeff"
	dir := tree(t, map[string]string{
		"text": mark + canary + "\r\n", "json": mark + `{"password":"` + canary + `"}`, "d/x": mark + canary, "binary": mark + "\xff\n",
	})
	c, raw := client(t, backend(t, dir)), client(t, backend(t, dir, file.WithRawBytes()))
	for key, want := range map[string]string{
		"text": canary, "json#password": canary, "d#x": canary, "d": `{"x":"` + canary + `"}`, "binary": mark + "\xff\n",
	} {
		got, err := c.Get(t.Context(), key)
		is.NoErr(err)
		is.Equal(got.Reveal(), want)
	}
	got, err := raw.Get(t.Context(), "text")
	is.NoErr(err)
	is.Equal(got.Reveal(), mark+canary+"\r\n")
	_, err = raw.Get(t.Context(), "json#password")
	is.Equal(secrets.Class(err), secrets.ErrMalformed)
	is.True(strings.Contains(err.Error(), "byte order mark"))
}

// Where UTF-8 is required, the error for a UTF-16 file says so.
func TestTheErrorNamesUTF16(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	const text = "\xff\xfe{\x00}\x00"
	c := client(t, backend(t, tree(t, map[string]string{"d/x": text, "json": text, "other/x": "\xff"})))
	for key, utf16 := range map[string]bool{"d": true, "json#x": true, "other": false} {
		_, err := c.Get(t.Context(), key)
		is.Equal(secrets.Class(err), secrets.ErrMalformed)
		is.Equal(strings.Contains(err.Error(), "UTF-16"), utf16)
	}
	got, err := c.Get(t.Context(), "d/x") // readable as bytes
	is.NoErr(err)
	is.Equal(got.Reveal(), text)
}

// A Kubernetes Secret of 1 MiB, the maximum, is one document. Escapes of JSON do not count.
func TestAFullKubernetesSecretIsADocument(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := tree(t, map[string]string{"s/a": strings.Repeat("\"", 1<<19), "s/b": strings.Repeat("x", 1<<19)})
	_, err := get(t, backend(t, dir), "s")
	is.NoErr(err)
	write(t, dir, map[string]string{"s/c": "x"})
	_, err = get(t, backend(t, dir), "s")
	is.Equal(secrets.Class(err), secrets.ErrMalformed) // the control
}

// If a link replaces a file during a read, the backend follows it. It reports no loop of links and no outage.
func TestALinkThatReplacesAFileIsFollowed(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"y": canary, "z": canary})
	b := backend(t, dir)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		at := func(name string) string { return filepath.Join(dir, name) }
		for {
			select {
			case <-stop:
				return
			default:
				err := errors.Join(os.Symlink("z", at("l")), os.Rename(at("l"), at("y")),
					os.WriteFile(at("f"), []byte(canary), 0o600), os.Rename(at("f"), at("y")))
				if err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	for range 5000 {
		if got, err := get(t, b, "y"); err != nil || got != canary {
			t.Errorf("%q, %v", got, err)
			break
		}
	}
	close(stop)
	<-done
}

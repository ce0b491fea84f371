package file_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/file"
)

// tree creates a directory with files. A name that ends in a slash is a directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files)
	return dir
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		parent := filepath.Dir(full)
		if strings.HasSuffix(name, "/") {
			parent = full
		}
		if err := os.MkdirAll(parent, 0o755); err != nil { // some tests read it as another user
			t.Fatal(err)
		}
		if parent == full {
			continue
		}
		if err := os.WriteFile(full, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func link(t *testing.T, dir, target, name string) {
	t.Helper()
	if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func backend(t *testing.T, dir string, opts ...file.Option) *file.Backend {
	t.Helper()
	b, err := file.New(dir, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// client returns a Client for b.
func client(t *testing.T, b *file.Backend, opts ...secrets.Option) *secrets.Client {
	t.Helper()
	c, err := secrets.New(b, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func get(t *testing.T, b *file.Backend, path string) (string, error) {
	t.Helper()
	s, err := b.Fetch(t.Context(), secrets.Ref{Path: path})
	if err == nil && s.IsZero() {
		t.Error("the zero secret, without an error")
	}
	return s.Reveal(), err
}

// pair returns the files of a user name and a password that belong together.
func pair(prefix string, n int) map[string]string {
	return map[string]string{prefix + "user": "user" + strconv.Itoa(n), prefix + "password": "pass" + strconv.Itoa(n)}
}

// torn reports whether the two come from different updates.
func torn(user, password string) bool {
	return strings.TrimPrefix(user, "user") != strings.TrimPrefix(password, "pass")
}

const canary = "c4nary-value"

func TestFetch(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"token":             canary,
		"newline":           canary + "\n",
		"newlines":          canary + "\n\n",
		"windows":           canary + "\r\n",
		"spaces":            " a b \n",
		"binary":            "\xff\xfe\n",
		"empty":             "",
		"database/password": canary,
		"database/user":     "app\n",
		"odd %#?":           canary,
		".hidden":           canary,
		"größe":             canary,
		"a/b/c/d":           canary,
		"void/":             "",
		"nested/x":          "1",
		"nested/deep/y":     "2",
		"odd/a\"b":          "<&>\u2028\n\"",
		"mixed/ok":          canary,
		"mixed/bad":         "\xff" + canary,
		"dots/..x":          canary,
		"dots/y":            "1",
	})
	link(t, dir, "token", "link")
	link(t, dir, "database/../token", "winding")
	link(t, dir, "database", "db")
	link(t, dir, "loop", "loop")
	link(t, dir, "nothing", "dangling")
	link(t, filepath.Join(dir, "nested"), "nothing", "dangling")
	link(t, filepath.Join(dir, "nested"), "../token", "link")
	outside := tree(t, map[string]string{"canary": canary})
	link(t, dir, filepath.Join(outside, "canary"), "absolute")
	link(t, dir, filepath.Join(dir, "token"), "absolute inside")
	link(t, dir, "../"+filepath.Base(outside)+"/canary", "relative")
	link(t, dir, outside, "elsewhere")
	link(t, dir, "a/b/../../..", "above")
	write(t, dir, map[string]string{"escaping/x": "1"})
	link(t, filepath.Join(dir, "escaping"), filepath.Join(outside, "canary"), "y")
	link(t, filepath.Join(dir, "escaping"), "../../../../../../../../../../etc/passwd", "z")

	b := backend(t, dir)
	for _, tt := range []struct {
		path   string
		want   string
		err    error
		detail string
	}{
		{path: "token", want: canary},
		{path: "newline", want: canary},
		{path: "newlines", want: canary + "\n"},
		{path: "windows", want: canary},
		{path: "spaces", want: " a b "},
		{path: "binary", want: "\xff\xfe\n"},
		{path: "empty", want: ""},
		{path: "database/password", want: canary},
		{path: "odd %#?", want: canary},
		{path: ".hidden", want: canary},
		{path: "größe", want: canary},
		{path: "a/b/c/d", want: canary},
		{path: "link", want: canary},
		{path: "winding", want: canary},
		{path: "db/password", want: canary},

		{path: "database", want: `{"password":"` + canary + `","user":"app"}`},
		{path: "db", want: `{"password":"` + canary + `","user":"app"}`},
		{path: "void", err: secrets.ErrNotFound, detail: "void in " + dir + " is an empty directory"},
		{path: "a/b", err: secrets.ErrNotFound, detail: "a/b in " + dir + " is a directory without files of its own"},
		{path: "nested", want: `{"link":"` + canary + `","x":"1"}`},
		{path: "odd", want: `{"a\"b":"<&>\u2028\n\""}`},
		{path: "dots", want: `{"y":"1"}`},
		{path: "mixed", err: secrets.ErrMalformed, detail: "mixed/bad"},
		{path: "escaping", err: secrets.ErrInvalidKey, detail: "escaping/y"},

		{path: "missing", err: secrets.ErrNotFound, detail: "no file missing in " + dir},
		{path: "database/missing", err: secrets.ErrNotFound, detail: "no file database/missing in " + dir},
		{path: "missing/missing", err: secrets.ErrNotFound, detail: "no file missing/missing in " + dir},
		{path: "token/field", err: secrets.ErrNotFound, detail: "file#field"},
		{path: "link/field", err: secrets.ErrNotFound, detail: "file#field"},
		{path: "dangling", err: secrets.ErrNotFound, detail: "dangling"},
		{path: "loop", err: secrets.ErrInvalidKey, detail: "loop"},
		{path: strings.Repeat("x", 300), err: secrets.ErrInvalidKey, detail: "longer"},
		{path: strings.Repeat("x", 300) + "/y", err: secrets.ErrInvalidKey, detail: "longer"},

		{path: "absolute", err: secrets.ErrInvalidKey, detail: "leads out"},
		{path: "absolute inside", err: secrets.ErrInvalidKey, detail: "leads out"},
		{path: "relative", err: secrets.ErrInvalidKey, detail: "leads out"},
		{path: "elsewhere/canary", err: secrets.ErrInvalidKey, detail: "leads out"},
		{path: "elsewhere", err: secrets.ErrInvalidKey, detail: "leads out"},
		{path: "above", err: secrets.ErrInvalidKey, detail: "leads out"},

		{path: "", err: secrets.ErrInvalidKey},
		{path: ".", err: secrets.ErrInvalidKey},
		{path: "..", err: secrets.ErrInvalidKey},
		{path: "../" + filepath.Base(dir) + "/token", err: secrets.ErrInvalidKey},
		{path: "database/../token", err: secrets.ErrInvalidKey},
		{path: filepath.Join(dir, "token"), err: secrets.ErrInvalidKey},
		{path: "token/", err: secrets.ErrInvalidKey},
		{path: "database//user", err: secrets.ErrInvalidKey},
		{path: "token\x00", err: secrets.ErrInvalidKey},
		{path: "dots/..x", err: secrets.ErrInvalidKey, detail: "Kubernetes"},
		{path: "..data", err: secrets.ErrInvalidKey, detail: "Kubernetes"},
		{path: "..data/token", err: secrets.ErrInvalidKey, detail: "Kubernetes"},
		{path: "...", err: secrets.ErrInvalidKey, detail: "Kubernetes"},
	} {
		t.Run(tt.path, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			got, err := get(t, b, tt.path)
			is.Equal(secrets.Class(err), tt.err)
			is.Equal(got, tt.want)
			if err != nil {
				is.True(strings.Contains(err.Error(), tt.detail))
				is.True(!strings.Contains(err.Error(), canary))
				var e *secrets.Error
				is.True(errors.As(err, &e)) // no other error is wrapped
				is.Equal(e.Unwrap(), tt.err)
			} else if strings.HasPrefix(got, "{") {
				is.True(json.Valid([]byte(got)))
			}
		})
	}

	// The controls: the files that Fetch rejects exist and can be read.
	is := is.New(t)
	for _, name := range []string{"absolute", "elsewhere/canary", "escaping/y"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		is.NoErr(err)
		is.Equal(string(content), canary)
	}
}

func TestFetchRejectsVersionsAndFields(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	b := backend(t, tree(t, map[string]string{"token": canary}))
	_, err := b.Fetch(t.Context(), secrets.Ref{Path: "token", Version: "1"})
	is.Equal(secrets.Class(err), secrets.ErrInvalidKey)
	is.True(strings.Contains(err.Error(), "leave ?version= out"))
	_, err = b.Fetch(t.Context(), secrets.Ref{Path: "token", Field: "f"})
	is.Equal(secrets.Class(err), secrets.ErrInvalidKey)
}

func TestGetMany(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := client(t, backend(t, tree(t, map[string]string{"a": "1", "b": "2"})))
	found, err := c.GetMany(t.Context(), "b", "missing", "../a", "a", "b")
	is.Equal(len(found), 2)
	is.Equal(found["b"].Reveal(), "2")
	is.Equal(found["a"].Reveal(), "1")
	failures, ok := errors.AsType[secrets.Errors](err)
	is.True(ok && len(failures) == 2)
	is.Equal(secrets.Class(failures[0]), secrets.ErrNotFound)
	is.Equal(secrets.Class(failures[1]), secrets.ErrInvalidKey)
}

// A call for several files checks and answers each of them, even if the Client did not check them.
func TestFetchTogether(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	b := backend(t, tree(t, map[string]string{"a": "1", "b": "2"}))
	results := b.FetchTogether(t.Context(), secrets.Ref{Path: "b"}, secrets.Ref{Path: "../a"}, secrets.Ref{Path: "a"})
	is.Equal(len(results), 3)
	is.Equal(results[0].Secret.Reveal(), "2")
	is.Equal(secrets.Class(results[1].Err), secrets.ErrInvalidKey)
	is.Equal(results[2].Secret.Reveal(), "1")
	is.Equal(len(b.FetchTogether(t.Context())), 0)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, r := range b.FetchTogether(ctx, secrets.Ref{Path: "a"}, secrets.Ref{Path: "b"}) {
		is.Equal(r.Err, context.Canceled)
	}
}

// doneAfter is a context that ends after n calls of Err.
type doneAfter struct {
	context.Context
	n int
}

func (c *doneAfter) Err() error {
	if c.n--; c.n < 0 {
		return context.Canceled
	}
	return nil
}

func TestFetchChecksTheContextBetweenFiles(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	b := backend(t, tree(t, map[string]string{"a": "1", "b": "2", "d/a": "1", "d/b": "2"}))
	results := b.FetchTogether(&doneAfter{t.Context(), 2}, secrets.Ref{Path: "a"}, secrets.Ref{Path: "b"})
	is.Equal(results[0].Secret.Reveal(), "1")
	is.Equal(results[1].Err, context.Canceled)
	_, err := b.Fetch(&doneAfter{t.Context(), 4}, secrets.Ref{Path: "d"})
	is.Equal(err, context.Canceled) // between the files of a directory
	_, err = b.Fetch(&doneAfter{t.Context(), 5}, secrets.Ref{Path: "d"})
	is.NoErr(err) // the control
}

func TestResolve(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"database/password": canary, "database/keystore": "\xff", "database/deep/x": "1", "secret": canary,
		"database/.hidden": canary, "database/password~": canary,
		"json": `{"password":"x"}`,
	})
	link(t, filepath.Join(dir, "database"), "password", "link")
	link(t, filepath.Join(dir, "database"), "/etc/passwd", "out")
	link(t, dir, "database", "db")
	b, cached := backend(t, dir), backend(t, dir, file.WithCaching())
	const names = "database/..names" // the document of the file names, which does not have the field
	for _, tt := range []struct {
		key  secrets.Ref
		want string // the path it resolves to, names, or "" if it is unchanged
	}{
		{secrets.Ref{Path: "database"}, ""},
		{secrets.Ref{Path: "database/password", Whole: true}, ""},
		{secrets.Ref{Path: "database", Field: "password"}, "database/password"},
		{secrets.Ref{Path: "database", Field: "keystore"}, "database/keystore"},
		{secrets.Ref{Path: "database", Field: "link"}, "database/link"},
		{secrets.Ref{Path: "db", Field: "password"}, "db/password"},
		{secrets.Ref{Path: "database", Field: "password", Version: "1"}, "database/password"},
		{secrets.Ref{Path: "database", Field: "missing"}, names},
		{secrets.Ref{Path: "database", Field: "deep"}, names},
		{secrets.Ref{Path: "database", Field: "deep/x"}, names},
		{secrets.Ref{Path: "database", Field: `deep\x`}, names},
		{secrets.Ref{Path: "database", Field: "out"}, "database/out"}, // Fetch rejects it
		{secrets.Ref{Path: "database", Field: ".hidden"}, names},
		{secrets.Ref{Path: "database", Field: "password~"}, names},
		{secrets.Ref{Path: "database", Field: strings.Repeat("x", 300)}, names},
		{secrets.Ref{Path: "database", Field: strings.Repeat("x", 2039)}, ""}, // no key is longer
		{secrets.Ref{Path: "database", Field: ".."}, names},
		{secrets.Ref{Path: "database", Field: "."}, names},
		{secrets.Ref{Path: "database", Field: "../secret"}, names},
		{secrets.Ref{Path: "database", Field: "/secret"}, names},
		{secrets.Ref{Path: "..", Field: filepath.Base(dir)}, ""},
		{secrets.Ref{Path: "json", Field: "password"}, ""},
		{secrets.Ref{Path: "missing", Field: "password"}, ""},
	} {
		t.Run(tt.key.String(), func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			want := tt.key
			if tt.want != "" {
				want = secrets.Ref{Path: tt.want, Version: tt.key.Version}
			}
			if tt.want == names {
				want.Field = tt.key.Field
			}
			is.Equal(b.Info().Resolve(tt.key), want)
			is.Equal(cached.Info().Resolve(tt.key), tt.key)
		})
	}
}

// The table of keys in the package comment, through a Client.
func TestKeys(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := client(t, backend(t, tree(t, map[string]string{
		"json": `{"user":"app","password":"hunter2"}` + "\n", "dir/user": "app", "dir/password": "hunter2\n",
		"binary/password": "hunter2", "binary/key": "\xff",
	})))
	for key, want := range map[string]string{
		"json":            `{"user":"app","password":"hunter2"}`,
		"json#password":   "hunter2",
		"dir":             `{"password":"hunter2","user":"app"}`,
		"dir#password":    "hunter2",
		"dir/password":    "hunter2",
		"dir/password#":   "hunter2",
		"binary#password": "hunter2",
		"binary#key":      "\xff",
	} {
		s, err := c.Get(t.Context(), key)
		is.NoErr(err)
		is.Equal(s.Reveal(), want)
		is.Equal(s.Meta().Backend, "file")
		is.True(!s.Meta().FetchedAt.IsZero())
	}
	for key, class := range map[string]error{
		"json#port":              secrets.ErrFieldNotFound,
		"dir#port":               secrets.ErrFieldNotFound,
		"json/password":          secrets.ErrNotFound,
		"dir?version=1#password": secrets.ErrInvalidKey,
		"binary":                 secrets.ErrMalformed,
		"missing#x":              secrets.ErrNotFound,
	} {
		_, err := c.Get(t.Context(), key)
		is.Equal(secrets.Class(err), class)
	}
}

func TestMaxSize(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"10": strings.Repeat("x", 10), "11": strings.Repeat("x", 11), "d/a": "12345", "d/b": "123456", "names/0123456789a": "",
		"escapes/a": "\x01\x01", "fits/a": "1",
	})
	for _, tt := range []struct {
		path, want string
	}{
		{"10", strings.Repeat("x", 10)},
		{"11", ""},
		{"d", ""},
		{"d/b", "123456"},
		{"names", ""},
		{"escapes", `{"a":"\u0001\u0001"}`}, // escapes of JSON do not count
		{"fits", `{"a":"1"}`},
	} {
		t.Run(tt.path, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			got, err := get(t, backend(t, dir, file.WithMaxSize(10)), tt.path)
			is.Equal(got, tt.want)
			if tt.want == "" {
				is.Equal(secrets.Class(err), secrets.ErrMalformed)
				is.True(strings.Contains(err.Error(), "larger than 10 bytes"))
			}
		})
	}
	is := is.New(t)
	write(t, dir, map[string]string{"most": strings.Repeat("x", 1<<20), "more": strings.Repeat("x", 1<<20+1)})
	b := backend(t, dir)
	_, err := get(t, b, "most")
	is.NoErr(err)
	_, err = get(t, b, "more")
	is.Equal(secrets.Class(err), secrets.ErrMalformed) // the default is 1 MiB
}

func TestRawBytes(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	b := backend(t, tree(t, map[string]string{"d/a": "x\n", "d/b": "y\r\n"}), file.WithRawBytes())
	got, err := get(t, b, "d/a")
	is.NoErr(err)
	is.Equal(got, "x\n")
	got, err = get(t, b, "d")
	is.NoErr(err)
	is.Equal(got, `{"a":"x\n","b":"y\r\n"}`)
}

func TestVersion(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := tree(t, map[string]string{"a": "1", "b": "1", "d/x": "1"})
	b := backend(t, dir)
	version := func(b *file.Backend, path string) string {
		s, err := b.Fetch(t.Context(), secrets.Ref{Path: path})
		is.NoErr(err)
		is.Equal(len(s.Meta().Version), 16)
		return s.Meta().Version
	}
	first, dirFirst := version(b, "a"), version(b, "d")
	is.Equal(version(b, "a"), first)                // the same content
	is.True(version(b, "b") != first)               // equal content in another file has another version
	is.True(version(backend(t, dir), "a") != first) // each backend has its own versions: none can be looked up

	write(t, dir, map[string]string{"a": "2", "d/x": "2"})
	is.True(version(b, "a") != first)
	is.True(version(b, "d") != dirFirst)
	write(t, dir, map[string]string{"a": "1"})
	is.Equal(version(b, "a"), first) // depends on the content, not on the time
}

func TestOptions(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := t.TempDir()
	is.Equal(backend(t, dir).Info().Name, "file")
	is.Equal(backend(t, dir, file.WithName("a"), file.WithName("b")).Info().Name, "b")
	is.True(backend(t, dir).Info().Local)
	is.True(!backend(t, dir, file.WithCaching()).Info().Local)

	_, err := file.New("", nil, file.WithName(""), file.WithMaxSize(0), file.WithMaxSize(-1))
	for _, want := range []string{"directory is empty", "option 1 is nil", "WithName", "WithMaxSize: 0", "WithMaxSize: -1"} {
		is.True(strings.Contains(err.Error(), want)) // every fault is reported
	}
}

func TestNewNeedsADirectory(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := tree(t, map[string]string{"file": ""})
	_, err := file.New(filepath.Join(dir, "missing"))
	is.True(errors.Is(err, fs.ErrNotExist))
	is.True(strings.Contains(err.Error(), "missing"))
	_, err = file.New(filepath.Join(dir, "file"))
	is.True(err != nil)
	is.True(!errors.Is(err, fs.ErrNotExist))
}

func TestRelativeDirectory(t *testing.T) {
	is := is.New(t)
	dir := tree(t, map[string]string{"d/token": canary})
	t.Chdir(dir)
	b := backend(t, "d")
	t.Chdir(t.TempDir())
	got, err := get(t, b, "token")
	is.NoErr(err) // relative to the working directory at the time of New
	is.Equal(got, canary)
}

// A missing directory, as when a volume is not mounted, is an outage and not "not found". The control is a plain read, which cannot
// distinguish the two.
func TestAMissingDirectoryIsUnavailable(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	dir := filepath.Join(t.TempDir(), "d")
	write(t, dir, map[string]string{"token": canary})
	b := backend(t, dir)
	is.NoErr(os.RemoveAll(dir))

	_, control := os.ReadFile(filepath.Join(dir, "token"))
	is.True(errors.Is(control, fs.ErrNotExist))
	_, err := get(t, b, "token")
	is.Equal(secrets.Class(err), secrets.ErrUnavailable)
	is.True(strings.Contains(err.Error(), dir))
	ref := secrets.Ref{Path: "token", Field: "f"}
	is.Equal(b.Info().Resolve(ref), ref)

	write(t, dir, map[string]string{"token": "new"})
	got, err := get(t, b, "token")
	is.NoErr(err) // created again, it is read again
	is.Equal(got, "new")

	is.NoErr(os.RemoveAll(dir))
	is.NoErr(os.WriteFile(dir, nil, 0o600))
	_, err = get(t, b, "token")
	is.Equal(secrets.Class(err), secrets.ErrUnavailable) // a file in its place
}

// FuzzPath fetches any path and field: Fetch never reads outside the directory, and every error has a class that a key can cause.
func FuzzPath(f *testing.F) {
	parent := f.TempDir()
	dir := filepath.Join(parent, "base")
	for name, content := range map[string]string{
		"base/in": "inside", "base/d/in": "inside", "canary": canary, "other/canary": canary,
	} {
		full := filepath.Join(parent, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o700), os.WriteFile(full, []byte(content), 0o600)); err != nil {
			f.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"up": "..", "file": "../canary", "absolute": filepath.Join(parent, "canary"), "far": "d/../../other",
		"d/up": "../..", "ok": "d/in",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			f.Fatal(err)
		}
	}
	b, err := file.New(dir)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][2]string{
		{"in", ""}, {"d", "in"}, {"ok", ""}, {"../canary", ""}, {"up/canary", ""}, {"file", ""}, {"absolute", ""}, {"far/canary", ""},
		{"d/up/canary", ""}, {"up", "canary"}, {"far", "canary"}, {"d", "../../canary"}, {"..", "canary"}, {"/etc/passwd", ""},
		{filepath.Join(parent, "canary"), ""}, {"d/../../canary", ""}, {"in\x00", ""}, {"..data", ""},
		{"d\\..\\..\\canary", ""}, {".", ""}, {"", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, path, field string) {
		ref := b.Info().Resolve(secrets.Ref{Path: path, Field: field})
		ref.Field = ""
		s, err := b.Fetch(t.Context(), ref)
		if err == nil {
			switch s.Reveal() {
			case "inside", `{"in":"inside"}`, `{"in":null,"up":null}`:
			default:
				t.Fatalf("%q#%q: read %q", path, field, s.Reveal())
			}
			return
		}
		if strings.Contains(err.Error(), canary) {
			t.Fatalf("%q#%q: %v", path, field, err)
		}
		if !errors.Is(err, secrets.ErrInvalidKey) && !errors.Is(err, secrets.ErrNotFound) {
			t.Fatalf("%q#%q: %v", path, field, err)
		}
	})
}

// Fetch works after Close, so two Clients can share a backend.
func TestASecondClientWorksAfterTheFirstIsClosed(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	b := backend(t, tree(t, map[string]string{"a": "1"}))
	first, second := client(t, b), client(t, b)
	is.NoErr(first.Close())
	got, err := second.Get(t.Context(), "a")
	is.NoErr(err)
	is.Equal(got.Reveal(), "1")
	_, err = first.Get(t.Context(), "a") // the control
	is.True(errors.Is(err, secrets.ErrClosed))
}

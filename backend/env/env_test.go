package env_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
)

// lookup returns WithLookup for the variables of a map.
func lookup(variables map[string]string) env.Option {
	return env.WithLookup(func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	})
}

func client(t *testing.T, backend secrets.Backend) *secrets.Client {
	t.Helper()
	c, err := secrets.New(backend)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestFetch(t *testing.T) {
	t.Parallel()
	variables := map[string]string{
		"DATABASE":          `{"user":"app","password":"from json"}`,
		"DATABASE_PASSWORD": "hunter2",
		"database":          "exact",
		"api-key":           "exact odd",
		"API_KEY":           "portable",
		"EMPTY":             "",
		"A_B":               "a b",
		"_9LIVES":           "cat",
		"MY_DATABASE":       "prefixed",
		"MY_X_Y":            "prefixed x",
		"my-TOKEN":          "odd prefix",
		"GR__SSE":           "bytes",
		"NEWLINE":           "kept\n\n",
		"WINDOWS":           "\ufeff kept \r\n",
		"BINARY":            "\xff\n",
	}
	for _, tt := range []struct {
		name, prefix, path string
		want               string
		err                error
		detail             string
	}{
		{name: "exact name first", path: "database", want: "exact"},
		{name: "exact name with odd bytes", path: "api-key", want: "exact odd"},
		{name: "upper case", path: "Api-Key", want: "portable"},
		{name: "a variable by its own name", path: "DATABASE_PASSWORD", want: "hunter2"},
		{name: "slash", path: "database/password", want: "hunter2"},
		{name: "dot", path: "a.b", want: "a b"},
		{name: "space", path: "a b", want: "a b"},
		{name: "leading underscore and digit", path: "/9lives", want: "cat"},
		{name: "a variable that is set and empty is found", path: "empty", want: ""},
		{name: "each byte outside ASCII is one underscore", path: "größe", err: secrets.ErrNotFound, detail: "GR____E"},
		{
			name: "a letter outside ASCII with an upper case within it is an underscore",
			path: "ſet", err: secrets.ErrNotFound, detail: "__ET",
		},
		{name: "the prefix is verbatim", prefix: "MY_", path: "database", want: "prefixed"},
		{name: "prefix and slash", prefix: "MY_", path: "x/y", want: "prefixed x"},
		{name: "the prefix is not mapped", prefix: "my-", path: "token", want: "odd prefix"},
		{
			name: "no underscore is added", prefix: "MY", path: "database",
			err: secrets.ErrNotFound, detail: "neither MYdatabase nor MYDATABASE is set",
		},
		{
			name: "nothing outside the prefix", prefix: "MY_", path: "empty",
			err: secrets.ErrNotFound, detail: "neither MY_empty nor MY_EMPTY is set",
		},
		{name: "equal names are reported once", path: "MISSING", err: secrets.ErrNotFound, detail: "MISSING is not set"},
		{name: "one newline is removed", path: "newline", want: "kept\n"},
		{name: "a byte order mark is removed, and spaces stay", path: "windows", want: " kept "},
		{name: "bytes that are not text stay", path: "binary", want: "\xff\n"},
		{name: "no path", path: "", err: secrets.ErrInvalidKey, detail: "empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			b := env.New(lookup(variables), env.WithPrefix(tt.prefix))
			s, err := b.Fetch(t.Context(), secrets.Ref{Path: tt.path})
			is.True(errors.Is(err, tt.err)) // the class
			if tt.err != nil {
				is.True(strings.Contains(err.Error(), tt.detail)) // the detail
				return
			}
			is.True(!s.IsZero())
			is.Equal(s.Reveal(), tt.want)
			is.Equal(s.Meta().Version, "")
		})
	}
}

func TestFetchRejectsVersionsAndFields(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	b := env.New(lookup(map[string]string{"X": "value"}))
	_, err := b.Fetch(t.Context(), secrets.Ref{Path: "x", Version: "1"})
	is.True(errors.Is(err, secrets.ErrInvalidKey))                // a version
	is.True(strings.Contains(err.Error(), "leave ?version= out")) // a hint
	_, err = b.Fetch(t.Context(), secrets.Ref{Path: "x", Field: "f"})
	is.True(errors.Is(err, secrets.ErrInvalidKey)) // a field: the answer would be the whole document

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = b.Fetch(ctx, secrets.Ref{Path: "x"})
	is.Equal(err, context.Canceled)
}

func TestGetMany(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := client(t, env.New(lookup(map[string]string{"A": "1", "B": "2"})))
	found, err := c.GetMany(t.Context(), "b", "missing", "a", "b")
	is.Equal(len(found), 2)
	is.Equal(found["b"].Reveal(), "2")
	is.Equal(found["a"].Reveal(), "1")
	failures, ok := errors.AsType[secrets.Errors](err)
	is.True(ok && len(failures) == 1)
	is.Equal(failures[0].Key, "missing")
	is.True(errors.Is(failures[0], secrets.ErrNotFound))
}

func TestResolve(t *testing.T) {
	t.Parallel()
	variables := map[string]string{
		"DATABASE":          `{"user":"app","password":"from json"}`,
		"DATABASE_PASSWORD": "hunter2",
		"DATABASE_EMPTY":    "",
		"EXACT/field":       "exact",
	}
	whole := secrets.Ref{Path: "database", Whole: true}
	for _, tt := range []struct {
		name      string
		ref, want secrets.Ref
	}{
		{"no field", secrets.Ref{Path: "database"}, secrets.Ref{Path: "database"}},
		{"whole", whole, whole},
		{"set", secrets.Ref{Path: "database", Field: "password"}, secrets.Ref{Path: "database/password"}},
		{"set and empty", secrets.Ref{Path: "database", Field: "empty"}, secrets.Ref{Path: "database/empty"}},
		{"exact name", secrets.Ref{Path: "EXACT", Field: "field"}, secrets.Ref{Path: "EXACT/field"}},
		{"not set", secrets.Ref{Path: "database", Field: "user"}, secrets.Ref{Path: "database", Field: "user"}},
		{
			"a version is kept, so that Fetch rejects it", secrets.Ref{Path: "database", Field: "password", Version: "1"},
			secrets.Ref{Path: "database/password", Version: "1"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			is.Equal(env.New(lookup(variables)).Info().Resolve(tt.ref), tt.want)
		})
	}
}

// The table of keys in the package comment, through a Client.
func TestKeys(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := client(t, env.New(env.WithPrefix("P_"), lookup(map[string]string{
		"P_DATABASE":          `{"user":"app","password":"from json"}`,
		"P_DATABASE_PASSWORD": "hunter2",
	})))
	for key, want := range map[string]string{
		"database":           `{"user":"app","password":"from json"}`,
		"database/password":  "hunter2",
		"database#password":  "hunter2",
		"database#user":      "app",
		"database/password#": "hunter2",
	} {
		s, err := c.Get(t.Context(), key)
		is.NoErr(err)
		is.Equal(s.Reveal(), want)
		is.Equal(s.Meta().Backend, "env")
	}
	_, err := c.Get(t.Context(), "database#port")
	is.True(errors.Is(err, secrets.ErrFieldNotFound))
	_, err = c.Get(t.Context(), "database?version=2#password")
	is.True(errors.Is(err, secrets.ErrInvalidKey))
}

// The error for a missing field names the variable to set.
func TestNotFoundNamesTheVariableOfAField(t *testing.T) {
	t.Parallel()
	variables := map[string]string{"P_OBJECT": `{"user":"app"}`, "P_TEXT": "no JSON"}
	for _, tt := range []struct {
		key, want string
		opts      []env.Option
	}{
		{
			key: "database#password",
			want: "secrets: env: database#password: not found: neither P_database nor P_DATABASE is set; " +
				"P_DATABASE_PASSWORD, for the field alone, is not set either",
		},
		{
			key: "object#password",
			want: "secrets: env: object#password: field not found: the document has no field password; its one field is user; " +
				"P_OBJECT_PASSWORD, for the field alone, is not set either",
		},
		{
			key: "text#password",
			want: "secrets: env: text#password: malformed: the document is not JSON, or not JSON alone; " +
				"P_TEXT_PASSWORD, for the field alone, is not set either",
		},
		{key: "database", want: "secrets: env: database: not found: neither P_database nor P_DATABASE is set"},
		{
			key:  "DATABASE#password",
			opts: []env.Option{env.WithFiles()},
			want: "secrets: env: DATABASE#password: not found: P_DATABASE is not set, nor P_DATABASE_FILE; " +
				"P_DATABASE_PASSWORD or P_DATABASE_PASSWORD_FILE, for the field alone, is not set either",
		},
	} {
		t.Run(tt.key, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			c := client(t, env.New(append(tt.opts, env.WithPrefix("P_"), lookup(variables))...))
			_, err := c.Get(t.Context(), tt.key)
			is.Equal(err.Error(), tt.want)
		})
	}
	is := is.New(t)
	is.Equal(env.New().Info().Hint(secrets.Ref{Path: "database"}), "") // only fields have hints
}

func TestEnvironmentOfTheProcess(t *testing.T) {
	is := is.New(t)
	t.Setenv("SECRETS_ENV_TEST_TOKEN", "first")
	b := env.New(env.WithPrefix("SECRETS_ENV_TEST_"))
	s, err := b.Fetch(t.Context(), secrets.Ref{Path: "token"})
	is.NoErr(err)
	is.Equal(s.Reveal(), "first")
	t.Setenv("SECRETS_ENV_TEST_TOKEN", "second")
	s, err = b.Fetch(t.Context(), secrets.Ref{Path: "token"})
	is.NoErr(err)
	is.Equal(s.Reveal(), "second") // read again
	is.True(b.Info().Local)
}

func TestOptions(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	is.Equal(env.New().Info().Name, "env")
	is.NoErr(env.New().Info().Fault)
	is.Equal(env.New(env.WithName("a"), env.WithName("b")).Info().Name, "b")

	b := env.New(nil, env.WithLookup(nil), env.WithPrefix("A=B"), env.WithPrefix("A\x00"), env.WithName(""))
	for _, want := range []string{"option 1 is nil", "WithLookup", `"A=B"`, `"A\x00"`, "WithName"} {
		is.True(strings.Contains(b.Info().Fault.Error(), want)) // every fault is reported
	}
	_, err := secrets.New(b)
	is.True(errors.Is(err, b.Info().Fault)) // secrets.New reports the same faults
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFiles(t *testing.T) {
	t.Parallel()
	const canary = "c4nary-value"
	dir := t.TempDir()
	for _, tt := range []struct {
		name      string
		variables map[string]string
		path      string
		want      string
		err       error
		names     []string
	}{
		{name: "a file", variables: map[string]string{"TOKEN_FILE": write(t, "x", canary)}, path: "token", want: canary},
		{
			name: "one newline is removed", variables: map[string]string{"TOKEN_FILE": write(t, "x", canary+"\n\n")},
			path: "token", want: canary + "\n",
		},
		{
			name: "one CRLF is removed", variables: map[string]string{"TOKEN_FILE": write(t, "x", canary+"\r\n")},
			path: "token", want: canary,
		},
		{name: "spaces stay", variables: map[string]string{"TOKEN_FILE": write(t, "x", " a \n")}, path: "token", want: " a "},
		{
			name: "binary stays", variables: map[string]string{"TOKEN_FILE": write(t, "x", "\xff\n")},
			path: "token", want: "\xff\n",
		},
		{
			name: "an empty file is an empty secret", variables: map[string]string{"TOKEN_FILE": write(t, "x", "")},
			path: "token", want: "",
		},
		{name: "the exact name", variables: map[string]string{"token_FILE": write(t, "x", canary)}, path: "token", want: canary},
		{
			name: "the exact name first", variables: map[string]string{"token_FILE": write(t, "x", canary), "TOKEN": "other"},
			path: "token", want: canary,
		},
		{
			name: "a slash", variables: map[string]string{"DB_PASSWORD_FILE": write(t, "x", canary)},
			path: "db/password", want: canary,
		},
		{name: "the value alone", variables: map[string]string{"TOKEN": canary}, path: "token", want: canary},
		{
			name: "an empty NAME_FILE is not set", variables: map[string]string{"TOKEN": canary, "TOKEN_FILE": ""},
			path: "token", want: canary,
		},
		{
			name: "the largest", variables: map[string]string{"TOKEN_FILE": write(t, "x", strings.Repeat("x", 1<<20))},
			path: "token", want: strings.Repeat("x", 1<<20),
		},
		{
			name: "both", variables: map[string]string{"TOKEN": canary, "TOKEN_FILE": write(t, "x", canary)}, path: "token",
			err: secrets.ErrMalformed, names: []string{"TOKEN and", "TOKEN_FILE"},
		},
		{ // as the official Docker images and Compose files do
			name: "both, the value empty", variables: map[string]string{"TOKEN": "", "TOKEN_FILE": write(t, "x", canary)},
			path: "token", want: canary,
		},
		{
			name: "both, the value only a newline", variables: map[string]string{"TOKEN": "\n", "TOKEN_FILE": write(t, "x", canary)},
			path: "token", want: canary,
		},
		{
			name: "both empty", variables: map[string]string{"TOKEN": "", "TOKEN_FILE": ""},
			path: "token", want: "",
		},
		{
			name: "both, and the file is missing", variables: map[string]string{"TOKEN": "", "TOKEN_FILE": "/missing/" + canary},
			path: "token", err: secrets.ErrMalformed, names: []string{"TOKEN_FILE"},
		},
		{
			name: "a newline after the name of the file", variables: map[string]string{"TOKEN_FILE": write(t, "x", canary) + "\n"},
			path: "token", want: canary,
		},
		{name: "neither", path: "token", err: secrets.ErrNotFound, names: []string{"token", "TOKEN", "_FILE"}},
		{
			name: "an empty NAME_FILE alone", variables: map[string]string{"TOKEN_FILE": ""}, path: "token",
			err: secrets.ErrNotFound, names: []string{"token", "TOKEN", "_FILE"},
		},
		{
			name: "the value where the name of a file should be", variables: map[string]string{"TOKEN_FILE": canary}, path: "token",
			err: secrets.ErrMalformed, names: []string{"TOKEN_FILE"},
		},
		{
			name: "no such directory", variables: map[string]string{"TOKEN_FILE": write(t, "x", canary) + "/" + canary},
			path: "token", err: secrets.ErrMalformed, names: []string{"TOKEN_FILE"},
		},
		{
			name: "a name that is too long", variables: map[string]string{"TOKEN_FILE": strings.Repeat(canary, 1000)}, path: "token",
			err: secrets.ErrMalformed, names: []string{"TOKEN_FILE"},
		},
		{
			name: "a NUL", variables: map[string]string{"TOKEN_FILE": canary + "\x00"}, path: "token",
			err: secrets.ErrMalformed, names: []string{"TOKEN_FILE"},
		},
		{
			name: "a directory", variables: map[string]string{"TOKEN_FILE": dir}, path: "token",
			err: secrets.ErrMalformed, names: []string{"TOKEN_FILE", "not a regular file"},
		},
		{
			name: "too large", variables: map[string]string{"TOKEN_FILE": write(t, "x", strings.Repeat("x", 1<<20+1))}, path: "token",
			err: secrets.ErrMalformed, names: []string{"TOKEN_FILE", "1048576"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			b := env.New(env.WithFiles(), lookup(tt.variables))
			s, err := b.Fetch(t.Context(), secrets.Ref{Path: tt.path})
			if tt.err == nil {
				is.NoErr(err)
				is.True(!s.IsZero())
				is.Equal(s.Reveal(), tt.want)
				return
			}
			is.Equal(secrets.Class(err), tt.err)
			for _, name := range tt.names {
				is.True(strings.Contains(err.Error(), name)) // names the variables
			}
			is.True(!strings.Contains(err.Error(), canary)) // does not contain their values
		})
	}
}

func TestWithoutWithFilesNameFileIsAnOrdinaryVariable(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	b := env.New(lookup(map[string]string{"TOKEN_FILE": write(t, "x", "value")}))
	_, err := b.Fetch(t.Context(), secrets.Ref{Path: "token"})
	is.Equal(secrets.Class(err), secrets.ErrNotFound)
	s, err := b.Fetch(t.Context(), secrets.Ref{Path: "token/file"})
	is.NoErr(err)
	is.True(strings.HasSuffix(s.Reveal(), "x")) // the path in the variable
}

func TestResolveFiles(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	b := env.New(env.WithFiles(), lookup(map[string]string{
		"DATABASE":               `{"password":"from json","user":"app"}`,
		"DATABASE_PASSWORD_FILE": write(t, "x", "from file"),
		"DATABASE_USER_FILE":     "",
	}))
	c := client(t, b)
	s, err := c.Get(t.Context(), "database#password")
	is.NoErr(err)
	is.Equal(s.Reveal(), "from file")
	s, err = c.Get(t.Context(), "database#user")
	is.NoErr(err)
	is.Equal(s.Reveal(), "app") // an empty NAME_FILE is not set
}

// FuzzName checks that Fetch looks up the path as it is, then a name that a shell can set, and nothing outside the prefix.
func FuzzName(f *testing.F) {
	for _, path := range []string{"database", "database/password", "größe", "ſ", "\xff", "a=b", "A_B", "1"} {
		f.Add("P_", path)
		f.Add("", path)
	}
	f.Fuzz(func(t *testing.T, prefix, path string) {
		var names []string
		b := env.New(env.WithPrefix(prefix), env.WithLookup(func(name string) (string, bool) {
			names = append(names, name)
			return "", false
		}))
		if b.Info().Fault != nil {
			return
		}
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: path})
		if path == "" {
			if secrets.Class(err) != secrets.ErrInvalidKey || len(names) > 0 {
				t.Fatalf("an empty path: %v", err)
			}
			return
		}
		if secrets.Class(err) != secrets.ErrNotFound {
			t.Fatalf("class of %v", err)
		}
		if len(names) == 0 || len(names) > 2 || names[0] != prefix+path {
			t.Fatalf("looked up %q", names)
		}
		name, ok := strings.CutPrefix(names[len(names)-1], prefix)
		if !ok || len(name) != len(path) {
			t.Fatalf("looked up %q for %q", names, path)
		}
		for i := range len(name) {
			if c := name[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
				t.Fatalf("a shell cannot set %q", name)
			}
		}
	})
}

func BenchmarkFetch(b *testing.B) {
	backend := env.New(env.WithPrefix("MYAPP_"), env.WithLookup(func(name string) (string, bool) {
		return "value", name == "MYAPP_DATABASE_PASSWORD"
	}))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := backend.Fetch(b.Context(), secrets.Ref{Path: "database/password"}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	b.Setenv("MYAPP_DATABASE_PASSWORD", "value")
	resolve := env.New(env.WithPrefix("MYAPP_")).Info().Resolve
	b.ReportAllocs()
	for b.Loop() {
		if resolve(secrets.Ref{Path: "database", Field: "password"}).Field != "" {
			b.Fatal("not resolved")
		}
	}
}

func BenchmarkClientGet(b *testing.B) {
	b.Setenv("MYAPP_DATABASE_PASSWORD", "value")
	c, err := secrets.New(env.New(env.WithPrefix("MYAPP_")))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Get(b.Context(), "database/password"); err != nil {
			b.Fatal(err)
		}
	}
}

// Close does nothing, so two Clients can share a backend.
func TestASecondClientWorksAfterTheFirstIsClosed(t *testing.T) {
	is := is.New(t)
	b := env.New(lookup(map[string]string{"A": "1"}))
	first, second := client(t, b), client(t, b)
	is.NoErr(first.Close())
	got, err := second.Get(t.Context(), "A")
	is.NoErr(err)
	is.Equal(got.Reveal(), "1")
	_, err = first.Get(t.Context(), "A") // the control
	is.True(errors.Is(err, secrets.ErrClosed))
}

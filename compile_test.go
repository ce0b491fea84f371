package secrets_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/matryer/is"
)

const module = "github.com/seed-5482dd03/secrets"

// snippets type-checks functions that import this module.
type snippets struct {
	fset     *token.FileSet
	importer types.Importer
}

// newSnippets reads the compiler's export data of the packages that snippets use.
func newSnippets(t *testing.T) *snippets {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Export",
		".", "./middleware/cache", "./middleware/dedup", "./middleware/redact", "./middleware/fallback", "./backend/env")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	exports := make(map[string]string)
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p map[string]string
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p["ImportPath"]] = p["Export"]
	}
	fset := token.NewFileSet()
	open := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	return &snippets{fset, importer.ForCompiler(fset, "gc", open)}
}

// check returns the first fault of code, which may use the packages of the layers and a backend b.
func (s *snippets) check(t *testing.T, code string) error {
	t.Helper()
	const head = `package snippet

import (
	"context"

	"` + module + `"
	"` + module + `/backend/env"
	"` + module + `/middleware/cache"
	"` + module + `/middleware/dedup"
	"` + module + `/middleware/fallback"
	"` + module + `/middleware/redact"
)

var (
	_ context.Context
	_ cache.Cache
	_ dedup.Dedup
	_ fallback.Fallback
	_ redact.Redactor
	b = env.New()
)

`
	file, err := parser.ParseFile(s.fset, "snippet.go", head+code, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	config := types.Config{Importer: s.importer}
	_, err = config.Check("snippet", s.fset, []*ast.File{file}, nil)
	return err
}

// The compiler finds mistakes in composition. Each case has the same code with and without the mistake.
func TestMistakesDoNotCompile(t *testing.T) {
	s := newSnippets(t)
	for name, tc := range map[string]struct{ good, bad, want string }{
		"a layer in the slot of another": {
			`var _, _ = secrets.New(b, secrets.WithDedup(dedup.New()))`,
			`var _, _ = secrets.New(b, secrets.WithCache(dedup.New()))`, "missing method NewCache",
		},
		"a cache as middleware": {
			`var _, _ = secrets.New(b, secrets.WithCache(cache.New()))`,
			`var _, _ = secrets.New(b, secrets.WithMiddleware(cache.New()))`, "missing method Wrap",
		},
		"redaction as backend middleware": {
			`var _, _ = secrets.New(b, secrets.WithRedaction(redact.New()))`,
			`var _, _ = secrets.New(b, secrets.WithBackendMiddleware(redact.New()))`, "missing method Wrap",
		},
		"middleware as a cache": {
			`var m secrets.Middleware; var _, _ = secrets.New(b, secrets.WithMiddleware(m))`,
			`var m secrets.Middleware; var _, _ = secrets.New(b, secrets.WithCache(m))`, "missing method NewCache",
		},
		// It wraps a cache, and would hide Invalidate and Close from the Client.
		"middleware around a cache": {
			`type own struct{ *cache.Cache }
			var _, _ = secrets.New(b, secrets.WithCache(own{cache.New()}))`,
			`type own struct{ memory *cache.Cache }
			func (o own) Wrap(next secrets.Fetcher) secrets.Fetcher { return next }
			var _, _ = secrets.New(b, secrets.WithCache(own{cache.New()}))`, "missing method",
		},
		"a fallback that is a backend": {
			`var _, _ = secrets.New(b, secrets.WithFallback(fallback.To(b)))`,
			`var _, _ = secrets.New(b, secrets.WithFallback(b))`, "missing method",
		},
		"a backend without an end": {
			`type own struct{ secrets.Backend }
			var _, _ = secrets.New(own{b})`,
			`type own struct{ secrets.Fetcher }
			func (own) Info() secrets.Info { return secrets.Info{Name: "own"} }
			var _, _ = secrets.New(own{b})`, "missing method Close",
		},
		"a fresh read by a context": {
			`func _(ctx context.Context, c *secrets.Client) { c.Refresh(ctx, "a") }`,
			`func _(ctx context.Context, c *secrets.Client) { c.Get(secrets.WithFresh(ctx), "a") }`, "undefined: secrets.WithFresh",
		},
		"a second way to fetch": {
			`func _(ctx context.Context, f secrets.Fetcher) { f.Fetch(ctx, secrets.Ref{}) }`,
			`func _(ctx context.Context, f secrets.Fetcher) { f.FetchMany(ctx, nil) }`, "f.FetchMany undefined",
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.NoErr(s.check(t, tc.good)) // the control
			err := s.check(t, tc.bad)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v is not %q", err, tc.want)
			}
		})
	}
}

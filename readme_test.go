package secrets_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

// TestReadme holds README.md and docs/ to code that compiles: each block of Go in them stands, line by line, in one file of the
// examples. A line "// …" leaves lines out.
func TestReadme(t *testing.T) {
	is := is.New(t)
	sources, n := exampleSources(t), 0
	for page, text := range pages(t) {
		for _, block := range goBlocks(text) {
			n++
			if !shownIn(sources, block) {
				t.Errorf("no example has this block of %s:\n%s", page, block)
			}
		}
	}
	is.True(n > 20) // blocks were found
}

// The check must be able to fail.
func TestReadmeCheckFails(t *testing.T) {
	is := is.New(t)
	sources := []string{"a := 1\n\tb := 2\n\n\tc := 3\n"}
	is.True(shownIn(sources, "a := 1\nb := 2\n"))       // whatever the indent
	is.True(shownIn(sources, "a := 1\n// …\nc := 3\n")) // with lines left out
	is.True(!shownIn(sources, "a := 1\nc := 3\n"))      // not without a mark
	is.True(!shownIn(sources, "c := 3\n// …\na := 1\n"))
	is.True(!shownIn(sources, "a := 2\n"))
	is.True(!shownIn(sources, ":= 1\n"))
}

// TestOptionsAreDocumented looks for every option in README.md and docs/. That its default is right there is for a person to see to.
func TestOptionsAreDocumented(t *testing.T) {
	is := is.New(t)
	var documented strings.Builder
	for _, text := range pages(t) {
		documented.WriteString(text)
	}

	option := regexp.MustCompile(`(?m)^func ((?:With|On|To)\w*)\(`)
	var options int
	for _, pattern := range []string{"*.go", "backend/*/*.go", "middleware/*/*.go", "detect/*.go", "secretstest/*.go", "use/*/*.go"} {
		files, err := filepath.Glob(pattern)
		is.NoErr(err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			is.NoErr(err)
			for _, match := range option.FindAllStringSubmatch(string(source), -1) {
				options++
				if !strings.Contains(documented.String(), match[1]+"(") {
					t.Errorf("README.md and docs/ do not have %s of %s", match[1], file)
				}
			}
		}
	}
	is.True(options > 20) // options were found
}

// The first page is one that people read to its end.
func TestReadmeIsShort(t *testing.T) {
	is := is.New(t)
	info, err := os.Stat("README.md")
	is.NoErr(err)
	is.True(info.Size() <= 12<<10)
}

// TestLinks follows the links of README.md, docs/ and the other pages to files and headings.
func TestLinks(t *testing.T) {
	is := is.New(t)
	all, n := pages(t), 0
	for page, text := range all {
		text = regexp.MustCompile("(?ms)^```.*?^```$|`[^`\n]*`").ReplaceAllString(text, "")
		for _, match := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
			target, anchor, hasAnchor := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			n++
			name := page
			if target != "" {
				name = filepath.ToSlash(filepath.Join(filepath.Dir(page), target))
			}
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s links to %s, which does not exist", page, match[1])
			} else if hasAnchor && !slices.Contains(anchors(all[name]), anchor) {
				t.Errorf("%s links to %s, which has no such heading", page, match[1])
			}
		}
	}
	is.True(n > 50) // links were found
}

// anchors returns what GitHub makes of the headings of a page.
func anchors(text string) (all []string) {
	for _, match := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N}\- _]`).ReplaceAllString(strings.ToLower(match[1]), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}

// pages returns the texts of all pages for people, by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, pattern := range []string{"*.md", "docs/*.md", "internal/*/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all[filepath.ToSlash(name)] = unixLines(string(text))
		}
	}
	return all
}

func exampleSources(t *testing.T) []string {
	t.Helper()
	var sources []string
	for _, pattern := range []string{
		"example*_test.go", "readme_test.go", "examples/*/*.go", "*/*/example*_test.go", "*/example*_test.go",
		"*/*/*/example*_test.go",
	} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sources = append(sources, string(source))
		}
	}
	return sources
}

func goBlocks(markdown string) []string {
	matches := regexp.MustCompile("(?ms)^```go$\n(.*?)^```$").FindAllStringSubmatch(unixLines(markdown), -1)
	blocks := make([]string, len(matches))
	for i, match := range matches {
		blocks[i] = match[1]
	}
	return blocks
}

func unixLines(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// shownIn reports whether one of sources has the pieces of block, which its lines "// …" divide, one after the other.
func shownIn(sources []string, block string) bool {
	for _, source := range sources {
		rest, found := flat(source), true
		for piece := range strings.SplitSeq(flat(block), "\n// …\n") {
			piece = strings.Trim(piece, "\n")
			if piece == "" {
				continue // the block begins or ends with "// …"
			}
			if _, rest, found = strings.Cut("\n"+rest, "\n"+piece+"\n"); !found {
				break
			}
		}
		if found {
			return true
		}
	}
	return false
}

// flat takes indents and empty lines away.
func flat(text string) string {
	var b strings.Builder
	b.WriteByte('\n')
	for line := range strings.Lines(unixLines(text)) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// TestPayInAnOutage is the test that README.md shows.
func TestPayInAnOutage(t *testing.T) {
	backend := secretstest.NewBackend(map[string]string{"api/token": "canary-7f3Kq9ZxWv2m"})
	client, err := secrets.New(backend)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	backend.Fail(secrets.ErrUnavailable)
	err = NewShop(client).Pay(t.Context()) // the code under test
	if !errors.Is(err, secrets.ErrUnavailable) {
		t.Error(err)
	}
	secretstest.AssertNoLeak(t, "canary-7f3Kq9ZxWv2m", err)
}

// TestPay is the table test that docs/testing.md shows.
func TestPay(t *testing.T) {
	const canary = "canary-7f3Kq9ZxWv2m"
	for name, tc := range map[string]struct {
		prepare func(*secretstest.Backend)
		want    error
	}{
		"paid":    {func(*secretstest.Backend) {}, nil},
		"missing": {func(b *secretstest.Backend) { b.Remove("api/token") }, secrets.ErrNotFound},
		"denied":  {func(b *secretstest.Backend) { b.Fail(secrets.ErrPermissionDenied) }, secrets.ErrPermissionDenied},
		"outage":  {func(b *secretstest.Backend) { b.Fail(secrets.ErrUnavailable) }, secrets.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			backend := secretstest.NewBackend(map[string]string{"api/token": canary})
			tc.prepare(backend)
			client, err := secrets.New(backend)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()

			err = NewShop(client).Pay(t.Context())
			if !errors.Is(err, tc.want) {
				t.Errorf("Pay: %v, want %v", err, tc.want)
			}
			secretstest.AssertNoLeak(t, canary, err)
		})
	}
}

// TestStore holds the backend of ExampleBackend to what a backend promises.
func TestStore(t *testing.T) {
	serve := func(t *testing.T, answer http.HandlerFunc) secrets.Backend {
		t.Helper()
		server := httptest.NewServer(answer)
		t.Cleanup(server.Close)
		store, err := NewStore(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	failing := func(code int) func(*testing.T, string) (secrets.Backend, string) {
		return func(t *testing.T, secret string) (secrets.Backend, string) {
			t.Helper()
			return serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, secret, code) }), "database"
		}
	}
	secretstest.Run(t,
		func(t *testing.T, documents map[string]string) secrets.Backend {
			t.Helper()
			return serve(t, func(w http.ResponseWriter, r *http.Request) {
				document, found := documents[strings.TrimPrefix(r.URL.Path, "/v1/")]
				if !found {
					http.NotFound(w, r)
					return
				}
				_, _ = w.Write([]byte(document))
			})
		},
		secretstest.WithBinary(),
		secretstest.WithFailure(secrets.ErrUnauthenticated, failing(http.StatusUnauthorized)),
		secretstest.WithFailure(secrets.ErrPermissionDenied, failing(http.StatusForbidden)),
		secretstest.WithFailure(secrets.ErrUnavailable, failing(http.StatusServiceUnavailable)),
		secretstest.WithStall(func(t *testing.T) (secrets.Backend, string) {
			t.Helper()
			return serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), "database"
		}),
	)
}

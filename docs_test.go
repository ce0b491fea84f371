package secrets_test

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
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

// TestOptionsAreDocumented holds the tables of options in docs/ to the doc comments: each option has a row, and the figures, names and
// variables of its default are in that row.
func TestOptionsAreDocumented(t *testing.T) {
	is := is.New(t)
	rows := make(map[string][]string)
	for _, text := range pages(t) {
		for _, row := range regexp.MustCompile(`(?m)^\| .*`).FindAllString(text, -1) {
			for _, option := range regexp.MustCompile("`(\\w+)\\(").FindAllStringSubmatch(row, -1) {
				rows[option[1]] = append(rows[option[1]], row)
			}
		}
	}
	options, facts := 0, 0
	walkSources(t, func(file, source string) {
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "internal/") || strings.HasPrefix(file, "use/internal/") {
			return
		}
		for _, match := range optionFunc.FindAllStringSubmatch(source, -1) {
			options++
			comment, name := match[1], match[2]
			if len(rows[name]) == 0 {
				t.Errorf("no table has %s of %s", name, file)
			}
			for _, fact := range factsOf(comment) {
				facts++
				if !slices.ContainsFunc(rows[name], func(row string) bool { return strings.Contains(row, fact) }) {
					t.Errorf("no row of %s has %s, which %s says is its default", name, fact, file)
				}
			}
		}
	})
	is.True(options > 60) // options were found
	is.True(facts > 30)
	is.Equal(factsOf("// WithX sets x.\n// Default: 5 minutes, which\n// is 300 seconds.\n"), []string{"5 min"}) // the check can fail
}

// optionFunc matches the doc comment and the name of a function that returns an option.
var optionFunc = regexp.MustCompile(`((?:(?m:^)//.*\n)+)func ((?:To|OnNotFound|[A-Z]\w*))(?:\[.*?\])?\(.*\) (?:\w*Option|\*Policy)\b`)

// factsOf returns the figures, quoted names and variables in the default that a doc comment states, with the units of docs/.
func factsOf(comment string) []string {
	text := strings.Join(strings.Fields(strings.ReplaceAll(comment, "//", " ")), " ")
	_, text, _ = strings.Cut(text, "Default: ")
	text = regexp.MustCompile(`(\. |;|, which|, since|, because|, so).*`).ReplaceAllString(text, "")
	text = strings.NewReplacer(" minutes", " min", " hours", " h", " hour", " h", " seconds", " s").Replace(text)
	return regexp.MustCompile(`\d(?:[\d,.]*\d)?(?: (?:MiB|min|h|s)\b)?|"[^"]+"|[A-Z]+_[A-Z_]+|/[a-z/]+`).FindAllString(text, -1)
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

// TestTestPatterns holds each -run, -bench and -fuzz in the pages to a test in the packages of its command. A command that runs no test
// passes, and shows nothing.
func TestTestPatterns(t *testing.T) {
	is := is.New(t)
	names, n := testNames(t), 0
	command := regexp.MustCompile(`-(?:run|bench|fuzz)[= ]('[^']+'|\w+)((?: \.[\w./]*)*)`)
	for page, text := range pages(t) {
		for _, match := range command.FindAllStringSubmatch(text, -1) {
			for alternative := range strings.SplitSeq(strings.Trim(match[1], "'"), `\|`) {
				n++
				if alternative != "^$" && !names.has(alternative, strings.Fields(match[2])) {
					t.Errorf("%s has the pattern %s, which is the name of no test in%s", page, alternative, match[2])
				}
			}
		}
	}
	is.True(n > 15) // patterns were found
	is.True(names.has("TestTestPatterns", []string{"."}))
	is.True(!names.has("TestTestPatterns", []string{"./bind"})) // the check can fail
}

// testFiles are the names of tests, benchmarks and fuzz targets, by directory.
type testFiles map[string][]string

// has reports whether a test in packages, or anywhere if there are none, matches pattern.
func (f testFiles) has(pattern string, packages []string) bool {
	matches := regexp.MustCompile(pattern).MatchString
	for dir, names := range f {
		in := len(packages) == 0 || slices.ContainsFunc(packages, func(p string) bool {
			tree, all := strings.CutSuffix(path.Clean(p), "/...")
			return all && (tree == "." || strings.HasPrefix(dir+"/", tree+"/")) || path.Clean(p) == dir || p == "./..."
		})
		if in && slices.ContainsFunc(names, matches) {
			return true
		}
	}
	return false
}

// TestDesignNamesExist holds DESIGN.md to names that are in the files that it names for them.
func TestDesignNamesExist(t *testing.T) {
	is := is.New(t)
	sources := make(map[string]string)
	walkSources(t, func(file, source string) { sources[file] = source })
	missing := func(page string) (missing []string, n int) {
		for _, match := range regexp.MustCompile("([a-z/]+\\.go), `(\\w+)`(?: and `(\\w+)`)?").FindAllStringSubmatch(page, -1) {
			for _, name := range match[2:] {
				n++
				word := regexp.MustCompile(`(?m)^(?:func (?:\([^)]*\) )?|type )` + name + `\b`)
				if !slices.ContainsFunc(slices.Collect(maps.Keys(sources)), func(file string) bool {
					return strings.HasSuffix("/"+file, "/"+match[1]) && word.MatchString(sources[file])
				}) {
					missing = append(missing, match[1]+": "+name)
				}
			}
		}
		return missing, n
	}
	none, n := missing(pages(t)["DESIGN.md"])
	is.Equal(none, nil)
	is.True(n > 10)
	one, _ := missing("| a rule | poll.go, `noSuchName` |")
	is.Equal(len(one), 1) // the check can fail
}

// testNames returns the names of all tests, those of nested modules too.
func testNames(t *testing.T) testFiles {
	t.Helper()
	names := make(testFiles)
	walkSources(t, func(file, source string) {
		if !strings.HasSuffix(file, "_test.go") {
			return
		}
		for _, match := range regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)\w+)\(`).FindAllStringSubmatch(source, -1) {
			names[path.Dir(file)] = append(names[path.Dir(file)], match[1])
		}
	})
	return names
}

// walkSources calls f with each Go file of the repository.
func walkSources(t *testing.T, f func(file, source string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && file != "." {
			return fs.SkipDir // of caches and git
		}
		if err != nil || filepath.Ext(file) != ".go" {
			return err
		}
		source, err := os.ReadFile(file)
		f(filepath.ToSlash(file), string(source))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

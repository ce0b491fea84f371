package secrets_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
)

const module = "github.com/seed-5482dd03/secrets"

// listed is what go list says of a package.
type listed struct {
	ImportPath string   `json:"ImportPath"` //nolint:tagliatelle // as go list has it
	Standard   bool     `json:"Standard"`   //nolint:tagliatelle // as go list has it
	Imports    []string `json:"Imports"`    //nolint:tagliatelle // as go list has it; without those of tests
	Deps       []string `json:"Deps"`       //nolint:tagliatelle // as go list has it
}

func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	// -e, so that a package which does not compile just now is another test's failure.
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list", "-e", "-json=ImportPath,Standard,Imports,Deps"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// under reports whether path is one of the packages, or below one.
func under(path string, packages ...string) bool {
	return slices.ContainsFunc(packages, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
}

// heavy reports whether path is of an SDK that a program should compile only if it uses it.
func heavy(path string) bool {
	return under(path, "github.com/aws", "github.com/hashicorp/vault", "go.opentelemetry.io")
}

// faultyDeps returns what p must not compile. root is held to the standard library, and what needs no SDK to none.
func faultyDeps(p listed) []string {
	rel := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
	var bad []string
	for _, dep := range p.Deps {
		// The standard library has no dot in the first element; what it has vendored stands below vendor.
		first, _, _ := strings.Cut(dep, "/")
		foreign := strings.Contains(first, ".")
		switch {
		case rel == "" && foreign,
			under(rel, "backend/env", "backend/file", "secretstest", "internal", "examples/minimal", "examples/quickstart") && heavy(dep),
			under(rel, "middleware") && !under(rel, "middleware/tracing") && heavy(dep),
			under(rel, "backend/vault") && heavy(dep) && !under(dep, "github.com/hashicorp/vault"),
			under(rel, "backend/awssm") && heavy(dep) && !under(dep, "github.com/aws"),
			under(rel, "middleware/tracing") && heavy(dep) && !under(dep, "go.opentelemetry.io"),
			under(rel, "detect") && under(dep, "go.opentelemetry.io"): // it needs both SDKs, and does not trace
			bad = append(bad, dep)
		}
	}
	return bad
}

// faultyImports returns the packages of ours that p must not import: the arrows point from backends and layers to root, and
// from detect, the examples and the standard stack alone to backends and layers.
func faultyImports(p listed) []string {
	rel := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
	if under(rel, "detect", "examples") {
		return nil
	}
	var bad []string
	for _, path := range p.Imports {
		own, found := strings.CutPrefix(path, module)
		own = strings.TrimPrefix(own, "/")
		switch {
		case !found, rel != "" && under(own, "internal"):
		case rel != "" && own == "" && !under(rel, "internal"): // the engines in internal know nothing of secrets
		case rel == "middleware" && under(own, "middleware") && own != "middleware/tracing": // the standard stack, without OTel
		case under(own, rel) && rel != "" && strings.Contains(rel, "/"): // its own parts
		default:
			bad = append(bad, path)
		}
	}
	return bad
}

func TestImports(t *testing.T) {
	packages := goList(t, "./...")
	if len(packages) == 0 || packages[0].ImportPath != module {
		t.Fatalf("go list finds %v", packages)
	}
	for _, p := range packages {
		if bad := faultyDeps(p); len(bad) > 0 {
			t.Errorf("%s compiles %v", p.ImportPath, bad)
		}
		if bad := faultyImports(p); len(bad) > 0 {
			t.Errorf("%s imports %v", p.ImportPath, bad)
		}
	}
	// go list itself knows best what is of the standard library.
	for _, dep := range goList(t, "-deps", ".") {
		if !dep.Standard && dep.ImportPath != module {
			t.Errorf("the root package compiles %s", dep.ImportPath)
		}
	}
}

// The control: each of these breaks a rule.
func TestImportRulesCatch(t *testing.T) {
	is := is.New(t)
	for rel, dep := range map[string]string{
		"":                    "golang.org/x/sync/singleflight",
		"backend/env":         "github.com/aws/smithy-go",
		"backend/file":        "go.opentelemetry.io/otel/trace",
		"backend/vault":       "github.com/aws/aws-sdk-go-v2/aws",
		"backend/awssm":       "github.com/hashicorp/vault/api",
		"middleware":          "go.opentelemetry.io/otel",
		"middleware/cache":    "go.opentelemetry.io/otel/metric",
		"middleware/tracing":  "github.com/hashicorp/vault/api",
		"middleware/fallback": "github.com/aws/aws-sdk-go-v2/service/secretsmanager",
		"detect":              "go.opentelemetry.io/otel",
		"secretstest":         "go.opentelemetry.io/otel",
		"internal/x":          "github.com/aws/smithy-go",
		"examples/minimal":    "go.opentelemetry.io/otel/trace",
	} {
		p := listed{ImportPath: strings.TrimSuffix(module+"/"+rel, "/"), Deps: []string{"fmt", "vendor/golang.org/x/net/dns/dnsmessage", dep}}
		is.Equal(faultyDeps(p), []string{dep})
	}
	for rel, own := range map[string]string{
		"":                   "backend/env",
		"backend/env":        "middleware/cache",
		"backend/file":       "backend/env",
		"backend/vault":      "secretstest",
		"middleware/cache":   "middleware/dedup",
		"middleware/tracing": "middleware/cache",
		"middleware":         "middleware/tracing",
		"secretstest":        "backend/env",
		"backend/awssm":      "detect",
		"internal/x":         "detect",
		"internal/y":         "",
	} {
		path := strings.TrimSuffix(module+"/"+own, "/")
		p := listed{ImportPath: strings.TrimSuffix(module+"/"+rel, "/"), Imports: []string{"fmt", path}}
		is.Equal(faultyImports(p), []string{path})
	}
	for rel, own := range map[string]string{
		"backend/env": "", "backend/vault": "internal/x", "middleware": "middleware/cache", "detect": "backend/vault", "examples/quickstart": "middleware",
		"backend/vault/fake": "",
	} {
		p := listed{ImportPath: module + "/" + rel, Imports: []string{strings.TrimSuffix(module+"/"+own, "/")}}
		is.Equal(faultyImports(p), nil)
	}
}

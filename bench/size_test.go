package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/matryer/is"
)

// program is a directory below programs.
type program struct {
	dir, does string
	quick     bool // it is built in the tests too, since it compiles little
}

func programs() []program {
	return []program{
		{"empty", "control: an empty `main`", true},
		{"env-raw", "env: `os.LookupEnv`", true},
		{"env-bare", "env: **secrets** without layers", true},
		{"env", "env: **secrets**", true},
		{"file-raw", "file: `os.ReadFile`", true},
		{"file", "file: **secrets**", true},
		{"vault-raw", "Vault: hashicorp/vault/api", false},
		{"vault", "Vault: **secrets**", false},
		{"aws-raw", "AWS: aws-sdk-go-v2", false},
		{"aws-caching", "AWS: aws-secretsmanager-caching-go", false},
		{"aws", "AWS: **secrets**", false},
		{"detect", "all of them: **secrets** with detect", false},
		{"setec", "setec: its client", false},
	}
}

// sizeTable builds the programs.
func sizeTable(t *testing.T, full bool) *table {
	t.Helper()
	is := is.New(t)
	made := &table{
		title:   "What a program that reads one secret weighs",
		text:    "`go build -trimpath -ldflags='-s -w'` of the programs in `bench/programs`, and the modules that `go version -m` lists.",
		columns: []string{"program", "MB", "beside empty", "modules"},
	}
	dir := t.TempDir()
	megabytes := make(map[string]float64)
	for _, p := range programs() {
		if !full && !p.quick {
			continue
		}
		progress("size: %s", p.dir)
		file := filepath.Join(dir, p.dir)
		build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, "./programs/"+p.dir)
		out, err := build.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", p.dir, err, out)
		}
		stat, err := os.Stat(file)
		must(t, err)
		info, err := buildinfo.ReadFile(file)
		must(t, err)
		mb := float64(stat.Size()) / 1e6
		megabytes[p.dir] = mb
		made.add(p.does, fmt.Sprintf("%.1f", mb), fmt.Sprintf("+%.1f", mb-megabytes["empty"]), fmt.Sprint(len(info.Deps)))
		switch p.dir {
		case "empty", "env-raw", "file-raw":
			is.Equal(len(info.Deps), 0) // the standard library only
		case "env-bare":
			is.Equal(len(info.Deps), 2) // this module and golang.org/x/sys
		}
	}
	is.True(megabytes["empty"] < megabytes["env-raw"])
	is.True(megabytes["env-raw"] < megabytes["env-bare"])
	is.True(megabytes["env-bare"] < megabytes["env"])
	return made
}

// Every program is in the table.
func TestPrograms(t *testing.T) {
	is := is.New(t)
	found, err := os.ReadDir("programs")
	is.NoErr(err)
	is.Equal(len(found), len(programs()))
	for _, p := range programs() {
		_, err := os.Stat(filepath.Join("programs", p.dir, "main.go"))
		is.NoErr(err)
	}
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, os.Stderr, os.Args[1:])
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run measures, prints the tables to out, and what happens meanwhile to progress.
func run(ctx context.Context, out, progress io.Writer, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := flags.Int("rounds", 30, "rounds of the table hit")
	each := flags.Duration("for", 20*time.Millisecond, "time of a row of the table hit in each round")
	held := flags.Int("secrets", 100, "secrets that each row of the table hit holds")
	svg := flags.String("svg", "", "a file for a picture of the table hit")
	only := flags.String("only", "hit,calls,outage,size", "the tables")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	test := []string{
		"-claims=" + filepath.Join(dir, "claims.md"), fmt.Sprintf("-rounds=%d", *rounds), fmt.Sprintf("-for=%v", *each),
		fmt.Sprintf("-secrets=%d", *held), "-svg=" + *svg, "-only=" + *only,
	}
	err = measure(ctx, progress, test)
	if err == nil {
		err = show(out, os.DirFS(dir))
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func measure(ctx context.Context, progress io.Writer, args []string) error {
	args = append([]string{"test", "-count=1", "-timeout=0", "-run=^TestClaims$", "-args"}, args...)
	test := exec.CommandContext(ctx, "go", args...) //nolint:gosec // the flags have been parsed
	test.Stdout, test.Stderr = progress, progress
	if err := test.Run(); err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	return nil
}

func show(out io.Writer, dir fs.FS) error {
	tables, err := fs.ReadFile(dir, "claims.md")
	if err != nil {
		return err
	}
	_, err = out.Write(tables)
	return err
}

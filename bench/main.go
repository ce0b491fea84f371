package main

import (
	"context"
	"flag"
	"fmt"
	"io"
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
	rounds := flags.Int("rounds", 6, "rounds of the table hit")
	each := flags.Duration("for", 100*time.Millisecond, "time of a row of the table hit in each round")
	only := flags.String("only", "hit,calls,outage,size", "the tables")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "claims.md")
	test := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout=0", "-run=^TestClaims$", "-args",
		"-claims="+file, fmt.Sprintf("-rounds=%d", *rounds), fmt.Sprintf("-for=%v", *each), "-only="+*only)
	test.Stdout, test.Stderr = progress, progress
	if err := test.Run(); err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	tables, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	_, err = out.Write(tables)
	return err
}

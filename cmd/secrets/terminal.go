package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// coloured reports whether what is written to f may have colours: https://no-color.org.
func coloured(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(f)
}

// patience is how long a command waits before it says that it does.
const patience = time.Second

// waiting runs f. If that takes longer than a second and there is a terminal, it says so there, and takes the line away at the end.
func waiting(f func() error) error {
	if !isTerminal(os.Stderr) {
		return f()
	}
	done := make(chan error, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	began := time.Now()
	for shown := false; ; {
		select {
		case err := <-done:
			if shown {
				fmt.Fprint(os.Stderr, "\r\033[K")
			}
			return err
		case <-timer.C:
			fmt.Fprintf(os.Stderr, "\r\033[Kwaiting for an answer: %d s", int(time.Since(began).Seconds()))
			shown = true
			timer.Reset(time.Second)
		}
	}
}

// exactly makes a command take n arguments, which are what.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return usage("%d arguments, and not %s", len(args), what)
		}
		return nil
	}
}

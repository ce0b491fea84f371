package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-5482dd03/secrets"
)

func newCheck(s *source) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check KEY... | -f FILE",
		Short: "Check that keys can be read, without printing a value",
		Long: `Check reads keys in one batch and prints a table of them, without a value. The exit code is that of the worst key. Use it in an
init container and in CI. A file has one key per line. Empty lines and lines that begin with "# " do not count. A program can print its own
keys with bind.Keys.`,
		Example: `  secrets check database#password api#token
  secrets check -f keys.txt
  ./server -keys | secrets check -f -`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			keys, err := keysOf(args, file, cmd.InOrStdin())
			if err != nil {
				return err
			}
			client, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, client.Close()) }()
			var found map[string]secrets.Secret
			err = waiting(func() (err error) {
				found, err = client.GetMany(cmd.Context(), keys...)
				return err
			})
			failures, ok := errors.AsType[secrets.Errors](err)
			if err != nil && !ok {
				return err
			}
			return report(os.Stdout, keys, found, failures, time.Now(), coloured(os.Stdout))
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "a file with keys, or - for standard input")
	return cmd
}

// keysOf returns the keys of args and of the file, each once, in order.
func keysOf(args []string, file string, stdin io.Reader) (keys []string, err error) {
	var text []byte
	switch file {
	case "":
	case "-":
		text, err = io.ReadAll(stdin)
	default:
		text, err = os.ReadFile(file) //nolint:gosec // the user names it
	}
	if err != nil {
		return nil, usage("the keys: %w", err)
	}
	for line := range strings.Lines(strings.TrimPrefix(string(text), "\ufeff")) {
		if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" && line != "#" && !strings.HasPrefix(line, "# ") {
			args = append(args, line)
		}
	}
	for _, key := range args {
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, usage("no keys; name some, or a file with -f")
	}
	return keys, nil
}

// report writes the table, and returns an error without a text if a key was not found.
func report(
	out io.Writer, keys []string, found map[string]secrets.Secret, failures secrets.Errors, now time.Time, colour bool,
) error {
	code := exitFound
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(table, strings.Join(cells, "\t")) } //nolint:errcheck // Flush returns it
	row("KEY", "BACKEND", "VERSION", "AGE", paint("CLASS", "39", colour), "HINT")   // as wide as the coloured cells
	for _, key := range keys {
		if secret, ok := found[key]; ok {
			meta := secret.Meta()
			row(printable(key), meta.Backend, version(meta), age(meta.CreatedAt, now), paint("found", "32", colour), "")
			continue
		}
		for _, failure := range failures {
			if failure.Key == key {
				code = worse(code, exitCode(failure))
				row(printable(key), orDash(failure.Backend), "-", "-", paint(className(failure.Err), "31", colour), failure.Detail)
			}
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if code != exitFound {
		return &exitError{code: code}
	}
	return nil
}

// className is the text of a class without the prefix of the library.
func className(class error) string { return strings.TrimPrefix(class.Error(), "secrets: ") }

// version returns the version for a table. Those of variables and files are fingerprints, which differ from run to run.
func version(meta secrets.Meta) string {
	switch {
	case meta.Version == "" || meta.Backend == "env" || meta.Backend == "file":
		return "-"
	case len(meta.Version) > 16:
		return meta.Version[:12] + "…"
	default:
		return meta.Version
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// age returns how old a version is, in its largest unit.
func age(created, now time.Time) string {
	if created.IsZero() {
		return "-"
	}
	switch d := now.Sub(created); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(max(0, d).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// printable quotes a key that would disturb the table or the terminal.
func printable(key string) string {
	if quoted := fmt.Sprintf("%q", key); quoted != `"`+key+`"` {
		return quoted
	}
	return key
}

func paint(text, code string, colour bool) string {
	if !colour {
		return text
	}
	return "\033[" + code + "m" + text + "\033[0m"
}

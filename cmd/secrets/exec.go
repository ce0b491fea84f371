package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware/redact"
)

// The exit codes of a program that cannot be started, as shells and env(1) have them.
const (
	exitCannotRun = 126
	exitNoProgram = 127
)

// launch is what exec is asked to start, and how.
type launch struct {
	env, files, only      []string
	pristine, mask, watch bool
	signalName            string
	grace, interval       time.Duration

	path      string // of the program
	args      []string
	variables []target
	mounted   *files
	keys      []string
	signal    os.Signal // or nil: then a change restarts the program
	redactor  *redact.Redactor
	hold      func(ctx context.Context, values map[string]secrets.Secret) error // see holder
	chain     []string                                                          // the backends that are asked after the first
}

// target is a variable or a file, and the key of its value.
type target struct{ name, key string }

func newExec(s *source) *cobra.Command {
	var l launch
	cmd := &cobra.Command{
		Use:   "exec [--env NAME=KEY]... [--file PATH=KEY]... -- PROGRAM [ARG]...",
		Short: "Run a program with secrets in variables or files",
		Long: `Exec reads all keys in one batch and then runs the program. If a key cannot be read, nothing is started.
Values arrive byte for byte. No value is in an argument, and none is on a disk.

The program inherits the variables of the caller, also those that configure secrets, such as VAULT_TOKEN. With --only it inherits
just the named ones, and with --pristine none. A variable of --env replaces an inherited one.

Without --file, --mask and --watch, the program takes the place of the command on Unix: signals, exit code and terminal are its own.
Otherwise the program is a child. The command passes signals on, and ends with the exit code of the program, or with 128 and the number
of the signal that ended it.

--file needs Linux and a file system in memory (tmpfs or ramfs). A relative path lies in a new directory, which the program gets as
SECRETS_DIR. A file that is there is replaced. Files have mode 0600, and are removed at the end. Only a SIGKILL leaves them behind.
A tmpfs may be swapped out: use a machine without swap, or with encrypted swap.

--mask replaces values in what the program writes by [REDACTED]. The output of the program is then a pipe, not a terminal. Not masked are
values of less than 8 bytes, of letters alone and of digits alone, and what the program has changed beyond common escapes and encodings.

--watch looks for changes every --interval. If a value has changed, the command reads all keys again. Then it ends the program with
SIGTERM, after --grace with SIGKILL, and starts it again. With --signal it writes the files anew and sends that signal instead; variables
keep their values. It never acts while a key cannot be read, nor when another backend of the chain has taken over.

Exit codes: those of the program; 127 if there is no such program, and 126 if it cannot be run.`,
		Example: `  secrets exec --env DB_PASSWORD=database#password -- ./server
  secrets exec --file tls.key=tls#tls.key --file tls.crt=tls#tls.crt -- sh -c 'server -certs "$SECRETS_DIR"'
  secrets exec --env TOKEN=api#token --pristine --mask -- ./job
  secrets exec --env DB_PASSWORD=database#password --watch -- ./server
  secrets exec --file /run/app/password=database#password --watch --signal HUP -- ./server`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("only") && len(l.only) == 0 { // as of an empty variable
				l.pristine = true
			}
			if err := l.prepare(args); err != nil {
				return err
			}
			return l.run(cmd.Context(), s)
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	flags.StringArrayVar(&l.env, "env", nil, "a variable of the program, as NAME=KEY")
	flags.StringArrayVar(&l.files, "file", nil, "a file of the program, as PATH=KEY")
	flags.BoolVar(&l.pristine, "pristine", false, "inherit no variables")
	flags.StringSliceVar(&l.only, "only", nil, "inherit these variables and no others, as NAME,NAME")
	flags.BoolVar(&l.mask, "mask", false, "mask the values in what the program writes")
	flags.BoolVar(&l.watch, "watch", false, "restart the program when a value changes")
	flags.StringVar(&l.signalName, "signal", "", "with --watch: write the files anew and send this signal, such as HUP")
	flags.DurationVar(&l.grace, "grace", 10*time.Second, "time between SIGTERM and SIGKILL of a restart")
	flags.DurationVar(&l.interval, "interval", 10*time.Second, "how often --watch asks the backend")
	return cmd
}

// prepare checks all that needs no secret.
func (l *launch) prepare(args []string) (err error) {
	if len(args) == 0 {
		return usage("exec: no program; write it after --")
	}
	if l.signalName != "" {
		switch l.signal = signalNamed(l.signalName); {
		case l.signal == nil:
			return usage("exec: --signal %s: there is no such signal here; write a name such as HUP", printable(l.signalName))
		case !l.watch:
			return usage("exec: --signal says what --watch does; add --watch")
		case len(l.files) == 0:
			return usage("exec: --signal: variables of a running program cannot change; use --file, or leave --signal away to restart it")
		}
	}
	if l.interval <= 0 || l.grace < 0 {
		return usage("exec: --interval must be more than 0, and --grace not less")
	}
	if err := l.checkVariables(); err != nil {
		return err
	}
	files, err := l.targets("--file", "PATH", l.files)
	if err != nil {
		return err
	}
	if l.mounted, err = newFiles(files); err != nil {
		return err
	}
	if l.mounted.base != "" && slices.ContainsFunc(l.variables, func(v target) bool { return v.name == directoryVariable }) {
		return usage("exec: --env %s: the program gets the directory of --file there; take another name", directoryVariable)
	}
	if l.path, err = exec.LookPath(args[0]); err != nil {
		return notStarted(args[0], err)
	}
	l.args, l.redactor = args, redact.New(redact.WithMaxBytes(maskBytes))
	return nil
}

// targets takes the list of a flag apart, and notes the keys.
func (l *launch) targets(flag, name string, list []string) (all []target, err error) {
	var faults []error
	for _, entry := range list {
		before, key, ok := strings.Cut(entry, "=")
		if !ok {
			return nil, usage("exec: %s %s: no key; write %s=KEY", flag, printable(entry), name)
		}
		if _, err := secrets.ParseRef(key); err != nil {
			faults = append(faults, err)
		}
		same := func(t target) bool { return canonical(t.name) == canonical(before) }
		if flag == "--file" {
			same = func(t target) bool { return filepath.Clean(t.name) == filepath.Clean(before) }
		}
		if slices.ContainsFunc(all, same) {
			return nil, usage("exec: %s %s is given twice; leave one of them away", flag, printable(before))
		}
		all = append(all, target{before, key})
		if !slices.Contains(l.keys, key) {
			l.keys = append(l.keys, key)
		}
	}
	return all, errors.Join(faults...)
}

// run reads the secrets and runs the program. The error has the exit code of the program, if it has run.
func (l *launch) run(ctx context.Context, s *source) error {
	names, err := s.names()
	if err != nil {
		return err
	}
	l.chain = names[1:]
	client, err := s.open(ctx, secrets.WithRedaction(l.redactor))
	switch {
	case ctx.Err() != nil:
		return interrupted()
	case err != nil:
		return err
	}
	shut := sync.OnceFunc(func() { warn(client.Close()) }) // the exit code is that of the program
	defer shut()
	var values map[string]secrets.Secret
	err = waiting(func() (err error) {
		values, err = client.GetMany(ctx, l.keys...)
		return err
	})
	switch {
	case ctx.Err() != nil:
		return interrupted()
	case err != nil:
		return err
	}
	if err := l.checkValues(values); err != nil {
		return err
	}
	if canReplace && !l.watch && !l.mask && len(l.mounted.list) == 0 {
		shut() // nothing of it is needed any more
		if ctx.Err() != nil {
			return interrupted()
		}
		return notStarted(l.args[0], replace(l.path, l.args, l.environment(values)))
	}
	return l.supervise(ctx, client, values)
}

func interrupted() error { return errors.New("secrets: exec: interrupted; nothing was started") }

// notStarted says why a program cannot be started.
func notStarted(program string, err error) error {
	program = printable(program)
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("secrets: exec: %s: there is no such program, or no interpreter of it; check its name and PATH", program)
		return &exitError{exitNoProgram, err}
	case errors.Is(err, syscall.E2BIG):
		err = fmt.Errorf("secrets: exec: %s: the variables are too large for the system; pass large values with --file", program)
	default:
		if lookup, ok := errors.AsType[*exec.Error](err); ok {
			err = lookup.Err // the rest is the name
		} else if path, ok := errors.AsType[*fs.PathError](err); ok {
			err = path.Err
		}
		err = fmt.Errorf("secrets: exec: %s cannot be run: %w; check its mode and format", program, err)
	}
	return &exitError{exitCannotRun, err}
}

// warn writes err to stderr, without an end of the command.
func warn(err error) {
	if err != nil {
		for _, line := range lines(err) {
			fmt.Fprintln(os.Stderr, line)
		}
	}
}

// Secrets reads secrets in a shell as services read them with package secrets: from environment variables, files, HashiCorp Vault and
// AWS Secrets Manager, chosen by the same variables.
//
//	secrets get database#password | wc -c
//	secrets check -f keys.txt
//	secrets why database#password
//	secrets exec --env DB_PASSWORD=database#password -- ./server
//	secrets policy --backend vault database#password
//
// docs/command.md has the rest.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ends := []os.Signal{syscall.SIGTERM}
	if !signal.Ignored(os.Interrupt) { // as it is in the background of a script; a program of exec inherits that
		ends = append(ends, os.Interrupt)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	context.AfterFunc(ctx, stop) // a second signal ends the command as it would without this
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// run runs the command with args, and returns its exit code.
func run(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		for _, line := range lines(err) {
			fmt.Fprintln(os.Stderr, line)
		}
	}
	return exitCode(err)
}

// newRoot returns the command with all subcommands.
func newRoot() *cobra.Command {
	var s source
	root := &cobra.Command{
		Use:   "secrets",
		Short: "Read secrets from variables, files, Vault and AWS, as services do",
		Long: `Secrets reads secrets from environment variables, files, HashiCorp Vault and AWS Secrets Manager. It chooses the backend by the
same variables as package detect. So what works in a shell works in a service.

Exit codes: 0 found, 2 not found, 3 denied, 4 unavailable, 5 bad key or usage, 1 anything else.`,
		Example: `  secrets get database#password | wc -c
  secrets check database#password api#token
  secrets why database#password
  secrets exec --env DB_PASSWORD=database#password -- ./server`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("there is no command %q; see secrets --help", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	s.flags(root.PersistentFlags())
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	root.AddCommand(newGet(&s), newCheck(&s), newWhy(&s), newExec(&s), newPolicy(&s), newVersion())
	return root
}

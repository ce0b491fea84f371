package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/seed-5482dd03/secrets"
)

func newGet(s *source) *cobra.Command {
	var (
		reveal, asJSON bool
		output         string
	)
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Print a secret to a pipe or a file",
		Long:  `Get prints the value of a secret, byte for byte, to a pipe or to a file. To a terminal it prints the value only with --reveal.`,
		Example: `  secrets get database#password | psql-with-password
  secrets get tls#tls.key -o /run/app/tls.key
  secrets get database --json --reveal`,
		Args: exactly(1, "a key"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if output == "" && !reveal && isTerminal(os.Stdout) {
				return usage("the output is a terminal: add --reveal, or use a pipe or -o FILE")
			}
			client, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, client.Close()) }()
			var secret secrets.Secret
			err = waiting(func() (err error) {
				secret, err = client.Get(cmd.Context(), args[0])
				return err
			})
			if err != nil {
				return err
			}
			value := secret.Bytes()
			if asJSON {
				if value, err = toJSON(secret); err != nil {
					return err
				}
			}
			if output != "" {
				return replaceFile(output, value)
			}
			if isTerminal(os.Stdout) && !bytes.HasSuffix(value, []byte("\n")) {
				value = append(value, '\n')
			}
			if _, err = os.Stdout.Write(value); err != nil {
				return fmt.Errorf("secrets: the output: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&reveal, "reveal", false, "print to a terminal too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: a document as an indented object, any other value as a string")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this file, with mode 0600, in one step")
	return cmd
}

// toJSON returns a document as an indented object, and any other text as a JSON string.
func toJSON(s secrets.Secret) ([]byte, error) {
	var b bytes.Buffer
	var object map[string]json.RawMessage
	if s.JSON(&object) == nil && object != nil { // it refuses what a reader could read in two ways
		if json.Indent(&b, s.Bytes(), "", "  ") == nil {
			b.WriteByte('\n')
			return b.Bytes(), nil
		}
	}
	if !utf8.ValidString(s.Reveal()) {
		return nil, errors.New("secrets: the value is not UTF-8, which JSON needs; leave --json out")
	}
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(s.Reveal())
	return b.Bytes(), err
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/detect"
)

// The providers, as detect names them.
const (
	providerEnv   = "env"
	providerFile  = "file"
	providerVault = "vault"
	providerAWS   = "aws"
)

func newPolicy(s *source) *cobra.Command {
	var (
		file    string
		version int
		batch   bool
	)
	cmd := &cobra.Command{
		Use:   "policy KEY... | -f FILE",
		Short: "Print the least policy that lets keys be read",
		Long: `Policy prints the least policy that lets these keys be read: HCL for Vault, JSON for IAM of AWS. It is for the first
backend of the chain that has policies. It reads no secret, makes no network calls, and needs no token of Vault.

Vault: write the policy in the namespace of the mount. A policy takes a segment +, a * at the end and {{ }} for patterns,
and has no escape for them: such keys are refused.

AWS: the library reads three secrets or more with one BatchGetSecretValue, and each still needs GetSecretValue. IAM allows
batches for all secrets or none. Without them, the library reads one by one: --batch=false leaves them out. A secret that is
encrypted with a key of your own also needs kms:Decrypt on that key.`,
		Example: `  secrets policy --backend vault database#password api#token
  secrets policy --backend aws -f keys.txt
  ./server -keys | secrets policy -f - | vault policy write server -`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if version != 1 && version != 2 {
				return usage("policy: --kv-version %d; there are 1 and 2", version)
			}
			keys, err := keysOf(args, file, cmd.InOrStdin())
			if err != nil {
				return err
			}
			backend, provider, err := s.governed(cmd.Context(), version)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, backend.Close()) }()
			info := backend.Info()
			if provider == providerVault {
				return printHCL(os.Stdout, info, keys)
			}
			var together *bool
			if cmd.Flags().Changed("batch") {
				together = &batch
			}
			return printIAM(os.Stdout, info, keys, together)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "a file with keys, or - for standard input")
	cmd.Flags().IntVar(&version, "kv-version", 2, "the version of the KV secrets engine of Vault, 1 or 2")
	cmd.Flags().BoolVar(&batch, "batch", false, "allow BatchGetSecretValue of AWS (default: for three secrets or more)")
	return cmd
}

// governed makes the first backend of the chain that has policies. A policy does not depend on the server of Vault, nor on a token.
func (s *source) governed(ctx context.Context, version int) (b secrets.Backend, provider string, err error) {
	names, err := s.names()
	if err != nil {
		return nil, "", err
	}
	var others []string
	for _, name := range names {
		if name == providerEnv || name == providerFile {
			others = append(others, name)
			continue
		}
		b, detection, err := backend(ctx, name, detect.WithVault(
			vault.WithKVVersion(version), vault.WithAddress("https://localhost"), vault.WithoutToken()))
		if err != nil {
			return nil, "", &exitError{exitUsage, err}
		}
		if detection.Provider == providerVault || detection.Provider == providerAWS {
			return b, detection.Provider, nil
		}
		others = append(others, detection.Provider)
		if err := b.Close(); err != nil {
			return nil, "", err
		}
	}
	return nil, "", usage("policy: no policy is needed for %s; name a backend that has policies: --backend vault or --backend aws",
		strings.Join(others, " and "))
}

// byPlace returns the keys of each document, by where it is. fault says why there can be no policy for a place, or "".
func byPlace(info secrets.Info, keys []string, fault func(place string) string) (map[string][]string, error) {
	all := make(map[string][]string)
	var faults []error
	for _, key := range keys {
		ref, err := secrets.ParseRef(key)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		places := located(info, ref)
		if len(places) == 0 {
			faults = append(faults, fmt.Errorf("secrets: policy: %s: %s can have no such secret; check the name and the version",
				printable(key), info.Name))
		}
		for _, place := range places {
			if what := fault(place); what != "" {
				faults = append(faults, fmt.Errorf("secrets: policy: %s: %s", printable(key), what))
			}
			all[place] = append(all[place], key)
		}
	}
	if len(faults) > 0 {
		return nil, &exitError{exitUsage, errors.Join(faults...)}
	}
	return all, nil
}

// located returns where the document of ref is, or nothing if the backend does not say.
func located(info secrets.Info, ref secrets.Ref) (places []string) {
	if info.Locate == nil {
		return nil
	}
	defer func() { _ = recover() }() // the code of others
	return info.Locate(ref)
}

// printHCL writes a policy of Vault.
func printHCL(out io.Writer, info secrets.Info, keys []string) error {
	documents, err := byPlace(info, keys, pattern)
	if err != nil {
		return err
	}
	var text strings.Builder
	for i, path := range slices.Sorted(maps.Keys(documents)) {
		if i > 0 {
			text.WriteByte('\n')
		}
		var names []string
		for _, key := range documents[path] {
			names = append(names, printable(key))
		}
		fmt.Fprintf(&text, "# %s\n%s\n", strings.Join(names, ", "), rule(path))
	}
	_, err = io.WriteString(out, text.String())
	return err
}

// rule returns the line of a policy of Vault that grants to read path. In HCL, ${ would begin an expression.
func rule(path string) string {
	return `path ` + strings.ReplaceAll(strconv.Quote(path), "${", `\u0024{`) + ` { capabilities = ["read"] }`
}

// pattern says why a policy of Vault cannot name path alone, or "". See
// https://developer.hashicorp.com/vault/docs/concepts/policies#policy-syntax and, that there is no escape,
// https://github.com/hashicorp/vault/blob/main/vault/policy.go.
func pattern(path string) string {
	switch {
	case slices.Contains(strings.Split(path, "/"), "+"):
		return "a policy of Vault takes the segment + for any name, and has no escape for it; rename the secret"
	case strings.HasSuffix(path, "*"), strings.Contains(path, "+*"):
		return "a policy of Vault takes the * for any name, and has no escape for it; rename the secret"
	case strings.Contains(path, "{{"), strings.Contains(path, "}}"):
		return "a policy of Vault takes {{ and }} for a template, and has no escape for them; rename the secret"
	default:
		return ""
	}
}

// iamPolicy is https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html.
type iamPolicy struct {
	Version   string         `json:"Version"`   //nolint:tagliatelle // IAM names it so
	Statement []iamStatement `json:"Statement"` //nolint:tagliatelle // IAM names it so
}

type iamStatement struct {
	Effect   string   `json:"Effect"`   //nolint:tagliatelle // IAM names it so
	Action   string   `json:"Action"`   //nolint:tagliatelle // IAM names it so
	Resource []string `json:"Resource"` //nolint:tagliatelle // IAM names it so
}

const (
	actionGet   = "secretsmanager:GetSecretValue"
	actionBatch = "secretsmanager:BatchGetSecretValue"
	// batchFrom is from how many secrets on the library uses a batch.
	batchFrom = 3
)

// printIAM writes a policy of IAM. Batches are allowed as together says, or if it is nil, as the library uses them.
func printIAM(out io.Writer, info secrets.Info, keys []string, together *bool) error {
	documents, err := byPlace(info, keys, func(string) string { return "" }) // names and ARNs of secrets have neither *, ? nor $
	if err != nil {
		return err
	}
	allow := func(action string, on ...string) iamStatement { return iamStatement{"Allow", action, on} }
	var resources []string
	for _, place := range slices.Sorted(maps.Keys(documents)) {
		resources = append(resources, resource(place, info.Endpoint(secrets.Ref{Path: place})))
	}
	slices.Sort(resources)
	policy := iamPolicy{"2012-10-17", []iamStatement{allow(actionGet, slices.Compact(resources)...)}}
	if together == nil && len(documents) >= batchFrom || together != nil && *together {
		policy.Statement = append(policy.Statement, allow(actionBatch, "*"))
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(policy)
}

// complete matches the end of an ARN that is complete: the service adds a hyphen and 6 characters to the name.
var complete = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)

// resource returns what a policy of IAM calls the secret with that name, in any account, or ARN.
func resource(place, region string) string {
	const suffix = "-??????"
	switch {
	case !strings.HasPrefix(place, "arn:"):
		return "arn:" + partition(region) + ":secretsmanager:" + region + ":*:secret:" + place + suffix
	case complete.MatchString(place):
		return place
	default:
		return place + suffix
	}
}

// partition returns the partition of a region. See
// https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html.
func partition(region string) string {
	for _, p := range [][2]string{
		{"cn-", "aws-cn"}, {"us-gov-", "aws-us-gov"}, {"us-iso-", "aws-iso"}, {"us-isob-", "aws-iso-b"}, {"us-isof-", "aws-iso-f"},
		{"eu-isoe-", "aws-iso-e"}, {"eusc-", "aws-eusc"},
	} {
		if strings.HasPrefix(region, p[0]) {
			return p[1]
		}
	}
	return "aws"
}

package detect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/internal/faults"
	"github.com/seed-5482dd03/secrets/internal/text"
)

// build returns the backend of the provider in d.
func (c *config) build(ctx context.Context, d Detection, place, dir string, seen dirState) (secrets.Backend, error) {
	var backend secrets.Backend
	var err error
	switch d.Provider {
	case provEnv:
		backend, err = c.newEnv()
	case provFile:
		if c.get(varPath) != "" {
			dir = c.get(varPath)
		} else if c.typed() {
			return nil, c.noPath(d, place, seen)
		}
		backend, err = file.New(dir, c.file...)
	case provVault:
		// With c.variable, a blank variable counts as not set there too.
		backend, err = vault.New(slices.Concat([]vault.Option{vault.WithLookup(c.variable)}, c.vault)...)
	case provAWS:
		backend, err = awssm.New(ctx, slices.Concat(c.awsOptions(), c.aws)...)
	default:
		return c.newOwn(ctx, d.Provider)
	}
	switch {
	case err == nil:
		return backend, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		return nil, c.incomplete(d, err)
	}
}

func (c *config) newEnv() (*env.Backend, error) {
	opts := []env.Option{env.WithPrefix(c.get(varPrefix))}
	if c.injected { // os.LookupEnv alone is known to wait for nothing
		opts = append(opts, env.WithLookup(c.lookup))
	}
	backend := env.New(append(opts, c.env...)...)
	return backend, backend.Info().Fault
}

// awsOptions returns the options for variables that the SDK does not read itself.
func (c *config) awsOptions() []awssm.Option {
	opts := []awssm.Option{awssm.WithPrefix(c.get(varAWSPrefix))}
	raw, _ := c.lookup(varRegion) // the SDK would use a blank one as the region
	if region := c.region(); region != "" && (c.injected || raw != "" && c.get(varRegion) == "") {
		opts = append(opts, awssm.WithRegion(region))
	}
	return opts
}

// newOwn returns the backend of a provider of With.
func (c *config) newOwn(ctx context.Context, name string) (secrets.Backend, error) {
	backend, err := c.factories[name](ctx, c.lookup)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("secrets: detect: %s says %s: %w", varType, name, err)
	case faults.IsNil(backend):
		return nil, fmt.Errorf("secrets: detect: %s says %s, whose factory returned no backend", varType, name)
	default:
		return backend, nil
	}
}

// noPath returns the error for SECRET_MANAGER_TYPE=file without a path. The directory that was inspected is not used instead.
func (*config) noPath(d Detection, place string, seen dirState) error {
	hint := ""
	if seen.file {
		hint = "; " + place + " holds a file and may be the directory you mean"
	}
	return fmt.Errorf("secrets: detect: %s, and %s, the directory, is not set%s", d.Reason, varPath, hint)
}

// incomplete returns an error for err, with which the backend in d could not be built, and what to do.
func (c *config) incomplete(d Detection, err error) error {
	what := "secrets: detect: " + d.Reason
	if !c.typed() {
		what += ", so " + d.Provider + " was chosen"
	}
	why := masked(strings.NewReplacer("secrets: "+d.Provider+": ", "", "\n", "; ").Replace(err.Error()))
	what += ": " + strings.Map(func(r rune) rune {
		if text.IsUnprintable(r) {
			return unicode.ReplacementChar
		}
		return r
	}, why)
	option := map[string]string{provEnv: "WithEnv", provFile: "WithFile", provVault: "WithVault", provAWS: "WithAWS"}[d.Provider]
	what += "; options go into " + option
	switch {
	case c.typed():
	case d.Provider == provEnv:
		what += ", and " + varType + " chooses another provider"
	default:
		what += ", and " + varType + "=" + provEnv + ", for example, chooses another provider"
	}
	return &configError{text: what, causes: sentinels(err)}
}

// unknownType returns the error for an unknown SECRET_MANAGER_TYPE.
func (c *config) unknownType() error {
	name, _ := c.chosenType()
	known := append(c.known(), auto)
	text := "secrets: detect: " + varType + " names an unknown provider"
	if isName(name) && len(name) <= maxQuoted && masked(name) == name { // anything else is no typing error, and may be a token
		text = fmt.Sprintf("secrets: detect: %s says %q, which is not a known provider", varType, name)
	}
	text += "; use one of " + strings.Join(known, ", ")
	if near := nearest(name, known); near != "" {
		text += "; did you mean " + near + "?"
	}
	return errors.New(text)
}

// maxQuoted is the maximum length of a name that an error quotes, in bytes. Few tokens are so short.
const maxQuoted = 16

package detect

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/backend/file"
	"github.com/seed-5482dd03/secrets/backend/vault"
	"github.com/seed-5482dd03/secrets/internal/faults"
)

// Option configures [Backend] and [New].
type Option func(c *config)

// Factory returns the backend of a provider of [With]. It is called only if SECRET_MANAGER_TYPE names the provider, and should make no
// network calls. It looks up its settings with lookup, the function of [WithLookup], which is never nil. Its error is wrapped, so its text
// must not contain a value.
type Factory func(ctx context.Context, lookup func(name string) (value string, set bool)) (secrets.Backend, error)

// config collects the options.
type config struct {
	lookup    func(string) (string, bool)
	injected  bool // WithLookup was given
	strict    bool
	directory string
	factories map[string]Factory
	own       []string // the names of factories, in the order given
	env       []env.Option
	file      []file.Option
	vault     []vault.Option
	aws       []awssm.Option
	client    []secrets.Option
	hasClient bool
	faults    faults.List
	inspect   func(dir string) dirState
	timeout   time.Duration // of inspect
}

func newConfig(opts []Option) *config {
	c := &config{
		lookup: os.LookupEnv, directory: "/run/secrets", factories: make(map[string]Factory),
		inspect: inspect, timeout: inspectTimeout, faults: faults.List{Prefix: "secrets: detect: "},
	}
	faults.Apply(&c.faults, opts, func(o Option) { o(c) })
	return c
}

// variable returns the value of a variable, and whether it is set. An empty or blank one counts as not set.
func (c *config) variable(name string) (value string, set bool) {
	value, _ = c.lookup(name)
	if strings.TrimSpace(value) == "" {
		return "", false
	}
	return value, true
}

func (c *config) get(name string) string {
	value, _ := c.variable(name)
	return value
}

// known returns the names of all providers, with those of this package first.
func (c *config) known() []string { return append(builtin(), c.own...) }

// WithLookup sets the function that looks up variables, for tests and for programs with their own settings. It must be safe for concurrent
// use. Packages env and vault use it too. The AWS backend gets AWS_SECRET_PREFIX and AWS_REGION, or else AWS_DEFAULT_REGION, from it; the
// SDK reads everything else from the environment of the process. The last call counts. Default: [os.LookupEnv].
func WithLookup(lookup func(name string) (value string, set bool)) Option {
	return func(c *config) {
		if lookup == nil {
			c.faults.Addf("WithLookup: a nil function")
			return
		}
		c.lookup, c.injected = lookup, true
	}
}

// WithStrict returns [ErrAmbiguous] if a signal points to another provider than the one that decides. Signals that platforms set, such as
// AWS_REGION on AWS Lambda, contradict only other such signals. SECRET_MANAGER_TYPE is never ambiguous. Default: the first signal decides,
// and [Detection] lists what was not used.
func WithStrict() Option { return func(c *config) { c.strict = true } }

// WithDirectory sets the directory to look at if CREDENTIALS_DIRECTORY is not set. It need not exist. The last call counts. Default:
// /run/secrets.
func WithDirectory(dir string) Option {
	return func(c *config) {
		if dir == "" {
			c.faults.Addf("WithDirectory: an empty name")
			return
		}
		c.directory = dir
	}
}

// With adds a provider of your own. Only SECRET_MANAGER_TYPE=name chooses it. The name is up to 32 lower-case letters, digits, "-" and "_",
// and must be new. Default: no other providers.
func With(name string, factory Factory) Option {
	return func(c *config) {
		switch {
		case !isName(name):
			c.faults.Addf("With: %q is not a valid name; use up to %d lower-case letters, digits, - and _", name, maxName)
		case name == auto || slices.Contains(c.known(), name):
			c.faults.Addf("With: the provider %q already exists", name)
		case factory == nil:
			c.faults.Addf("With: the factory of %q is nil", name)
		default:
			c.factories[name] = factory
			c.own = append(c.own, name)
		}
	}
}

const maxName = 32

// isName reports whether name is a valid name for a provider.
func isName(name string) bool {
	return name != "" && len(name) <= maxName && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// WithEnv adds options for env.New, if env is chosen. They win over variables: env.WithPrefix over SECRET_MANAGER_PREFIX. Repeated calls
// append. Default: no options.
func WithEnv(opts ...env.Option) Option {
	return func(c *config) { c.env = append(c.env, opts...) }
}

// WithFile adds options for file.New, if file is chosen. Repeated calls append. Default: no options.
func WithFile(opts ...file.Option) Option {
	return func(c *config) { c.file = append(c.file, opts...) }
}

// WithVault adds options for vault.New, if vault is chosen, such as vault.WithMount or vault.WithAuth. They win over Vault's variables.
// Repeated calls append. Default: no options.
func WithVault(opts ...vault.Option) Option {
	return func(c *config) { c.vault = append(c.vault, opts...) }
}

// WithAWS adds options for awssm.New, if aws is chosen. They win over variables: awssm.WithPrefix over AWS_SECRET_PREFIX, and
// awssm.WithRegion over AWS_REGION. If the function of [WithLookup] returns a region, it wins over the region of awssm.WithConfig, and
// awssm.WithClient is an error. Repeated calls append. Default: no options.
func WithAWS(opts ...awssm.Option) Option {
	return func(c *config) { c.aws = append(c.aws, opts...) }
}

// WithClientOptions adds options for the client of [New]. They win over middleware.Standard: secrets.WithCache replaces its cache.
// [Backend] returns an error for them, since it makes no client. Repeated calls append. Default: no options.
func WithClientOptions(opts ...secrets.Option) Option {
	return func(c *config) {
		c.client = append(c.client, opts...)
		c.hasClient = true
	}
}

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

// Factory makes the backend of a provider of [With]. It is called only if SECRET_MANAGER_TYPE names the provider, and should
// contact nobody. It looks its settings up with lookup, which is that of [WithLookup] and never nil. Its error is wrapped as
// it is, so that it must not hold a value.
type Factory func(ctx context.Context, lookup func(name string) (value string, set bool)) (secrets.Backend, error)

// config is what the options say.
type config struct {
	lookup     func(string) (string, bool)
	injected   bool // lookup is the program's
	strict     bool
	directory  string
	factories  map[string]Factory
	own        []string // their names, in the order given
	env        []env.Option
	file       []file.Option
	vault      []vault.Option
	aws        []awssm.Option
	client     []secrets.Option
	hasClient  bool
	faults     faults.List
	inspect    func(dir string) sight // the look into a directory
	patienceOf time.Duration          // how long that is waited for
}

func newConfig(opts []Option) *config {
	c := &config{
		lookup: os.LookupEnv, directory: "/run/secrets", factories: make(map[string]Factory),
		inspect: inspect, patienceOf: patience, faults: faults.List{Prefix: "secrets: detect: "},
	}
	faults.Apply(&c.faults, opts, func(o Option) { o(c) })
	return c
}

// variable returns the value of a variable, and whether it is set. One that is empty or blank counts as not set.
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

// known returns the names of all providers, those of this package first.
func (c *config) known() []string { return append(builtin(), c.own...) }

// WithLookup sets the function that looks variables up, for tests and for programs with settings of their own. It must be
// safe for concurrent use. Package env reads secrets through it, and package vault its variables. The SDK of AWS reads the
// environment of the process; of lookup it gets AWS_REGION, or else AWS_DEFAULT_REGION, and AWS_SECRET_PREFIX. The last one
// given counts. By default, it is [os.LookupEnv].
func WithLookup(lookup func(name string) (value string, set bool)) Option {
	return func(c *config) {
		if lookup == nil {
			c.faults.Addf("WithLookup: a nil function")
			return
		}
		c.lookup, c.injected = lookup, true
	}
}

// WithStrict makes ambiguity an error: [ErrAmbiguous] if something points to another provider than what decides. What platforms set
// by themselves, as AWS Lambda sets AWS_REGION, contradicts only what a platform has set. SECRET_MANAGER_TYPE is never ambiguous.
// Default: the order decides, and [Detection] says what was not used.
func WithStrict() Option { return func(c *config) { c.strict = true } }

// WithDirectory sets the directory that is looked at where CREDENTIALS_DIRECTORY is not set. It need not exist. The last one
// given counts. By default, it is /run/secrets.
func WithDirectory(dir string) Option {
	return func(c *config) {
		if dir == "" {
			c.faults.Addf("WithDirectory: an empty name")
			return
		}
		c.directory = dir
	}
}

// With adds a provider of the program's own, which SECRET_MANAGER_TYPE=name chooses, and nothing else does. The name is of
// lower-case letters, digits, "-" and "_", and none that there is already.
func With(name string, factory Factory) Option {
	return func(c *config) {
		switch {
		case !isName(name):
			c.faults.Addf("With: %q is no name of lower-case letters, digits, - and _, of up to %d bytes", name, maxName)
		case name == auto || slices.Contains(c.known(), name):
			c.faults.Addf("With: there is a provider %q already", name)
		case factory == nil:
			c.faults.Addf("With: the factory of %q is nil", name)
		default:
			c.factories[name] = factory
			c.own = append(c.own, name)
		}
	}
}

const maxName = 32

// isName reports whether name can be that of a provider.
func isName(name string) bool {
	return name != "" && len(name) <= maxName && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// WithEnv gives options to env.New, should env be chosen. They come after those of this package: env.WithPrefix wins over
// SECRET_MANAGER_PREFIX. Repeats append. By default, there are none.
func WithEnv(opts ...env.Option) Option {
	return func(c *config) { c.env = append(c.env, opts...) }
}

// WithFile gives options to file.New, should file be chosen. Repeats append. By default, there are none.
func WithFile(opts ...file.Option) Option {
	return func(c *config) { c.file = append(c.file, opts...) }
}

// WithVault gives options to vault.New, should vault be chosen, such as vault.WithMount, or a login by vault.WithAuth. They
// win over the variables of Vault. Repeats append. By default, there are none.
func WithVault(opts ...vault.Option) Option {
	return func(c *config) { c.vault = append(c.vault, opts...) }
}

// WithAWS gives options to awssm.New, should aws be chosen. They come after those of this package: awssm.WithPrefix wins over
// AWS_SECRET_PREFIX, and awssm.WithRegion over AWS_REGION. Beside [WithLookup], a region that it has wins over that of
// awssm.WithConfig, and leaves no place for awssm.WithClient. Repeats append. By default, there are none.
func WithAWS(opts ...awssm.Option) Option {
	return func(c *config) { c.aws = append(c.aws, opts...) }
}

// WithClientOptions gives options to the client of [New]. They win over those of middleware.Standard, which is there already:
// secrets.WithCache takes the place of its cache. [Backend] makes no client, and returns an error for them. Repeats append.
// By default, there are none.
func WithClientOptions(opts ...secrets.Option) Option {
	return func(c *config) {
		c.client = append(c.client, opts...)
		c.hasClient = true
	}
}

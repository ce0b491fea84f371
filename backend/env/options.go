package env

import (
	"os"
	"strings"

	"github.com/seed-5482dd03/secrets/internal/faults"
)

// Option configures a [Backend].
type Option func(c *config)

type config struct {
	name   string
	prefix string
	lookup func(string) (string, bool)
	files  bool
	raw    bool
	faults faults.List

	ownLookup bool // lookup is the program's
}

func newConfig(opts []Option) *config {
	c := &config{name: "env", lookup: os.LookupEnv, faults: faults.List{Prefix: "secrets: env: "}}
	faults.Apply(&c.faults, opts, func(o Option) { o(c) })
	return c
}

// WithPrefix sets what stands before the names of all variables. It is taken verbatim: write "MYAPP_" with its underscore.
// The last one given counts. By default, there is no prefix.
func WithPrefix(prefix string) Option {
	return func(c *config) {
		if strings.ContainsAny(prefix, "=\x00") {
			c.faults.Addf("WithPrefix: %q cannot begin the name of a variable", prefix)
			return
		}
		c.prefix = prefix
	}
}

// WithLookup sets the function that returns the value of a variable, and whether it is set. It must be safe for concurrent
// use. The last one given counts. By default, it is [os.LookupEnv].
func WithLookup(lookup func(name string) (value string, set bool)) Option {
	return func(c *config) {
		if lookup == nil {
			c.faults.Addf("WithLookup: a nil function")
			return
		}
		c.lookup, c.ownLookup = lookup, true
	}
}

// WithName sets the name of the backend in errors and in [secrets.Meta], for a client with two of them. The last one given
// counts. By default, it is "env".
func WithName(name string) Option {
	return func(c *config) {
		c.name = name
		c.faults.Checkf(name != "", "WithName: an empty name")
	}
}

// WithFiles lets the variable NAME_FILE name a file that holds the value of NAME, as the official Docker images have it. It
// holds for each name that a key means: DATABASE_PASSWORD_FILE for "database/password".
//
// The file is the operator's choice, and may be anywhere. It must be a regular file of at most 1 MiB, and its text loses what that of
// a variable loses. An empty NAME counts as not set if NAME_FILE is set, and an empty NAME_FILE always does.
//
// These errors name the variable, and never what it holds: both NAME and NAME_FILE are set, NAME_FILE names what does not
// exist, is not a regular file or too large ([secrets.ErrMalformed], so that a mistake in the configuration does not read
// as "not found"), or what must not be read ([secrets.ErrPermissionDenied]).
//
// By default, NAME_FILE has no special meaning.
func WithFiles() Option {
	return func(c *config) { c.files = true }
}

// WithRawBytes keeps a byte order mark at the beginning and a newline at the end of a value, also of one in a file. By default, one of
// each is not part of a secret that is text; see the package comment.
func WithRawBytes() Option {
	return func(c *config) { c.raw = true }
}

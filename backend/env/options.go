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

	ownLookup bool // WithLookup was given
}

func newConfig(opts []Option) *config {
	c := &config{name: "env", lookup: os.LookupEnv, faults: faults.List{Prefix: "secrets: env: "}}
	faults.Apply(&c.faults, opts, func(o Option) { o(c) })
	return c
}

// WithPrefix sets the prefix of all variable names. It is used verbatim: write "MYAPP_" with its underscore. The last call counts.
// Default: no prefix.
func WithPrefix(prefix string) Option {
	return func(c *config) {
		if strings.ContainsAny(prefix, "=\x00") {
			c.faults.Addf(`WithPrefix: %q contains "=" or a NUL, which no variable name can`, prefix)
			return
		}
		c.prefix = prefix
	}
}

// WithLookup sets the function that returns the value of a variable, and whether it is set. It must be safe for concurrent use. The last
// call counts. Default: [os.LookupEnv].
func WithLookup(lookup func(name string) (value string, set bool)) Option {
	return func(c *config) {
		if lookup == nil {
			c.faults.Addf("WithLookup: a nil function")
			return
		}
		c.lookup, c.ownLookup = lookup, true
	}
}

// WithName sets the name of the backend in errors and in [secrets.Meta], for a client with two env backends. The last call counts.
// Default: "env".
func WithName(name string) Option {
	return func(c *config) {
		c.name = name
		c.faults.Checkf(name != "", "WithName: an empty name")
	}
}

// WithFiles lets the variable NAME_FILE name a file that holds the value of NAME, as in the official Docker images. It applies to every
// variable of a key: DATABASE_PASSWORD_FILE for "database/password".
//
// The file may be anywhere. It must be a regular file of at most 1 MiB. Its text loses a byte order mark and a newline, as a variable
// does. An empty NAME counts as not set if NAME_FILE is set, and an empty NAME_FILE always does.
//
// It is [secrets.ErrMalformed] if both NAME and NAME_FILE are set, or if the file does not exist, is too large or is not a regular file.
// So a configuration error never looks like a missing secret. A file without read permission is [secrets.ErrPermissionDenied]. The
// errors name the variable and never contain its value.
//
// Default: NAME_FILE is a variable like any other.
func WithFiles() Option {
	return func(c *config) { c.files = true }
}

// WithRawBytes keeps a byte order mark at the beginning and a newline at the end of a value, in a variable and in a file.
// Default: one of each is removed from text; see the package comment.
func WithRawBytes() Option {
	return func(c *config) { c.raw = true }
}

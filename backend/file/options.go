package file

import "github.com/seed-5482dd03/secrets/internal/faults"

// Option configures a [Backend].
type Option func(c *config)

type config struct {
	name    string
	maxSize int64
	raw     bool
	caching bool
	faults  faults.List
}

func newConfig(opts []Option) *config {
	c := &config{name: "file", maxSize: 1 << 20, faults: faults.List{Prefix: "secrets: file: "}}
	faults.Apply(&c.faults, opts, func(o Option) { o(c) })
	return c
}

// WithName sets the name of the backend in errors and in [secrets.Meta], for a client with two file backends. The last call counts.
// Default: "file".
func WithName(name string) Option {
	return func(c *config) {
		c.name = name
		c.faults.Checkf(name != "", "WithName: an empty name")
	}
}

// WithMaxSize sets the maximum size in bytes of one file, and of all files together in a directory that is read as one document. Anything
// larger is [secrets.ErrMalformed] and is never read whole. The last call counts. Default: 1 MiB, the limit of a Kubernetes Secret.
func WithMaxSize(bytes int64) Option {
	return func(c *config) {
		c.maxSize = bytes
		c.faults.Checkf(bytes > 0, "WithMaxSize: %d is not more than 0", bytes)
	}
}

// WithRawBytes keeps a byte order mark at the beginning and a newline at the end of a file. Default: one of each is removed from text; see
// the package comment.
func WithRawBytes() Option {
	return func(c *config) { c.raw = true }
}

// WithCaching lets the client cache and deduplicate reads, for a directory on a slow or remote file system. Default: every call reads the
// files.
//
// A key then has one meaning, whatever the directory holds: database#password is a field of the document "database". If that is a
// directory, the document is the JSON object of its files. It is read, cached and renewed as a whole, and its fields come from one update.
// If one file in it is not UTF-8, every field is [secrets.ErrMalformed]; read the files by their paths then, as database/password. Two
// such paths are two documents: unless they are fetched together, the cache may hold them from two updates of a Kubernetes mount.
//
// The backend does not poll for changes then: that would read the slow file system twice a second. A handle sees a change when the cache
// renews the document.
func WithCaching() Option {
	return func(c *config) { c.caching = true }
}

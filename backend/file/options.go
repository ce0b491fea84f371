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

// WithName sets the name of the backend in errors and in [secrets.Meta], for a client with two of them. The last one given
// counts. By default, it is "file".
func WithName(name string) Option {
	return func(c *config) {
		c.name = name
		c.faults.Checkf(name != "", "WithName: an empty name")
	}
}

// WithMaxSize sets the most bytes that one file may hold, and that the files of a directory which is read as one document
// may hold together. What is larger is [secrets.ErrMalformed], and never read whole. The last one given counts. Default: 1 MiB, as
// much as a Secret of Kubernetes may hold.
func WithMaxSize(bytes int64) Option {
	return func(c *config) {
		c.maxSize = bytes
		c.faults.Checkf(bytes > 0, "WithMaxSize: %d is not more than 0", bytes)
	}
}

// WithRawBytes keeps a byte order mark at the beginning and a newline at the end of a file. By default, one of each is not part of a
// secret that is text; see the package comment.
func WithRawBytes() Option {
	return func(c *config) { c.raw = true }
}

// WithCaching puts the cache and the dedup layer of the client before this backend, for a directory on a slow or remote
// file system. By default, the backend is local, and every call reads the files.
//
// A key then means the same whatever the directory holds: database#password is the field of the document "database", and if
// that is a directory, of the JSON object of its files, which is read, cached and renewed as one. So its fields are of one
// update, and none of them can be read beside a file that is not UTF-8: that is [secrets.ErrMalformed], and the file is to
// be named by its path, as database/password. Documents of their own, as two such paths are, may be cached from two
// updates of a Kubernetes mount, if they are not fetched together.
//
// The backend does not look for changes then, which would ask the slow file system twice a second. A handle sees a change when the
// cache renews the document.
func WithCaching() Option {
	return func(c *config) { c.caching = true }
}

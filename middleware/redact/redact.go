// Package redact masks secrets in logs and in errors.
//
// Make one Redactor in main. Pass it to each Client, and put its Handler in front of the log handler:
//
//	redaction := redact.New()
//	logger := slog.New(redaction.Handler(slog.NewJSONHandler(os.Stderr, nil)))
//	client, err := secrets.New(backend, secrets.WithRedaction(redaction), secrets.WithLogger(logger))
//	…
//	logger.Error("cannot connect", "error", err) // dial postgres://app:[REDACTED]@db: refused
//
// [Redactor.Handler] masks slog records. [Redactor.Writer] masks any stream of text, such as the output of a child process or of another
// logger. Without them, a Redactor masks only errors, as the one of middleware.Standard does. [Redactor.Stats] reports how much is masked
// and what is left out.
//
// A Redactor is a second line of defence. The first is [secrets.Secret], which prints no value.
//
// # What is masked
//
// In logs: the values and fields that the Clients of the Redactor have returned, the current and the previous one of each key. They stay
// masked as long as the Redactor exists, even after a Client closes or a key is deleted. A value is masked as a whole and in parts: its
// lines, and the password of a URL or DSN in it. If the program gets a whole JSON document, each of its strings is masked; if it gets a
// field, that field.
//
// In errors of a backend: the same, and all parts of the documents of the failed call, including short strings and numbers
// of 4 bytes or more.
//
// A value is found in any mixture of plain and escaped characters, and in escapes of escapes:
//
//   - percent escapes of URLs, and + for a space
//   - backslash escapes of JSON, Go, JavaScript, Python and C
//   - entities of HTML and XML
//   - doubled quotes of SQL and CSV
//   - base64 of either alphabet, also in lines; hexadecimal; Latin-1; lists of decimal bytes
//
// The mark "[REDACTED]" covers whole escapes, so that JSON stays JSON. Adjacent marks become one.
//
// # Limits
//
// Texts that no Client has returned are not masked, such as the default of GetOr. Neither are values that the program cut, reversed,
// compressed or encrypted.
//
// Logs may show these, since they also occur in ordinary text: values and parts that are shorter than 8 bytes, or only letters, or only
// digits; the BEGIN and END lines of a PEM block; the numbers and keys of a document. If unescaping makes a value such a text, as with
// pass\word, it is found only as it is. If a value is also an ordinary word of the log, such as the name of a region, that word is masked.
//
// These forms are not found: base64 and hexadecimal of an escaped value; base64 in lines of less than 40 characters; base32, UTF-16,
// quoted-printable, %uXXXX, entities without a semicolon. Three levels of escapes are sometimes missed. So is an escaped value directly
// after "%", "\" or "&", or directly before a character that completes an escape at its end. A quote or a backslash at the edge of a value
// may remain.
//
// A value takes about 0.7 KB of memory, a document up to 8 times its size, and all together at most 64 MiB ([WithMaxBytes]). Masking is
// fast for lines without escapes, and 10 to 50 MB/s for lines that are full of them.
package redact

import (
	"errors"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/faults"
)

const (
	mark            = "[REDACTED]"
	defaultMaxBytes = 64 << 20
	minMaxBytes     = 64 << 10
)

// Option configures a [Redactor]. [secrets.New] returns an error for a value out of range.
type Option func(r *Redactor)

// WithMaxBytes limits the memory of a Redactor, in bytes, for the values of all its Clients and their index. The limit is approximate. It
// must be 64 KiB or more. Beyond it, the values that were not fetched for the longest time are no longer masked, those of more than 4 KiB
// first; [Stats].Forgotten counts them. A value that needs more than half of the limit is not masked at all. Default: 64 MiB, which is
// enough for about 90,000 ordinary values.
func WithMaxBytes(n int) Option { return func(r *Redactor) { r.maxBytes = n } }

// Redactor is the layer. Make one with [New], and install it with secrets.WithRedaction. Several Clients may share one. It is safe for
// concurrent use.
type Redactor struct {
	maxBytes int
	faults   faults.List
	layers   *atomic.Uint64
	known    func() *memory // nil for a zero Redactor; a func, so that dumps of a Redactor show no values
}

// New returns a Redactor. It needs no Close.
func New(opts ...Option) *Redactor {
	r := &Redactor{maxBytes: defaultMaxBytes, faults: faults.List{Prefix: "redact: "}, layers: new(atomic.Uint64)}
	faults.Apply(&r.faults, opts, func(o Option) { o(r) })
	r.faults.Checkf(r.maxBytes >= minMaxBytes, "WithMaxBytes: %d bytes are less than %d", r.maxBytes, minMaxBytes)
	known := newMemory(r.maxBytes)
	r.known = func() *memory { return known }
	return r
}

// Validate returns the faults of the options, joined. [secrets.New] calls it.
func (r *Redactor) Validate() error {
	if r.known == nil {
		return errors.New("redact: a zero Redactor; make it with redact.New")
	}
	return r.faults.Err()
}

// NewRedaction returns the redaction for one backend of one Client. [secrets.New] calls it.
func (r *Redactor) NewRedaction(_ secrets.Info, next secrets.Fetcher) secrets.Redaction {
	return &layer{next: next, known: r.known, id: r.layers.Add(1)}
}

var _ secrets.RedactionLayer = (*Redactor)(nil)

// Handler returns a [slog.Handler] that masks secrets in each record and passes it to next. It masks the message, keys, names of groups,
// and attributes of all kinds except numbers, booleans and times, including those of With. It does not mask the source position.
//
// In a string, an error, a TextMarshaler or a Stringer, the mark replaces only the secret. The text is the one that next prints, such as
// %+v of an error under a [slog.TextHandler]; a [slog.JSONHandler] does not call String. For any other value, such as a struct or a map,
// the Handler searches the text that next prints. If that shows a secret, the mark replaces the whole value; otherwise next gets the value
// unchanged.
//
// For a [slog.TextHandler] and a [slog.JSONHandler], it calls only methods that next would call. For another next, it calls String, Error,
// Format and MarshalText, and marshals values without MarshalJSON to JSON; these calls might wait for a lock that the caller holds. An
// attribute that has MarshalJSON and no MarshalText is then replaced as a whole, an error by its text. For any next, the mark also replaces
// a value that contains itself, or is too large or too deep to print.
//
// Attributes of With are masked with the values that are known at that time. The output of next's ReplaceAttr is not masked; for that, put
// a [Redactor.Writer] below next.
//
// Do not wrap slog.Default().Handler() and pass the result to [slog.SetDefault]: package log and that handler would write to each other,
// and the first record would deadlock. This is true of every Handler that wraps it.
func (r *Redactor) Handler(next slog.Handler) slog.Handler {
	return &handler{next: next, known: r.known}
}

// Writer returns an [io.WriteCloser] that masks secrets in a stream and writes it to next. It is safe for concurrent use.
//
// A secret is found even if several calls of Write deliver it in pieces. A text that may be the beginning of a secret is held back until
// the next Write or Close. A line that ends in a line feed is written at once, unless a secret begins with the end of that line. The end of
// a prompt may therefore be missing until Close.
//
// Write returns the error of next. All later calls return it too, since next may have only a part of a secret. Close writes the text that
// was held back, but does not close next. It may be called more than once. Write after Close returns an error.
func (r *Redactor) Writer(next io.Writer) io.WriteCloser {
	s := &stream{next: next, known: r.known(), search: r.known().set.Stream()}
	return &writer{s.write}
}

// Stats are the figures of a Redactor. Forgotten and Masked count from [New] on; the others are the current state.
type Stats struct {
	// Values is how many values are masked: the current and the previous one of each key.
	Values int
	// Patterns is how many texts are searched for: each part of each value, in each of its forms.
	Patterns int
	// Skipped is how many values and parts are not masked, since they also occur in ordinary text: they are shorter than 8 bytes, or
	// only letters, or only digits.
	Skipped int
	// Forgotten is how many values are no longer masked, or never were, because of [WithMaxBytes].
	Forgotten uint64
	// Masked is how many marks Handlers and Writers have written.
	Masked uint64
	// Size is the approximate memory of the values and their index, in bytes.
	Size int
}

// Stats returns the current figures.
func (r *Redactor) Stats() Stats { return r.known().stats() }

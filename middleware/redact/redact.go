// Package redact masks secrets in logs and in errors.
//
// Make one Redactor in main. Give it to each Client, and put its Handler in front of the log:
//
//	redaction := redact.New()
//	logger := slog.New(redaction.Handler(slog.NewJSONHandler(os.Stderr, nil)))
//	client, err := secrets.New(backend, secrets.WithRedaction(redaction), secrets.WithLogger(logger))
//	…
//	logger.Error("cannot connect", "error", err) // dial postgres://app:[REDACTED]@db: refused
//
// [Redactor.Handler] masks what goes through slog. [Redactor.Writer] masks any stream of text, such as the output of a child process or of
// another logger. Without either, the Redactor masks errors only; middleware.Standard installs it for that. [Redactor.Stats] says how much
// is masked, and what is left out. It is a second net: the first is that a [secrets.Secret] shows nothing.
//
// # What is masked
//
// In logs: the values and fields that the Clients of a Redactor have handed out, the current and the previous one of each key. They stay
// masked while the program keeps the Redactor, also after a Client closes or a key is deleted. A value is found as a whole and by its
// parts: its lines, and the password of a URL or DSN in it. Of a JSON document that was fetched whole, each string is masked; of one field
// of it, that field.
//
// In errors of a backend: the same, and all parts of the documents that the failed call was for, short strings and numbers too.
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
// Not masked is what no Client has handed out, such as the default of GetOr, and a value that the program cut, reversed, compressed or
// encrypted.
//
// In logs, these are not masked, since they occur in what is no secret: values and parts of less than 8 bytes, of letters alone or of
// digits alone; the lines that frame a PEM block; the numbers and keys of a document. A value that becomes such a text when its escapes
// are undone, as pass\word does, is found only as it is. If a value is also a word of the log, such as the name of a region, that word is
// masked.
//
// These forms are not found: base64 and hexadecimal of an escaped value; base64 in lines of less than 40 characters; base32, UTF-16,
// quoted-printable, %uXXXX, entities without a semicolon. Escapes that are nested three times are missed now and then. So is an escaped
// value directly after "%", "\" or "&", or directly before what completes an escape at its end. A quote or a backslash at the edge of a
// value may remain.
//
// A value takes some 0.7 KB of memory, a document up to 8 times its size, and all of them 64 MiB at most ([WithMaxBytes]). Lines without
// escapes cost little; lines that are full of them pass at 10 to 50 MB/s.
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

// WithMaxBytes sets how much memory a Redactor takes at most, in bytes and about: for all its Clients, values and the index of
// them together. It must be 64 KiB or more. Beyond it, the values that were not fetched for the longest time are no longer masked,
// those of more than 4 KiB first, and [Stats].Forgotten counts them. A value that would take more than half of it is not masked at
// all. Default: 64 MiB, which is room for some 90,000 ordinary values.
func WithMaxBytes(n int) Option { return func(r *Redactor) { r.maxBytes = n } }

// Redactor is the layer. It may be given to several Clients. It is safe for concurrent use.
type Redactor struct {
	maxBytes int
	faults   faults.List
	layers   *atomic.Uint64
	known    func() *memory // nil if New has not made it; a func hides the values from what prints a Redactor
}

// New returns a Redactor.
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

// NewRedaction returns the redaction of what next answers. [secrets.New] calls it.
func (r *Redactor) NewRedaction(_ secrets.Info, next secrets.Fetcher) secrets.Redaction {
	return &layer{next: next, known: r.known, id: r.layers.Add(1)}
}

var _ secrets.RedactionLayer = (*Redactor)(nil)

// Handler returns a [slog.Handler] that masks secrets in each record and gives it to next: in the message, in keys and names of
// groups, and in attributes of all kinds but numbers and times, also those of With. The source position is left alone.
//
// A string, an error, a TextMarshaler and a Stringer keep their text, with the mark in place of the secret. That is the text
// which next prints, such as %+v of an error under a [slog.TextHandler]. A Stringer has none under a [slog.JSONHandler]. Any other
// value, such as a struct or a map, is looked
// through as next prints it. If that shows a secret, the mark replaces the value as a whole; if not, next gets the value itself.
//
// For a [slog.TextHandler] and a [slog.JSONHandler], the Handler calls only methods that next would call. If next is another
// Handler, it calls String, Error, Format and MarshalText, and marshals to JSON what has no MarshalJSON: that might wait for a
// lock of the caller. An attribute that has MarshalJSON and no MarshalText is replaced as a whole then, an error by its text. So
// is, under any Handler, what contains itself, or is too large or too deep to print.
//
// Attributes of With are masked with what is known at that time. What ReplaceAttr of next makes is not looked through; put a
// [Redactor.Writer] below next for that.
//
// Do not wrap slog.Default().Handler() and pass the result to [slog.SetDefault]: package log and that handler then write to
// each other, and the first record waits for itself. That is so for every Handler that wraps it.
func (r *Redactor) Handler(next slog.Handler) slog.Handler {
	return &handler{next: next, known: r.known}
}

// Writer returns an [io.WriteCloser] that masks secrets in what is written, and writes the rest to next, in order. It is safe
// for concurrent use.
//
// A secret is found wherever calls of Write cut it. What may be the beginning of one is held back until more has come, or Close.
// A line that ends in a line feed is passed on at once, unless a secret begins with the end of that line. So a prompt may lack its
// end until Close.
//
// Write returns the error of next, and returns it again from then on, since how much of a secret next has is not known. Close
// writes what is held back. It does not close next. It may be called more than once; a Write after it fails.
func (r *Redactor) Writer(next io.Writer) io.WriteCloser {
	s := &stream{next: next, known: r.known(), search: r.known().set.Stream()}
	return &writer{s.write}
}

// Stats are figures of a Redactor: of what it masks now, but for Forgotten and Masked, which count.
type Stats struct {
	// Values is how many values are masked: the current and the previous one of each key.
	Values int
	// Patterns is how many texts are looked for: each part of each value, in each of its forms.
	Patterns int
	// Skipped is how many values, and parts of values, are not masked since they are found in what is no secret. They are
	// shorter than 8 bytes, or only letters, or only digits.
	Skipped int
	// Forgotten is how many values are no longer masked, or never were, since there was no room for them.
	Forgotten uint64
	// Masked is how many marks Handlers and Writers have written.
	Masked uint64
	// Size is how much memory all this takes, in bytes, about.
	Size int
}

// Stats returns the figures of now.
func (r *Redactor) Stats() Stats { return r.known().stats() }

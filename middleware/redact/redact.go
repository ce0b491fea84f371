// Package redact is the layer that takes values out of errors, and what masks them in logs.
//
// Install it with secrets.WithRedaction, or with middleware.Standard:
//
//	client, err := secrets.New(backend, secrets.WithRedaction(redact.New()))
//
// # Errors
//
// It is a second net. The first is that an error of the library holds no foreign error and no value: only a backend's own
// Detail reaches the caller. The layer remembers the values that it has seen pass, the current and one previous version of
// each document, and replaces them in every Detail, that of Causes included, by "[REDACTED]": as they are, line by line,
// each string and number inside a JSON document, and the JSON-, URL-, XML-, base64-, hex- and Go-quoted forms of them, what
// JSON makes of a JSON- or Go-quoted form, and the lists of their bytes in Go and JSON. Other forms of forms are not found,
// nor are those of bytes by the verbs %#v and "% x".
//
// It cannot know a value that was never fetched, and finds none that was cut in two. Texts under 4 bytes are left alone,
// and so are the keys of a JSON document. Where a value is also a word of the Detail, that word is replaced.
//
// # Logs
//
// [Redactor.Handler] and [Redactor.Writer] mask what the Clients of a Redactor have handed out, in a slog.Handler and in a
// stream of bytes: each value and selected field, the current and one previous version, in the forms that are named above,
// and line by line. Of a document that was handed out as a whole, each string in it is masked. What lies side by side or
// overlaps becomes one "[REDACTED]". They are a second net, too: the first is that a [secrets.Secret] shows nothing. A
// program that cuts a value, reverses it or compresses it defeats them. The default of Client.GetOr is in the program, and
// is never masked: nobody has fetched it.
//
//	redaction := redact.New()
//	logger := slog.New(redaction.Handler(slog.NewJSONHandler(os.Stderr, nil)))
//	client, err := secrets.New(backend, secrets.WithRedaction(redaction), secrets.WithLogger(logger))
//
// Make them in main, before the Client hands anything out: nothing is kept for them until there is one. Then the values are
// known that are still remembered for the sake of errors, whole documents instead of fields. A value is also forgotten when
// its Client is closed; one that was rotated away or fell out of memory may be masked for a while longer.
//
// Values of less than 8 bytes, of letters alone and of digits alone are left alone, for they are found in what is no secret;
// so are such lines of a value of several lines, numbers in a document, and the lines that frame a PEM block.
// [Redactor.Stats] counts the values and strings that are skipped. Where another value is also a word of the log, such as
// the name of a region, that word is masked.
//
// What was handed out of as many documents is masked as WithSize says, and of each 64 fields on average. Beyond that, those
// documents are forgotten that were not fetched for the longest time, and what a cache still hands out of them, or the
// program holds, may go unmasked: [Redactor.Stats] counts them as Forgotten. A hit of a cache is no fetch, but each renewal
// is one, also of a refresh ahead. So let WithSize be well above the number of documents in use; by default, it is four
// times what a cache holds by default.
//
// The search costs 4 MB of memory for 1,000 values of some 30 bytes, and no more than 240 MB whatever they are, but for as
// long as it is put together anew: beyond 8 MiB of forms, which are those of some 60 to 90 private keys of 4,096 bits
// or of 10,000 tokens, those that came first are looked for as they are, JSON-escaped and Go-quoted alone, and beyond another
// 8 MiB, which are some 800 such keys, not at all. [Redactor.Stats] counts these, too. A text of several lines and of 1 KiB
// or more, such as a key, is looked for as a whole in those few forms only where each of its lines is looked for in all:
// of its base64 or hex, what stands between the lines may remain.
//
// It passes over some 600 MB of log in a second, and less where values came lately. A new value is masked from the first
// line on, which pays less than a millisecond for one of ordinary size, and some 5 ms for a private key. What is larger is
// put together while logs go on; only where more than 2 MiB of forms are new by then, some 25 such keys, a line waits for
// that, for less than a second.
//
// # Limits of the search in errors
//
// To look for values is a part of the call that failed, and must not use up its time: a denial that comes too late would
// read as an outage. So it ends after 50 ms, or half of the time that the call has left, if that is less. A Detail that was
// not searched to the end does not pass: a fixed text stands in its place, "the detail is withheld: …", while the class, the
// backend and the key stay. What was worked out is kept, so that the next error gets further. It takes hundreds of large
// documents to get there: six values each of 1,000 documents are looked for in less than 1 ms.
//
// Details are withheld as long as a value is remembered that has more than 4,096 different parts, such as lines or strings
// of a JSON document, or 65,536 of any kind, or values of more than 16 MiB together; and a Detail of more than 64 KiB
// is always withheld.
package redact

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/faults"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
)

const (
	defaultSize = 4096
	// fieldsOfOne is how many fields a document has, on average, at most, that are masked.
	fieldsOfOne = 64
)

// Option configures a [Redactor]. A value out of range is a fault that secrets.New returns.
type Option func(r *Redactor)

// WithSize sets of how many documents the values are remembered, for each backend, in the order of their last fetch, both for
// errors and for logs. Where more are in use, the values of those that were not fetched for the longest time may show. It
// must be more than 0. By default, it is 4,096.
func WithSize(documents int) Option { return func(r *Redactor) { r.size = documents } }

// Redactor is the layer. It may be given to several Clients; each has a memory of its own. It is safe for concurrent use.
type Redactor struct {
	size   int
	faults faults.List
	known  func() *register // nil if New has not made it
}

// New returns the layer with the options opts.
func New(opts ...Option) *Redactor {
	known := newRegister()
	r := &Redactor{size: defaultSize, faults: faults.List{Prefix: "redact: "}, known: func() *register { return known }}
	faults.Apply(&r.faults, opts, func(o Option) { o(r) })
	r.faults.Checkf(r.size > 0, "WithSize: %d is not more than 0", r.size)
	return r
}

// Validate returns the faults of the options, joined. secrets.New calls it.
func (r *Redactor) Validate() error {
	if r.known == nil {
		return errors.New("redact: a zero Redactor; make it with redact.New")
	}
	return r.faults.Err()
}

// NewRedaction returns the redaction of what next answers. secrets.New calls it.
func (r *Redactor) NewRedaction(_ secrets.Info, next secrets.Fetcher) secrets.Redaction {
	s := &scrubber{next: next, known: r.known, size: max(1, r.size)}
	var errs [2]error
	s.seen, errs[0] = simplelru.NewLRU[docKey, versions](max(1, r.size), nil)
	s.handed, errs[1] = simplelru.NewLRU(max(1, r.size), func(_ docKey, f *fields) { f.Purge() })
	s.most = fieldsOfOne * max(1, min(r.size, math.MaxInt/fieldsOfOne))
	if err := errors.Join(errs[:]...); err != nil {
		panic(err) // the size is more than 0
	}
	r.known().open(s)
	return s
}

var _ secrets.RedactionLayer = (*Redactor)(nil)

// Handler returns a slog.Handler that masks what the Clients of r have handed out, and hands the records to next: the
// message, keys and names of groups, and attributes of all kinds but numbers and times, also those of With and in groups. The
// place in the source is left alone. A LogValuer is resolved, before the values to look for are loaded: one that fetches a
// secret is masked as well.
//
// In an attribute that is a string or an error, the mark stands in the place of the value; the error becomes one with that
// text alone. So it is with a TextMarshaler, and under a slog.TextHandler with bytes, where next prints just that text. Any
// other value, such as a struct or a map, is looked through as next prints it, and replaced whole by "[REDACTED]" if that
// shows a value: nothing comes into the log that next would not have shown. If it does not, it is handed on as it is.
//
// A slog.TextHandler prints MarshalText or %+v, a slog.JSONHandler prints JSON, and no method is called for one of these
// that it would not call itself. If next is another Handler, all of these are looked through, but MarshalJSON of an
// attribute is not called, which may wait for a lock of the caller; that of a value inside it is. An attribute that is a
// json.Marshaler, and neither a TextMarshaler nor bytes, is then replaced whole (an error by its text). So is, under any
// Handler, what cannot be looked through: what panics, is too large or deep for fmt, or contains itself. To have more of
// such values in the log, put the Handler directly before a slog.TextHandler or slog.JSONHandler.
//
// An attribute of With is masked by what is known then. What a ReplaceAttr of next makes of an attribute is not looked
// through; a [Redactor.Writer] under next finds values there, in the forms that are named above.
func (r *Redactor) Handler(next slog.Handler) slog.Handler {
	r.known().activate()
	return &handler{next: next, known: r.known}
}

// Writer returns an io.WriteCloser that masks what the Clients of r have handed out, and writes the rest to next, in order.
// It is safe for concurrent use.
//
// It finds values wherever a Write may cut them: what may be the beginning of one is held back, until more has come or
// Close. Most lines of a log are passed on at once, since no value begins with the end of one. What is held is less than
// the longest text that is looked for, which is no more than 40 KiB.
//
// Write returns the error of next, and returns it again from then on: what next has of a value is not known. Close writes
// what is held and does not close next, which is not its own. It may be called more than once; a Write after it fails.
func (r *Redactor) Writer(next io.Writer) io.WriteCloser {
	r.known().activate()
	s := &stream{next: next, register: r.known()}
	return &writer{write: s.write, close: s.close}
}

// Stats are the figures of what Handlers and Writers mask. Without one of these, they are zero.
type Stats struct {
	// Values is the number of different values that are known.
	Values int
	// Patterns is the number of texts that are looked for: the forms of all values, their lines and strings.
	Patterns int
	// Skipped is the number of values, and strings in documents, that are not looked for: those of less than 8 bytes, of
	// letters alone, of digits alone, and those that were too many.
	Skipped int
	// Reduced is the number of values that are looked for as they are, JSON-escaped and Go-quoted alone: there are too many
	// large ones for more.
	Reduced int
	// Forgotten is how many values and fields are no longer masked, since more were handed out than WithSize allows.
	Forgotten uint64
	// Masked is how often something was masked.
	Masked uint64
	// Size is how many bytes of memory the search takes, about.
	Size int
}

// Stats returns the figures of what Handlers and Writers mask.
func (r *Redactor) Stats() Stats { return r.known().stats() }

// docKey names a document as the cache does: by its path and, if a version was asked for, that behind a NUL.
type docKey string

func docKeyOf(ref secrets.Ref) docKey {
	if ref.Version == "" {
		return docKey(ref.Path) // takes no memory of its own
	}
	return docKey(ref.Path + "\x00" + ref.Version)
}

// versions are the last two values of a document.
type versions struct {
	current  value
	previous *value // or nil, as for most
}

// value is a secret, without what else its Secret holds, and what it is recognised by. That is worked out when the first
// error needs it, which for most values is never. Both are kept where reflection cannot read them, as in a Secret.
type value struct {
	reveal  func() string // nil if there is none
	needles recognition
}

func valueOf(secret secrets.Secret) value {
	text := secret.Reveal()
	return value{reveal: func() string { return text }}
}

// recognition returns what a value is recognised by, unless that is too much.
type recognition func() (needles []needle, all bool)

// pair is the last two values that were handed out for a ref.
type pair struct{ current, previous secrets.Secret }

// fields are what was handed out of a document, by the names of the fields.
type fields = simplelru.LRU[string, pair]

type scrubber struct {
	next  secrets.Fetcher
	known func() *register

	mu     sync.Mutex
	seen   *simplelru.LRU[docKey, versions]
	handed *simplelru.LRU[docKey, *fields] // held in the register, as are those in before
	size   int
	fields int // that are handed out, and how many may be
	most   int
	before []secrets.Secret // what was seen before there was a Handler or Writer
	closed bool
}

func (s *scrubber) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	fetch := fetchctx.Of(ctx)
	if fetch.Origin == nil {
		fetch.Origin = new(fetchctx.Origin)
		ctx = fetchctx.With(ctx, fetch)
	}
	secret, err := s.next.Fetch(ctx, ref)
	s.remember(ref, secret)
	if err != nil {
		// The error may quote the value of another document that the same call was for.
		batch, _ := fetch.Origin.Results().([]secrets.Result)
		err = newSearch(ctx, func() ([]recognition, int) { return s.values(batch) }).scrub(err)
	}
	return secret, err
}

func (s *scrubber) remember(ref secrets.Ref, secret secrets.Secret) {
	if secret.IsZero() {
		return
	}
	d := docKeyOf(ref)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.handed.Get(d) // it is in use
	v, _ := s.seen.Get(d)
	var previous *value
	if known := v.current.reveal; known != nil {
		if known() == secret.Reveal() {
			return
		}
		previous = &value{known, v.current.needles}
	}
	s.seen.Add(d, versions{valueOf(secret), previous})
}

// values returns what each value that was seen, or is in batch, is recognised by, and how many bytes they have together.
func (s *scrubber) values(batch []secrets.Result) (all []recognition, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all = make([]recognition, 0, 2*s.seen.Len())
	for _, r := range batch {
		if !r.Secret.IsZero() {
			v := valueOf(r.Secret)
			v.recognise()
			all = append(all, v.needles)
			bytes += len(v.reveal())
		}
	}
	for _, d := range s.seen.Keys() {
		v, _ := s.seen.Peek(d)
		changed := false
		for _, one := range v.all() { // current is that of v, which is a copy; previous is shared with what is remembered
			changed = one.recognise() || changed
			all = append(all, one.needles)
			bytes += len(one.reveal())
		}
		if changed {
			s.seen.Add(d, v)
		}
	}
	return all, bytes
}

// all returns the values, the current one first.
func (v *versions) all() []*value {
	if v.previous == nil {
		return []*value{&v.current}
	}
	return []*value{&v.current, v.previous}
}

// recognise prepares v for being looked for, and reports whether that was to be done.
func (v *value) recognise() bool {
	if v.needles != nil {
		return false
	}
	reveal := v.reveal
	v.needles = sync.OnceValues(func() ([]needle, bool) { return needles(reveal()) })
	return true
}

// HandedOut makes Handlers and Writers mask secret, if there are any.
func (s *scrubber) HandedOut(ref secrets.Ref, secret secrets.Secret) {
	known := s.known()
	if !known.live.Load() || secret.IsZero() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	d := docKeyOf(ref)
	f, ok := s.handed.Get(d)
	if !ok {
		f = s.newFields()
		if s.handed.Len() >= s.size {
			s.forgetOldest()
		}
		s.handed.Add(d, f)
	}
	p, ok := f.Get(ref.Field)
	if ok && p.current.Reveal() == secret.Reveal() {
		return
	}
	known.hold(secret)
	known.release(p.previous)
	f.Add(ref.Field, pair{current: secret, previous: p.current})
	if ok {
		return
	}
	for s.fields++; s.fields > s.most; {
		if s.handed.Len() > 1 {
			s.forgetOldest()
			continue
		}
		f.RemoveOldest()
		known.forget()
	}
}

// newFields returns an empty memory for the fields of a document.
func (s *scrubber) newFields() *fields {
	f, err := simplelru.NewLRU(math.MaxInt, func(_ string, p pair) {
		s.known().release(p.current)
		s.known().release(p.previous)
		s.fields--
	})
	if err != nil {
		panic(err) // the size is more than 0
	}
	return f
}

// forgetOldest forgets what was handed out of the document that was not fetched for the longest time.
func (s *scrubber) forgetOldest() {
	_, f, _ := s.handed.GetOldest()
	for range f.Len() {
		s.known().forget()
	}
	s.handed.RemoveOldest()
}

// handOutAll makes Handlers and Writers mask all that was seen.
func (s *scrubber) handOutAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.seen.Values() {
		for _, one := range slices.Backward(v.all()) {
			secret := secrets.NewSecret(one.reveal(), secrets.Meta{})
			s.known().hold(secret)
			s.before = append(s.before, secret)
		}
	}
}

// Close forgets the values.
func (s *scrubber) Close() error {
	s.forget()
	s.known().close(s)
	return nil
}

func (s *scrubber) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.seen.Purge()
	s.handed.Purge()
	for _, secret := range s.before {
		s.known().release(secret)
	}
	s.before = nil
}

var _ secrets.Redaction = (*scrubber)(nil)

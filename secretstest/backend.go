package secretstest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// Backend is a fake [secrets.Backend] that holds documents in memory and does what a test tells it. It is safe for
// concurrent use, its methods that change it included.
//
// A call takes its answer when it begins: from what the backend held then, or the failure that was set then. Then it waits,
// first for [Backend.Block], then for the latency, and obeys its ctx there. So a slow answer is an old one, as that of a
// real network is: a test can let a value change while a fetch of it is under way. The waiting is made of channels and
// timers, so that testing/synctest drives it.
//
// Its errors are [*secrets.Error] of one class, with a Detail that tells which documents there are; the paths of a fake are
// not secret, and its values are in no error. Formatting or dumping a Backend shows no value either.
type Backend struct {
	name    string
	local   bool
	batch   int
	batcher *secrets.Batcher // or nil

	mu        sync.Mutex
	documents map[string]*document
	onCall    func(ctx context.Context, refs []secrets.Ref) error
	failure   error
	failures  map[string]error
	latency   time.Duration
	blocks    int
	gate      chan struct{} // closed when blocks is 0 again
	calls     int
	fetches   map[string]int
	batches   [][]string
	closes    int
}

// document is all that the backend knows of one path. It outlives a Remove, so that no version has its name twice.
type document struct {
	versions map[string]secrets.Secret // a Secret and not a string, so that a dump of the backend shows no value
	current  string                    // the name of a version, or "" if there is none
	last     int                       // the number of the last version that Set made
	deleted  bool
	lease    time.Duration
	expiry   time.Time
}

// Option configures a [Backend].
type Option func(*Backend)

// WithName sets the name of the backend. By default, it is "fake". Two backends of one client need two names.
func WithName(name string) Option { return func(b *Backend) { b.name = name } }

// WithLocal makes the backend a local one, as those of environment variables and files are: a Client puts neither cache
// nor dedup before it. By default, it is not.
func WithLocal() Option { return func(b *Backend) { b.local = true } }

// WithBatch makes the backend one whose server takes up to n documents in a call, and which gathers what a GetMany asks for into
// such calls. By default, each document is a call.
func WithBatch(n int) Option { return func(b *Backend) { b.batch = n } }

// WithLatency makes every call take d. By default, calls take no time. See [Backend.SetLatency].
func WithLatency(d time.Duration) Option { return func(b *Backend) { b.latency = d } }

// NewBackend returns a fake backend that holds documents: from the path of each, such as "database", to its content, text
// or JSON. It is the path alone, without "?version=" and "#field": the Client selects fields itself. The version of each
// document is "1". The map is copied.
func NewBackend(documents map[string]string, opts ...Option) *Backend {
	b := &Backend{
		name:      "fake",
		documents: make(map[string]*document),
		failures:  make(map[string]error),
		fetches:   make(map[string]int),
	}
	for _, o := range opts {
		o(b)
	}
	if b.batch > 1 {
		b.batcher = secrets.NewBatcher(b.batch, 0, b.call)
	}
	for path, value := range documents {
		b.Set(path, value)
	}
	return b
}

// Set gives the document at path a new value, and a new version: "1", then "2" and so on. Earlier versions remain, for
// refs with a Version. It brings back a document that was deleted. The CreatedAt of the version is the time of the call.
func (b *Backend) Set(path, value string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.document(path)
	d.last++
	d.current = strconv.Itoa(d.last)
	d.versions[d.current] = secrets.NewSecret(value, secrets.Meta{CreatedAt: time.Now()})
	d.deleted = false
}

// SetVersion adds a version to the document at path, for refs with that Version, and leaves the current one what it is.
// version is any name, such as "AWSPREVIOUS". The version has no CreatedAt: only the test knows how old it is meant to be.
func (b *Backend) SetVersion(path, version, value string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.document(path).versions[version] = secrets.NewSecret(value, secrets.Meta{})
}

// SetLease gives every answer from path a lease: its ExpiresAt is ttl after the beginning of the call. A ttl of 0 or less
// takes the lease away.
func (b *Backend) SetLease(path string, ttl time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.document(path)
	d.lease, d.expiry = ttl, time.Time{}
}

// SetExpiry gives every answer from path the same ExpiresAt, which may be past. The zero time takes it away.
func (b *Backend) SetExpiry(path string, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.document(path)
	d.lease, d.expiry = 0, at
}

// Delete deletes the document at path: every version of it is [secrets.ErrDeleted], until Set.
func (b *Backend) Delete(path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.document(path).deleted = true
}

// Remove takes the document at path away, as if it had never been: it is [secrets.ErrNotFound].
func (b *Backend) Remove(path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.document(path)
	clear(d.versions)
	d.current, d.deleted = "", false
}

// Fail makes every call fail with err, until [Backend.Recover] or another Fail. One of the classes of package secrets, or
// a [*secrets.Error], gets the backend's name and the key of the call. Any other error is returned as it is, so that a test
// can see what a Client makes of it.
func (b *Backend) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failure = err
}

// FailPath makes calls for path fail with err, as [Backend.Fail] does for all. The failure of all comes before it.
func (b *Backend) FailPath(path string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures[path] = err
}

// Recover ends what Fail and FailPath began.
func (b *Backend) Recover() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failure = nil
	clear(b.failures)
}

// SetLatency makes every call that begins from now on take d. A call whose ctx ends first returns the error of ctx.
func (b *Backend) SetLatency(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.latency = d
}

// Block makes every call that begins from now on wait until release is called, or its ctx ends. Several blocks may hold at
// once: calls wait until all are released. release may be called more than once.
func (b *Backend) Block() (release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.blocks == 0 {
		b.gate = make(chan struct{})
	}
	b.blocks++
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.blocks--
		if b.blocks == 0 {
			close(b.gate)
			b.gate = nil
		}
	})
}

// OnCall makes every call run f before it takes its answer, on the goroutine of the call and without a lock: f may change
// the backend, panic, or wait. If f returns an error, it is the answer to every ref of the call, as by [Backend.Fail]. A nil
// f ends it.
func (b *Backend) OnCall(f func(ctx context.Context, refs []secrets.Ref) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onCall = f
}

// Calls returns the number of calls so far, those that failed or still wait included. A call is that of one Fetch, or with
// [WithBatch] of several.
func (b *Backend) Calls() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls
}

// Fetches returns how often the document at path was asked for, in any version, alone or in a call with others.
func (b *Backend) Fetches(path string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fetches[path]
}

// Batches returns the keys of each call for several documents so far. The calls are in the order in which they began; the keys of
// a call are in no order, since GetMany fetches them side by side. Without [WithBatch], there are none.
func (b *Backend) Batches() [][]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([][]string, len(b.batches))
	for i, batch := range b.batches {
		all[i] = slices.Clone(batch)
	}
	return all
}

// ResetCounts sets what Calls, Fetches and Batches tell back to nothing.
func (b *Backend) ResetCounts() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls, b.batches = 0, nil
	clear(b.fetches)
}

// Closed reports whether Close was called.
func (b *Backend) Closed() bool { return b.Closes() > 0 }

// Closes returns how often Close was called.
func (b *Backend) Closes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closes
}

// Info describes the backend, as its options say.
func (b *Backend) Info() secrets.Info {
	return secrets.Info{Name: b.name, Local: b.local, Batch: b.batch}
}

// Fetch returns the document that ref names. It ignores a Field, which a Client never passes to a backend.
func (b *Backend) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	if b.batcher != nil {
		return b.batcher.Fetch(ctx, ref)
	}
	r := b.call(ctx, []secrets.Ref{ref})[0]
	return r.Secret, r.Err
}

// Close makes later calls fail with [secrets.ErrClosed], as those of a backend with connections do. So a test finds two Clients
// that share one backend.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closes++
	return nil
}

// call answers refs, as one call of a server.
func (b *Backend) call(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	hook := b.count(refs)
	var failure error
	if hook != nil {
		failure = hook(ctx, slices.Clone(refs))
	}
	results, gate, latency := b.answers(refs, failure)
	if err := wait(ctx, gate, latency); err != nil {
		for i := range results {
			results[i] = secrets.Result{Err: err}
		}
	}
	return results
}

func (b *Backend) count(refs []secrets.Ref) (hook func(context.Context, []secrets.Ref) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	keys := make([]string, len(refs))
	for i, ref := range refs {
		b.fetches[ref.Path]++
		keys[i] = secrets.Ref{Path: ref.Path, Version: ref.Version}.String()
	}
	if len(refs) > 1 {
		b.batches = append(b.batches, keys)
	}
	return b.onCall
}

func (b *Backend) answers(refs []secrets.Ref, failure error) ([]secrets.Result, <-chan struct{}, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	results := make([]secrets.Result, len(refs))
	for i, ref := range refs {
		results[i] = b.answer(ref, failure, now)
	}
	return results, b.gate, b.latency
}

func (b *Backend) answer(ref secrets.Ref, failure error, now time.Time) secrets.Result {
	fail := func(class error, format string, args ...any) secrets.Result {
		return secrets.Result{Err: &secrets.Error{
			Backend: b.name, Key: ref.String(), Err: class, Detail: fmt.Sprintf(format, args...),
		}}
	}
	switch {
	case b.closes > 0:
		return fail(secrets.ErrClosed, "the backend was closed; each Client needs a backend of its own")
	case failure != nil:
		return secrets.Result{Err: b.dress(failure, ref)}
	case b.failure != nil:
		return secrets.Result{Err: b.dress(b.failure, ref)}
	case b.failures[ref.Path] != nil:
		return secrets.Result{Err: b.dress(b.failures[ref.Path], ref)}
	}
	d := b.documents[ref.Path]
	switch {
	case d == nil || !d.deleted && len(d.versions) == 0:
		return fail(secrets.ErrNotFound, "the fake backend holds no document %q; %s", ref.Path, b.inventory())
	case d.deleted:
		return fail(secrets.ErrDeleted, "Delete was called for the document %q", ref.Path)
	}
	version := ref.Version
	if version == "" {
		version = d.current
	}
	s, ok := d.versions[version]
	if !ok {
		return fail(secrets.ErrNotFound, "the document %q has no version %q", ref.Path, version)
	}
	meta := secrets.Meta{
		Backend: b.name, Version: version, CreatedAt: s.Meta().CreatedAt, FetchedAt: now, ExpiresAt: d.expiry,
	}
	if d.lease > 0 {
		meta.ExpiresAt = now.Add(d.lease)
	}
	return secrets.Result{Secret: secrets.NewSecret(s.Reveal(), meta)}
}

// dress makes of a failure that a test has set the error of one call.
func (b *Backend) dress(failure error, ref secrets.Ref) error {
	var e secrets.Error
	switch own := failure.(type) { //nolint:errorlint // an error that only wraps one of ours is a foreign one
	case *secrets.Error:
		if own == nil {
			return failure
		}
		e = *own
	default:
		if failure != secrets.Class(failure) {
			return failure
		}
		e = secrets.Error{Err: failure, Detail: "the test told the fake backend to fail"}
	}
	if e.Backend == "" {
		e.Backend = b.name
	}
	if e.Key == "" {
		e.Key = ref.String()
	}
	return &e
}

// inventory tells which documents there are, since a test that asks for another one mostly has a typing error in it.
func (b *Backend) inventory() string {
	const most = 8
	var there []string
	for _, path := range slices.Sorted(maps.Keys(b.documents)) {
		if d := b.documents[path]; d.current != "" && !d.deleted {
			there = append(there, strconv.Quote(path))
		}
	}
	switch {
	case len(there) == 0:
		return "it holds none"
	case len(there) > most:
		return fmt.Sprintf("it holds %s and %d more", strings.Join(there[:most], ", "), len(there)-most)
	default:
		return "it holds " + strings.Join(there, ", ")
	}
}

// document returns the document at path, a new one if need be. b.mu is held.
func (b *Backend) document(path string) *document {
	d := b.documents[path]
	if d == nil {
		d = &document{versions: make(map[string]secrets.Secret)}
		b.documents[path] = d
	}
	return d
}

// wait waits until gate, unless it is nil, is closed, and then for d.
func wait(ctx context.Context, gate <-chan struct{}, d time.Duration) error {
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	if d > 0 && ctx.Err() == nil {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil // the answer was there in time, even if ctx ends in the same moment
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

var _ secrets.Backend = (*Backend)(nil)

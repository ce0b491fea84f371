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

// Backend is a fake [secrets.Backend] that holds documents in memory and that a test controls. All its methods are safe for concurrent use.
//
// Each call takes its answer, a document or a failure, when it begins. It then waits for [Backend.Block] and the latency, or until its ctx
// ends. A slow answer is therefore an old one, as on a real network: a test can change a value while a fetch is under way. All waits use
// channels and timers and work in a testing/synctest bubble.
//
// Errors are [*secrets.Error] of one class. The Detail of a not-found error lists the paths that the backend holds. No error shows a value,
// and no formatted or dumped Backend does.
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

// document is the state of one path. Remove keeps it: a version number is never used twice.
type document struct {
	versions map[string]secrets.Secret // a Secret, not a string: a dump of the backend must show no value
	current  string                    // name of the current version; "" if there is none
	last     int                       // number of the last version that Set made
	deleted  bool
	lease    time.Duration
	expiry   time.Time
}

// Option configures a [Backend].
type Option func(*Backend)

// WithName sets the name of the backend. Default: "fake". Two backends of one client need different names.
func WithName(name string) Option { return func(b *Backend) { b.name = name } }

// WithLocal makes the backend local, like environment variables and files: a Client then uses no cache and no dedup for it. Default: not
// local.
func WithLocal() Option { return func(b *Backend) { b.local = true } }

// WithBatch lets the backend return up to n documents in one call; it gathers the keys of a GetMany into such calls. Default: one document
// per call.
func WithBatch(n int) Option { return func(b *Backend) { b.batch = n } }

// WithLatency makes every call take d. Default: 0. [Backend.SetLatency] changes it later.
func WithLatency(d time.Duration) Option { return func(b *Backend) { b.latency = d } }

// NewBackend returns a fake backend that holds documents, a map from path to content. A path, such as "database", has no "?version=" and no
// "#field": the Client selects fields itself. Content is text or JSON. Each document starts at version "1". The map is copied.
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

// Set gives the document at path a new value and the next version: "1", then "2" and so on. Earlier versions stay available to refs with a
// Version. Set restores a deleted document. The version's CreatedAt is the time of the call.
func (b *Backend) Set(path, value string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.document(path)
	d.last++
	d.current = strconv.Itoa(d.last)
	d.versions[d.current] = secrets.NewSecret(value, secrets.Meta{CreatedAt: time.Now()})
	d.deleted = false
}

// SetVersion adds a version to the document at path and leaves the current version unchanged. The version is any name, such as
// "AWSPREVIOUS", for refs with that Version. It has no CreatedAt, since only the test knows its intended age.
func (b *Backend) SetVersion(path, version, value string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.document(path).versions[version] = secrets.NewSecret(value, secrets.Meta{})
}

// SetLease gives every answer from path a lease: its ExpiresAt is ttl after the call began. A ttl of 0 or less removes the lease.
func (b *Backend) SetLease(path string, ttl time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.document(path)
	d.lease, d.expiry = ttl, time.Time{}
}

// SetExpiry gives every answer from path the same ExpiresAt, which may be in the past. The zero time removes it.
func (b *Backend) SetExpiry(path string, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.document(path)
	d.lease, d.expiry = 0, at
}

// Delete marks the document at path as deleted: every version of it returns [secrets.ErrDeleted] until the next Set.
func (b *Backend) Delete(path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.document(path).deleted = true
}

// Remove removes the document at path: it returns [secrets.ErrNotFound], as if it had never existed.
func (b *Backend) Remove(path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.document(path)
	clear(d.versions)
	d.current, d.deleted = "", false
}

// Fail makes every call fail with err, until [Backend.Recover] or another Fail. If err is a class of package secrets or a [*secrets.Error],
// the backend adds its name and the key of the call. Any other error is returned unchanged, for tests of how a Client handles foreign
// errors.
func (b *Backend) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failure = err
}

// FailPath makes calls for path fail with err. An error set by [Backend.Fail] takes precedence.
func (b *Backend) FailPath(path string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures[path] = err
}

// Recover removes all failures that Fail and FailPath set.
func (b *Backend) Recover() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failure = nil
	clear(b.failures)
}

// SetLatency makes every later call take d. A call whose ctx ends first returns the error of ctx.
func (b *Backend) SetLatency(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.latency = d
}

// Block makes every later call wait until release is called or its ctx ends. Blocks add up: calls wait until all are released. Calling
// release again has no effect.
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

// OnCall makes every call run f before it takes its answer, on the goroutine of the call and without a lock. f may change the backend,
// panic or wait. If f returns an error, every ref of the call fails with it, as with [Backend.Fail]. A nil f removes the hook.
func (b *Backend) OnCall(f func(ctx context.Context, refs []secrets.Ref) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onCall = f
}

// Calls returns the number of calls so far, including those that failed or still wait. A call serves one Fetch, or several with
// [WithBatch].
func (b *Backend) Calls() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls
}

// Fetches returns how often the document at path was requested, in any version, alone or in a batch.
func (b *Backend) Fetches(path string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fetches[path]
}

// Batches returns the keys of each call for several documents, in the order in which the calls began. The keys within a call have no fixed
// order, since GetMany fetches concurrently. Without [WithBatch], the result is empty.
func (b *Backend) Batches() [][]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([][]string, len(b.batches))
	for i, batch := range b.batches {
		all[i] = slices.Clone(batch)
	}
	return all
}

// ResetCounts resets Calls, Fetches and Batches.
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

// Info returns the name, Local and Batch that the options set.
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

// Close makes later calls fail with [secrets.ErrClosed], as a backend with connections does. This exposes two Clients that share one
// backend.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closes++
	return nil
}

// call answers refs in one call.
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
		return secrets.Result{Err: b.callError(failure, ref)}
	case b.failure != nil:
		return secrets.Result{Err: b.callError(b.failure, ref)}
	case b.failures[ref.Path] != nil:
		return secrets.Result{Err: b.callError(b.failures[ref.Path], ref)}
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

// callError turns a failure that a test has set into the error of one call.
func (b *Backend) callError(failure error, ref secrets.Ref) error {
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

// inventory lists the documents: a test that requests a missing one usually has a typo in the path.
func (b *Backend) inventory() string {
	const maxListed = 8
	var there []string
	for _, path := range slices.Sorted(maps.Keys(b.documents)) {
		if d := b.documents[path]; d.current != "" && !d.deleted {
			there = append(there, strconv.Quote(path))
		}
	}
	switch {
	case len(there) == 0:
		return "it holds none"
	case len(there) > maxListed:
		return fmt.Sprintf("it holds %s and %d more", strings.Join(there[:maxListed], ", "), len(there)-maxListed)
	default:
		return "it holds " + strings.Join(there, ", ")
	}
}

// document returns the document at path and creates it if necessary. b.mu must be held.
func (b *Backend) document(path string) *document {
	d := b.documents[path]
	if d == nil {
		d = &document{versions: make(map[string]secrets.Secret)}
		b.documents[path] = d
	}
	return d
}

// wait waits until gate is closed, unless it is nil, and then for d.
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

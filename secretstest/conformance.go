package secretstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// Factory returns a ready backend that holds documents, for one case of [Run]. It uses t for its setup (t.Setenv, t.TempDir, t.Cleanup) and
// fails t if the setup fails. The Factory may change the map.
//
// The path of a document has one or two segments of lower-case letters, digits and hyphens:
//
//   - One segment, such as "database": the content is a JSON object as encoding/json writes a map. Without [WithObjectsOnly], it may also
//     be any text.
//   - Two segments, such as "text/plain": the content is text. A backend whose secrets are objects, such as Vault, stores it as the field
//     "plain" of the secret "text".
//
// No path is a prefix of another, so the first segment can be a directory. Content is valid UTF-8 without NUL and has no newline at its
// end, except with [WithBinary].
//
// The suite closes the backend, perhaps more than once.
type Factory func(t *testing.T, documents map[string]string) secrets.Backend

// RunOption tells [Run] what a backend supports, or cannot support.
type RunOption func(*suite)

// WithObjectsOnly is for a backend whose documents are JSON objects that it encodes itself, such as Vault. Default: the backend must return
// any document byte for byte.
func WithObjectsOnly() RunOption { return func(s *suite) { s.objectsOnly = true } }

// WithoutEmptyValues is for a backend that cannot hold an empty value. Default: the backend must hold it and distinguish it from a missing
// one.
func WithoutEmptyValues() RunOption { return func(s *suite) { s.withoutEmpty = true } }

// WithFloatNumbers is for a backend whose store reads numbers as floating point, as Vault's KV v2 does. Default: a number must keep every
// digit.
func WithFloatNumbers() RunOption { return func(s *suite) { s.floatNumbers = true } }

// WithBinary is for a backend whose documents may be any bytes. It adds documents that are not UTF-8, contain NUL or end in a newline.
// Default: all documents are text.
func WithBinary() RunOption { return func(s *suite) { s.binary = true } }

// WithVersions is for a backend that keeps versions. setup returns a backend with at least two versions of the document at path. versions
// maps their names, as used in "?version=", to their contents, which must differ. Default: the backend need only refuse a version that it
// does not have.
func WithVersions(setup func(t *testing.T) (backend secrets.Backend, path string, versions map[string]string)) RunOption {
	return func(s *suite) { s.versions = setup }
}

// WithFailure checks that a failure has exactly the class that it should, and that its error shows no value. setup returns a backend that
// fails this way on key, for example because its server returns 403. It must put secret wherever the failure could carry a value: the body,
// the headers, the malformed document. The option may be repeated, also for one class. Default: only [secrets.ErrNotFound] is checked.
func WithFailure(class error, setup func(t *testing.T, secret string) (backend secrets.Backend, key string)) RunOption {
	return func(s *suite) { s.failures = append(s.failures, failure{class, setup}) }
}

// WithStall checks that a waiting backend obeys its ctx. setup returns a backend that never answers for key, for example because its server
// accepts the request and hangs. Default: only a ctx that ended before the call is checked.
func WithStall(setup func(t *testing.T) (backend secrets.Backend, key string)) RunOption {
	return func(s *suite) { s.stall = setup }
}

// Run checks that the backends of newBackend keep the contract of [secrets.Backend], in more than a hundred subtests:
//
//   - stored values are returned byte for byte, alone and in a batch, with fields and metadata;
//   - a missing secret is [secrets.ErrNotFound], and every error has exactly one class;
//   - no error shows a value at any depth;
//   - Info is constant, and its functions are safe;
//   - in a [secrets.Client.GetMany], each key has its own answer and fails alone;
//   - keys mean the same when a program embeds the backend, wraps it in layers, or adds a fallback;
//   - ctx is obeyed, and its end changes neither the class of an error nor the next call;
//   - hostile keys find only what is stored, and cause no panic;
//   - concurrent use and Close are safe. Run the tests with -race.
//
// The suite calls the backend directly and through a [secrets.Client]. Like a Client, a direct call applies Info.Resolve, if it is set, and
// selects the field.
func Run(t *testing.T, newBackend Factory, opts ...RunOption) {
	t.Helper()
	s := newSuite(newBackend, opts)
	if fault := s.fault(); fault != "" {
		t.Fatalf("secretstest: Run: %s", fault)
	}
	for _, tc := range s.cases() {
		t.Run(tc.name, func(t *testing.T) {
			for _, f := range s.try(t, tc) {
				t.Errorf("%s\n\twhy: %s", f, tc.why)
			}
		})
	}
}

// suite holds the settings of Run. Its cases collect failures and Run reports them: the suite's own tests can then run it on broken
// backends.
type suite struct {
	newBackend   Factory
	objectsOnly  bool
	withoutEmpty bool
	floatNumbers bool
	binary       bool
	versions     func(t *testing.T) (secrets.Backend, string, map[string]string)
	failures     []failure
	stall        func(t *testing.T) (secrets.Backend, string)

	callTimeout time.Duration // limit for one call
	detector    *detector     // finds canary
	wrap        wrappers
}

type failure struct {
	class error
	setup func(t *testing.T, secret string) (secrets.Backend, string)
}

type testCase struct {
	name string
	why  string // what breaks for a user if the case fails
	run  func(c *check)
}

func newSuite(newBackend Factory, opts []RunOption) *suite {
	s := &suite{newBackend: newBackend, callTimeout: 30 * time.Second, detector: newDetector(canary), wrap: plainWrappers()}
	for _, o := range opts {
		o(s)
	}
	return s
}

func (s *suite) fault() string {
	if s.newBackend == nil {
		return "the Factory is nil"
	}
	for _, f := range s.failures {
		if !slices.Contains(sentinels(), f.class) {
			return fmt.Sprintf("WithFailure: %v is not a class of package secrets", f.class)
		}
	}
	return ""
}

func (s *suite) errorLeaks(err error) []string {
	return s.detector.search(func(emit func(how, text string)) { renderError(err, emit) })
}

// try runs one case and returns its failures.
func (s *suite) try(t *testing.T, tc testCase) []string {
	t.Helper()
	c := &check{t: t, suite: s}
	defer c.cleanup()
	func() {
		defer func() {
			if p := recover(); p != nil && p != (stopped{}) {
				panic(p)
			}
		}()
		tc.run(c)
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// check is one running case.
type check struct {
	*suite
	t       *testing.T
	closing []io.Closer

	mu     sync.Mutex
	failed []string
}

type stopped struct{}

// errorf records a failure. Its text must show no value: the backend under test may be a real one.
func (c *check) errorf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = append(c.failed, fmt.Sprintf(format, args...))
}

// fatalf records a failure and ends the case. Call it only on the goroutine of the case.
func (c *check) fatalf(format string, args ...any) {
	c.errorf(format, args...)
	panic(stopped{})
}

// cleanup closes what the case has opened. It ignores failures of Close, which the cases on Close check.
func (c *check) cleanup() {
	for _, closer := range slices.Backward(c.closing) {
		protected(func() { _ = closer.Close() })
	}
}

// do calls f, which calls the backend, and waits for it. A panic, runtime.Goexit or a call that does not return counts as a failure of the
// backend. what describes f.
func (c *check) do(what string, f func()) {
	c.t.Helper()
	if fault := c.bounded(f); fault != "" {
		c.fatalf("%s: %s", what, fault)
	}
}

func (c *check) bounded(f func()) (fault string) {
	done := make(chan string, 1)
	go func() {
		fault := "the call ended its goroutine"
		defer func() {
			if p := recover(); p != nil {
				fault = fmt.Sprintf("the call panicked with a %T", p)
			}
			done <- fault
		}()
		f()
		fault = ""
	}()
	timer := time.NewTimer(c.callTimeout)
	defer timer.Stop()
	select {
	case fault := <-done:
		return fault
	case <-timer.C:
		return fmt.Sprintf("the call did not return within %v", c.callTimeout)
	}
}

// backend returns a new backend with the standard documents and more.
func (c *check) backend(more map[string]string) secrets.Backend {
	c.t.Helper()
	documents := standard()
	maps.Copy(documents, more)
	return c.own(c.newBackend(c.t, documents))
}

func (c *check) own(b secrets.Backend) secrets.Backend {
	c.t.Helper()
	if b == nil {
		c.fatalf("the backend is nil")
	}
	c.closing = append(c.closing, b)
	return b
}

// client returns a Client of b with opts only.
func (c *check) client(b secrets.Backend, opts ...secrets.Option) *secrets.Client {
	c.t.Helper()
	client, err := secrets.New(b, opts...)
	if err != nil {
		c.fatalf("secrets.New refuses the backend: %v", err)
	}
	c.closing = append(c.closing, client)
	return client
}

// locate resolves ref as a Client does before it calls a backend.
func locate(b secrets.Backend, ref secrets.Ref) (doc secrets.Ref, field string) {
	if resolve := b.Info().Resolve; resolve != nil {
		ref = resolve(ref)
	}
	return secrets.Ref{Path: ref.Path, Version: ref.Version}, ref.Field
}

func parse(key string) secrets.Ref {
	ref, err := secrets.ParseRef(key)
	if err != nil {
		panic(err) // a bug in the suite
	}
	return ref
}

// fetch calls the backend directly.
func (c *check) fetch(ctx context.Context, b secrets.Backend, key string) (secrets.Secret, error) {
	c.t.Helper()
	var r secrets.Result
	what := fmt.Sprintf("Fetch of %q", key)
	c.do(what, func() {
		doc, field := locate(b, parse(key))
		r.Secret, r.Err = b.Fetch(ctx, doc)
		r = choose(c.checkResult(ctx, what, r), field)
	})
	return r.Secret, r.Err
}

func choose(r secrets.Result, field string) secrets.Result {
	if r.Err == nil && field != "" {
		r.Secret, r.Err = r.Secret.Field(field)
	}
	return r
}

// get calls client.Get and checks the answer.
func (c *check) get(ctx context.Context, client *secrets.Client, key string) (secrets.Secret, error) {
	c.t.Helper()
	var r secrets.Result
	what := fmt.Sprintf("Client.Get of %q", key)
	c.do(what, func() {
		r.Secret, r.Err = client.Get(ctx, key)
		r = c.checkResult(ctx, what, r)
	})
	return r.Secret, r.Err
}

// getMany calls client.GetMany and returns the answer to each key.
func (c *check) getMany(ctx context.Context, client *secrets.Client, keys ...string) map[string]secrets.Result {
	c.t.Helper()
	var found map[string]secrets.Secret
	var err error
	c.do("Client.GetMany", func() { found, err = client.GetMany(ctx, keys...) })
	return c.answers(ctx, keys, found, err)
}

// answers returns the results of GetMany by key. It records a failure unless each key has exactly one answer.
func (c *check) answers(
	ctx context.Context, keys []string, found map[string]secrets.Secret, err error,
) map[string]secrets.Result {
	results := make(map[string]secrets.Result, len(keys))
	for key, s := range found {
		results[key] = c.checkResult(ctx, c.many(key), secrets.Result{Secret: s})
	}
	failed, ok := err.(secrets.Errors) //nolint:errorlint // the type itself is promised
	if err != nil && !ok {
		c.errorf("Client.GetMany: %v, a %T; want Errors", c.safe(err), err)
	}
	before := -1
	for _, e := range failed {
		if _, twice := results[e.Key]; twice {
			c.errorf("%s: there are two answers", c.many(e.Key))
		}
		place := slices.Index(keys, e.Key)
		if place < before {
			c.errorf("Client.GetMany: the errors are not in the order of the keys")
		}
		before = place
		results[e.Key] = c.checkResult(ctx, c.many(e.Key), secrets.Result{Err: e})
	}
	for key := range results {
		if !slices.Contains(keys, key) {
			c.errorf("%s: the key was not requested", c.many(key))
		}
	}
	for _, key := range keys {
		if _, answered := results[key]; !answered {
			c.errorf("%s: there is no answer", c.many(key))
		}
	}
	return results
}

func (c *check) many(key string) string {
	return fmt.Sprintf("Client.GetMany, the answer to %s", short(key))
}

// checkResult checks what must hold for every answer.
func (c *check) checkResult(ctx context.Context, what string, r secrets.Result) secrets.Result {
	switch {
	case r.Err == nil && r.Secret.IsZero():
		c.errorf("%s: the zero Secret without an error", what)
	case r.Err != nil && !r.Secret.IsZero():
		c.errorf("%s: a Secret together with an error", what)
	}
	c.checkError(ctx, what, r.Err)
	return r
}

func (c *check) checkError(ctx context.Context, what string, err error) {
	if err == nil {
		return
	}
	for _, leak := range c.errorLeaks(err) {
		c.errorf("%s: the error shows a value: %s", what, leak)
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return
	}
	if all := classesOf(err); len(all) != 1 {
		c.errorf("%s: the error, a %T, has %d classes %v; want exactly one", what, err, len(all), all)
	}
}

// sentinels returns the classes of package secrets, narrower ones first.
func sentinels() []error {
	return []error{
		secrets.ErrDeleted, secrets.ErrFieldNotFound, secrets.ErrNotFound, secrets.ErrPermissionDenied,
		secrets.ErrUnauthenticated, secrets.ErrUnavailable, secrets.ErrInvalidKey, secrets.ErrMalformed, secrets.ErrUnknown,
		secrets.ErrClosed,
	}
}

// classesOf returns the classes that err matches. It omits a wider class that a narrower one implies.
func classesOf(err error) []error {
	var all []error
	for _, class := range sentinels() {
		if !errors.Is(err, class) {
			continue
		}
		implied := slices.ContainsFunc(all, func(narrow error) bool { return errors.Is(narrow, class) })
		if !implied {
			all = append(all, class)
		}
	}
	return all
}

// wantValue records a failure unless the answer is the value.
func (c *check) wantValue(what string, s secrets.Secret, err error, want string) {
	switch {
	case err != nil:
		c.errorf("%s: %v; want the value", what, c.safe(err))
	case s.IsZero(): // checkResult has recorded it
	case s.Reveal() != want:
		c.errorf("%s: %s", what, difference(s.Reveal(), want))
	}
}

// wantClass records a failure unless err has exactly that class.
func (c *check) wantClass(what string, err, class error) {
	if err == nil {
		c.errorf("%s: no error; want %v", what, class)
		return
	}
	if got := secrets.Class(err); got != class {
		c.errorf("%s: %v; want %v", what, c.safe(err), class)
	}
}

// wantAbsent records a failure unless the class of err is one of classes, the accepted ways to report a missing secret.
func (c *check) wantAbsent(what string, err error, classes ...error) {
	if err == nil {
		c.errorf("%s: found; want an error", what)
		return
	}
	if got := secrets.Class(err); !slices.Contains(classes, got) {
		c.errorf("%s: %v; want one of %v", what, c.safe(err), classes)
	}
}

// safe returns err in a form that is safe to print.
func (c *check) safe(err error) any {
	if len(c.errorLeaks(err)) > 0 {
		return fmt.Sprintf("an error of class %v that shows a value", secrets.Class(err))
	}
	return err
}

// difference describes how got differs from want without quoting either.
func difference(got, want string) string {
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	hint := ""
	switch {
	case strings.TrimSpace(got) == strings.TrimSpace(want):
		hint = "; only the surrounding whitespace differs"
	case strings.EqualFold(got, want):
		hint = "; only the letter case differs"
	}
	return fmt.Sprintf("got %d bytes that differ at byte %d from the %d bytes stored%s", len(got), i, len(want),
		hint)
}

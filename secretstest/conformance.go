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

// Factory makes a backend that holds documents, ready to use, for one case of [Run]. It says with t what it needs for that
// (t.Setenv, t.TempDir, t.Cleanup) and fails t if it cannot. The map is the Factory's own.
//
// The path of a document has one or two segments of lower-case letters, digits and hyphens:
//
//   - One segment, such as "database": the content is a JSON object, in the form in which encoding/json writes a map. With
//     [WithObjectsOnly] that is all; without it, it may be any text.
//   - Two segments, such as "text/plain": the content is text. A backend whose secrets are objects, as those of Vault are,
//     makes it the field "plain" of the secret "text".
//
// No path is the beginning of another, so that a directory may stand for the first segment. Content is valid UTF-8 without
// NUL and does not end in a newline, except with [WithBinary].
//
// The suite closes the backend, perhaps more than once.
type Factory func(t *testing.T, documents map[string]string) secrets.Backend

// RunOption tells [Run] what a backend can do beyond what all can.
type RunOption func(*suite)

// WithObjectsOnly is for a backend whose documents are JSON objects that it writes itself, such as Vault: by default, it
// must keep any document byte for byte.
func WithObjectsOnly() RunOption { return func(s *suite) { s.objectsOnly = true } }

// WithoutEmptyValues is for a backend that cannot hold an empty value: by default, it must, and tell it from a missing one.
func WithoutEmptyValues() RunOption { return func(s *suite) { s.withoutEmpty = true } }

// WithFloatNumbers is for a backend whose store reads the numbers of a document as floating-point ones, as KV version 2 of
// Vault does: by default, a number must keep every digit.
func WithFloatNumbers() RunOption { return func(s *suite) { s.floatNumbers = true } }

// WithBinary is for a backend whose documents may be any bytes: it gets one that is not UTF-8, with NUL and a newline at
// its end. By default, all are text.
func WithBinary() RunOption { return func(s *suite) { s.binary = true } }

// WithVersions is for a backend that keeps versions. setup makes one with several versions of the document at path, and
// tells their names, as they stand behind "?version=", and their contents, which differ. By default, a backend need only
// refuse a version that it does not have.
func WithVersions(setup func(t *testing.T) (backend secrets.Backend, path string, versions map[string]string)) RunOption {
	return func(s *suite) { s.versions = setup }
}

// WithFailure has Run check that a failure arrives as exactly the class that it should, and that the error shows no value.
// setup makes a backend that fails so on key: a server that answers 403, a file without permissions. It puts secret
// wherever the failure could carry a value: into the body, the headers, the broken document. It may be given for one class
// several times. By default, only [secrets.ErrNotFound] is checked.
func WithFailure(class error, setup func(t *testing.T, secret string) (backend secrets.Backend, key string)) RunOption {
	return func(s *suite) { s.failures = append(s.failures, failure{class, setup}) }
}

// WithStall has Run check that the backend obeys its ctx while it waits. setup makes one that does not answer for key at
// all: a server that accepts the request and hangs. By default, only a ctx that ended before the call is tried.
func WithStall(setup func(t *testing.T) (backend secrets.Backend, key string)) RunOption {
	return func(s *suite) { s.stall = setup }
}

// Run checks that the backends which newBackend makes do what [secrets.Backend] promises, in more than a hundred subtests:
//
//   - what is there is returned byte for byte, alone and among others, with fields and meta data;
//   - what is missing is [secrets.ErrNotFound], and every error is of exactly one class;
//   - no error shows a value, wherever in it;
//   - Info is constant, and its functions are safe;
//   - in a [secrets.Client.GetMany], each key has its own answer, and fails alone;
//   - the backend means the same when a program embeds it, wraps it in layers, or falls back from it;
//   - ctx is obeyed, and its end neither changes the class of an error nor disturbs the next call;
//   - hostile keys find nothing that is not there and bring nothing down;
//   - concurrent use and Close are safe. Run the tests with -race.
//
// The suite calls the backend directly and through a [secrets.Client]. A direct call does what a Client does: it asks
// Info.Resolve, if there is one, and selects the field.
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

// suite is what Run was told. Its cases collect failures and leave it to Run to report them, so that the suite's own tests
// can run it on backends that are broken.
type suite struct {
	newBackend   Factory
	objectsOnly  bool
	withoutEmpty bool
	floatNumbers bool
	binary       bool
	versions     func(t *testing.T) (secrets.Backend, string, map[string]string)
	failures     []failure
	stall        func(t *testing.T) (secrets.Backend, string)

	patience time.Duration // for one call
	detector *detector     // of canary
	wrap     wrappers
}

type failure struct {
	class error
	setup func(t *testing.T, secret string) (secrets.Backend, string)
}

type testCase struct {
	name string
	why  string // what a user loses if it fails
	run  func(c *check)
}

func newSuite(newBackend Factory, opts []RunOption) *suite {
	s := &suite{newBackend: newBackend, patience: 30 * time.Second, detector: newDetector(canary), wrap: plainWrappers()}
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

// check is one case that runs.
type check struct {
	*suite
	t       *testing.T
	closing []io.Closer

	mu     sync.Mutex
	failed []string
}

type stopped struct{}

// errorf notes a failure. Its text must hold no value: the backend under test may be a real one.
func (c *check) errorf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = append(c.failed, fmt.Sprintf(format, args...))
}

// fatalf notes a failure and ends the case. It may only be called on the goroutine of the case.
func (c *check) fatalf(format string, args ...any) {
	c.errorf(format, args...)
	panic(stopped{})
}

// cleanup closes what the case has opened. What is wrong with Close is the business of the cases on Close.
func (c *check) cleanup() {
	for _, closer := range slices.Backward(c.closing) {
		protected(func() { _ = closer.Close() })
	}
}

// do calls f, which calls the backend, and waits for it: a panic, the end of its goroutine, and a call that does not return
// are failures of the backend, not of the test program. what says what f does.
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
	timer := time.NewTimer(c.patience)
	defer timer.Stop()
	select {
	case fault := <-done:
		return fault
	case <-timer.C:
		return fmt.Sprintf("the call did not return within %v", c.patience)
	}
}

// backend returns a new backend with the standard documents, and more.
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

// client returns a Client with nothing but the backend.
func (c *check) client(b secrets.Backend, opts ...secrets.Option) *secrets.Client {
	c.t.Helper()
	client, err := secrets.New(b, opts...)
	if err != nil {
		c.fatalf("secrets.New refuses the backend: %v", err)
	}
	c.closing = append(c.closing, client)
	return client
}

// locate does what a Client does before it asks a backend.
func locate(b secrets.Backend, ref secrets.Ref) (doc secrets.Ref, field string) {
	if resolve := b.Info().Resolve; resolve != nil {
		ref = resolve(ref)
	}
	return secrets.Ref{Path: ref.Path, Version: ref.Version}, ref.Field
}

func parse(key string) secrets.Ref {
	ref, err := secrets.ParseRef(key)
	if err != nil {
		panic(err) // a fault of the suite
	}
	return ref
}

// fetch asks the backend directly.
func (c *check) fetch(ctx context.Context, b secrets.Backend, key string) (secrets.Secret, error) {
	c.t.Helper()
	var r secrets.Result
	what := fmt.Sprintf("Fetch of %q", key)
	c.do(what, func() {
		doc, field := locate(b, parse(key))
		r.Secret, r.Err = b.Fetch(ctx, doc)
		r = choose(c.sound(ctx, what, r), field)
	})
	return r.Secret, r.Err
}

func choose(r secrets.Result, field string) secrets.Result {
	if r.Err == nil && field != "" {
		r.Secret, r.Err = r.Secret.Field(field)
	}
	return r
}

// get asks through a Client.
func (c *check) get(ctx context.Context, client *secrets.Client, key string) (secrets.Secret, error) {
	c.t.Helper()
	var r secrets.Result
	what := fmt.Sprintf("Client.Get of %q", key)
	c.do(what, func() {
		r.Secret, r.Err = client.Get(ctx, key)
		r = c.sound(ctx, what, r)
	})
	return r.Secret, r.Err
}

// getMany asks through a Client and returns the answer to each key.
func (c *check) getMany(ctx context.Context, client *secrets.Client, keys ...string) map[string]secrets.Result {
	c.t.Helper()
	var found map[string]secrets.Secret
	var err error
	c.do("Client.GetMany", func() { found, err = client.GetMany(ctx, keys...) })
	return c.answers(ctx, keys, found, err)
}

// answers sorts what GetMany returned by key, and notes a failure unless each key has exactly one answer.
func (c *check) answers(
	ctx context.Context, keys []string, found map[string]secrets.Secret, err error,
) map[string]secrets.Result {
	results := make(map[string]secrets.Result, len(keys))
	for key, s := range found {
		results[key] = c.sound(ctx, c.many(key), secrets.Result{Secret: s})
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
		results[e.Key] = c.sound(ctx, c.many(e.Key), secrets.Result{Err: e})
	}
	for key := range results {
		if !slices.Contains(keys, key) {
			c.errorf("%s: nobody asked for it", c.many(key))
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

// sound notes what must hold for every answer.
func (c *check) sound(ctx context.Context, what string, r secrets.Result) secrets.Result {
	switch {
	case r.Err == nil && r.Secret.IsZero():
		c.errorf("%s: the zero Secret without an error", what)
	case r.Err != nil && !r.Secret.IsZero():
		c.errorf("%s: a Secret beside an error", what)
	}
	c.soundError(ctx, what, r.Err)
	return r
}

func (c *check) soundError(ctx context.Context, what string, err error) {
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
		c.errorf("%s: the error, a %T, is of %d classes %v; it must be of exactly one", what, err, len(all), all)
	}
}

// sentinels are the classes of package secrets, the narrower before the wider.
func sentinels() []error {
	return []error{
		secrets.ErrDeleted, secrets.ErrFieldNotFound, secrets.ErrNotFound, secrets.ErrPermissionDenied,
		secrets.ErrUnauthenticated, secrets.ErrUnavailable, secrets.ErrInvalidKey, secrets.ErrMalformed, secrets.ErrUnknown,
		secrets.ErrClosed,
	}
}

// classesOf returns the sentinels that err matches, without the wider one that a narrower one implies.
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

// wantValue notes a failure unless the answer is the value.
func (c *check) wantValue(what string, s secrets.Secret, err error, want string) {
	switch {
	case err != nil:
		c.errorf("%s: %v; want the value", what, c.safe(err))
	case s.IsZero(): // noted already
	case s.Reveal() != want:
		c.errorf("%s: %s", what, difference(s.Reveal(), want))
	}
}

// wantClass notes a failure unless err is of exactly that class.
func (c *check) wantClass(what string, err, class error) {
	if err == nil {
		c.errorf("%s: no error; want %v", what, class)
		return
	}
	if got := secrets.Class(err); got != class {
		c.errorf("%s: %v; want %v", what, c.safe(err), class)
	}
}

// wantAbsent notes a failure unless err says, in one of the ways that are right, that there is no such secret.
func (c *check) wantAbsent(what string, err error, classes ...error) {
	if err == nil {
		c.errorf("%s: found; want an error", what)
		return
	}
	if got := secrets.Class(err); !slices.Contains(classes, got) {
		c.errorf("%s: %v; want one of %v", what, c.safe(err), classes)
	}
}

// safe returns err as it may be printed.
func (c *check) safe(err error) any {
	if len(c.errorLeaks(err)) > 0 {
		return fmt.Sprintf("an error of class %v that shows a value", secrets.Class(err))
	}
	return err
}

// difference tells how got differs from want without quoting either.
func difference(got, want string) string {
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	hint := ""
	switch {
	case strings.TrimSpace(got) == strings.TrimSpace(want):
		hint = "; it differs in the space around it"
	case strings.EqualFold(got, want):
		hint = "; it differs in case"
	}
	return fmt.Sprintf("a value of %d bytes that differs at byte %d from that of %d bytes which is stored%s", len(got), i, len(want),
		hint)
}

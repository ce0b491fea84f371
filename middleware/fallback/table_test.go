package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
)

// answer is the answer of a source for one key: a value (nil), the class of an error, or that the caller cancels during the call.
type answer struct {
	name  string
	class error
	ends  bool
}

// The truth table: after which answers the chain goes on, by policy. The last column is a policy of the program that returns true for every
// class.
var table = []struct {
	answer              answer
	to, onNotFound, any bool
}{
	{answer{name: "value"}, false, false, false},
	{answer{name: "not found", class: secrets.ErrNotFound}, true, true, true},
	{answer{name: "deleted", class: secrets.ErrDeleted}, false, false, false},
	{answer{name: "field not found", class: secrets.ErrFieldNotFound}, false, false, false},
	{answer{name: "denied", class: secrets.ErrPermissionDenied}, false, false, false},
	{answer{name: "unauthenticated", class: secrets.ErrUnauthenticated}, false, false, false},
	{answer{name: "unavailable", class: secrets.ErrUnavailable}, true, false, true},
	{answer{name: "invalid key", class: secrets.ErrInvalidKey}, false, false, true},
	{answer{name: "malformed", class: secrets.ErrMalformed}, false, false, true},
	{answer{name: "unknown", class: secrets.ErrUnknown}, false, false, true},
	{answer{name: "closed", class: secrets.ErrClosed}, false, false, false},
	{answer{name: "caller gone", ends: true}, false, false, false},
}

const sourceCount = 3

var names = [sourceCount]string{"first", "second", "third"}

// policy is a policy and its column of the table.
type policy struct {
	name string
	of   func(next ...secrets.Backend) secrets.Fallback
	row  func(kind int) (goesOn bool)
}

var policies = []policy{
	{
		"To", func(next ...secrets.Backend) secrets.Fallback { return fallback.To(next...) },
		func(kind int) bool { return table[kind].to },
	},
	{
		"OnNotFound", func(next ...secrets.Backend) secrets.Fallback { return fallback.OnNotFound(next...) },
		func(kind int) bool { return table[kind].onNotFound },
	},
	{
		"the program's own", func(next ...secrets.Backend) secrets.Fallback { return &own{backends: next} },
		func(kind int) bool { return table[kind].any },
	},
}

// own is a policy of the program that always goes on.
type own struct {
	backends []secrets.Backend
	asked    []error
}

func (o *own) Validate() error             { return nil }
func (o *own) Backends() []secrets.Backend { return o.backends }

func (o *own) GoesOn(class error) bool {
	o.asked = append(o.asked, class)
	return true
}

var _ secrets.Fallback = (*own)(nil)

// cell is one test case: the answer of each source, as a row of the table, and the policy.
type cell struct {
	kinds  [sourceCount]int
	policy policy
}

func (c cell) String() string {
	said := make([]string, sourceCount)
	for i, k := range c.kinds {
		said[i] = table[k].answer.name
	}
	return c.policy.name + ": " + strings.Join(said, ", ")
}

func (c cell) answers() [sourceCount]answer {
	var all [sourceCount]answer
	for i, k := range c.kinds {
		all[i] = table[k].answer
	}
	return all
}

func cells() []cell {
	var all []cell
	for _, p := range policies {
		for i := range table {
			for j := range table {
				for k := range table {
					all = append(all, cell{[sourceCount]int{i, j, k}, p})
				}
			}
		}
	}
	return all
}

// outcome is the result of a chain in comparable form.
type outcome struct {
	asked   [sourceCount]int // how often each source was asked
	value   string
	backend string // of the value, or of the error
	failure string // the class, or the context's error
	causes  string // backend and class of each, in order
}

// want is a model of a chain: it follows the table and the rule for the class of the error, and shares no code with the code under test.
func (c cell) want() outcome {
	var o outcome
	var failed []int
	chosen := -1
	for i, kind := range c.kinds {
		o.asked[i] = 1
		a := table[kind].answer
		if a.ends {
			o.backend, o.failure = names[i], context.Canceled.Error()
			return o
		}
		if a.class == nil {
			o.value, o.backend = valueOf(names[i]), names[i]
			return o
		}
		failed = append(failed, i)
		if !c.policy.row(kind) {
			if !isAbsence(kind) { // a not-found does not hide a source that could not be asked
				chosen = i
			}
			break
		}
	}
	for _, i := range failed {
		if chosen < 0 && !isAbsence(c.kinds[i]) {
			chosen = i
		}
	}
	if last := failed[len(failed)-1]; chosen < 0 && !c.policy.row(c.kinds[last]) {
		chosen = last
	}
	if chosen < 0 {
		chosen = failed[0]
	}
	var causes []string
	for _, i := range failed {
		if i != chosen {
			causes = append(causes, names[i]+" "+table[c.kinds[i]].answer.class.Error())
		}
	}
	o.backend, o.failure = names[chosen], table[c.kinds[chosen]].answer.class.Error()
	o.causes = strings.Join(causes, "; ")
	return o
}

func isAbsence(kind int) bool {
	return slices.Contains([]string{"not found", "deleted", "field not found"}, table[kind].answer.name)
}

func valueOf(source string) string { return "the value of " + source }

const theKey = "database"

const maxBatch = 2000 // more than any test has

// source is a backend that answers as its cell says.
type source struct {
	name   string
	say    func(path string) answer
	cancel context.CancelFunc // of the caller

	batcher *secrets.Batcher // or nil

	mu    sync.Mutex
	calls int
	keys  []string
}

func (s *source) Info() secrets.Info {
	info := secrets.Info{Name: s.name}
	if s.batcher != nil {
		info.Batch = maxBatch
	}
	return info
}

func (s *source) Close() error { return nil }

func (s *source) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	if s.batcher != nil {
		return s.batcher.Fetch(ctx, ref)
	}
	r := s.call(ctx, []secrets.Ref{ref})[0]
	return r.Secret, r.Err
}

// call answers refs, as one call of a server.
func (s *source) call(_ context.Context, refs []secrets.Ref) []secrets.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	results := make([]secrets.Result, len(refs))
	for i, ref := range refs {
		s.keys = append(s.keys, ref.Path)
		switch a := s.say(ref.Path); {
		case a.ends:
			s.cancel() // a flight of dedup or cache goes on
			results[i].Err = context.Canceled
		case a.class != nil:
			results[i].Err = secrets.NewError(a.class, "as told")
		default:
			results[i].Secret = secrets.NewSecret(valueOf(s.name), secrets.Meta{})
		}
	}
	return results
}

var _ secrets.Backend = (*source)(nil)

// sources returns a source for each answer.
func sources(answers [sourceCount]answer, cancel context.CancelFunc) []*source {
	all := make([]*source, sourceCount)
	for i := range all {
		all[i] = &source{name: names[i], say: func(string) answer { return answers[i] }, cancel: cancel}
	}
	return all
}

func backends(all []*source) []secrets.Backend {
	made := make([]secrets.Backend, len(all))
	for i, s := range all {
		made[i] = s
	}
	return made
}

// observe returns the outcome of a cell.
func observe(all []*source, s secrets.Secret, err error) outcome {
	var o outcome
	for i, source := range all {
		source.mu.Lock() // a source may still run after its caller has left
		o.asked[i] = source.calls
		source.mu.Unlock()
	}
	if err == nil {
		o.value, o.backend = s.Reveal(), s.Meta().Backend
		return o
	}
	if !s.IsZero() {
		o.value = "a value beside an error"
	}
	var e *secrets.Error
	if !errors.As(err, &e) {
		o.failure = err.Error()
		return o
	}
	o.backend, o.failure = e.Backend, e.Err.Error()
	detail := "as told"
	if e.Err == context.Canceled {
		detail = "" // the detail of a cancellation is not compared
	}
	if o.failure != secrets.Class(err).Error() || e.Detail != detail || e.Key != theKey {
		o.failure = fmt.Sprintf("%v, but %+v", secrets.Class(err), e)
	}
	// errors.Is matches the class and its parent class, but no causes.
	for _, row := range table {
		class := row.answer.class
		wide := errors.Is(class, secrets.ErrNotFound) && errors.Is(e.Err, secrets.ErrNotFound)
		if class != nil && class != e.Err && errors.Is(err, class) && !wide {
			o.failure += ", and " + class.Error()
		}
	}
	causes := make([]string, len(e.Causes))
	for i, cause := range e.Causes {
		causes[i] = cause.Backend + " " + cause.Err.Error()
	}
	o.causes = strings.Join(causes, "; ")
	return o
}

// connect makes a Client of all backends, with the options more.
type connect func(all []secrets.Backend, more ...secrets.Option) (*secrets.Client, error)

// by makes a Client with a fallback.
func (p policy) by(all []secrets.Backend, more ...secrets.Option) (*secrets.Client, error) {
	return secrets.New(all[0], append(more, secrets.WithFallback(p.of(all[1:]...)))...)
}

// route is a way to get the key.
type route struct {
	name string
	opts []secrets.Option
	ask  func(ctx context.Context, c *secrets.Client) (secrets.Secret, error)
}

func get(ctx context.Context, c *secrets.Client) (secrets.Secret, error) { return c.Get(ctx, theKey) }

func getMany(ctx context.Context, c *secrets.Client) (secrets.Secret, error) {
	found, err := c.GetMany(ctx, theKey)
	if many, ok := err.(secrets.Errors); ok && len(many) == 1 {
		err = many[0]
	}
	return found[theKey], err
}

// direct gets the key from a Client without other layers.
var direct = []route{{"Get", nil, get}, {"GetMany", nil, getMany}}

// throughAll gets the key through all layers.
func throughAll() []route {
	standard := []secrets.Option{middleware.Standard()}
	return []route{{"Get through Standard", standard, get}, {"GetMany through Standard", standard, getMany}}
}

// differences tries every cell by every route, and returns those whose outcome differs from the model.
func differences(t *testing.T, routes []route, by func(c cell) connect) (tried int, wrong []string) {
	t.Helper()
	for _, c := range cells() {
		for _, r := range routes {
			got, want := c.try(t, r, by(c)), c.want()
			if got != want {
				wrong = append(wrong, fmt.Sprintf("%s, by %s:\n\t got %+v\n\twant %+v", c, r.name, got, want))
			}
			tried++
		}
	}
	return tried, wrong
}

func (c cell) try(t *testing.T, r route, by connect) outcome {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	all := sources(c.answers(), cancel)
	client, err := by(backends(all), r.opts...)
	is.New(t).NoErr(err)
	defer client.Close()
	s, err := r.ask(ctx, client)
	return observe(all, s, err)
}

func TestEveryAnswerInEveryPlaceUnderEachPolicy(t *testing.T) {
	is := is.New(t)
	routes := direct
	if os.Getenv("LONG_TESTS") != "" { // as in CI
		routes = slices.Concat(direct, throughAll())
	}
	tried, wrong := differences(t, routes, func(c cell) connect { return c.policy.by })
	for _, w := range wrong[:min(5, len(wrong))] {
		t.Error(w)
	}
	is.Equal(len(wrong), 0)
	is.Equal(tried, 3*12*12*12*len(routes))
	t.Logf("%d cells by %d routes", tried/len(routes), len(routes))
}

// broken is a chain with one fault, made as middleware of a Client. Each backend has its own Client below it.
type broken struct {
	goesOn func(class error) bool
	choose func(failures []*secrets.Error) *secrets.Error
}

func (b broken) by(all []secrets.Backend, more ...secrets.Option) (*secrets.Client, error) {
	var clients []*secrets.Client
	for _, backend := range all {
		c, err := secrets.New(backend)
		if err != nil {
			return nil, err
		}
		clients = append(clients, c)
	}
	chain := secrets.Intercept(func(ctx context.Context, ref secrets.Ref, _ secrets.Fetcher) (secrets.Secret, error) {
		return b.fetch(ctx, ref, clients)
	})
	return secrets.New(all[0], append(more, secrets.WithMiddleware(chain))...)
}

func (b broken) fetch(ctx context.Context, ref secrets.Ref, clients []*secrets.Client) (secrets.Secret, error) {
	var failures []*secrets.Error
	for _, c := range clients {
		s, err := c.Get(ctx, ref.String())
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return secrets.Secret{}, err
		}
		var e *secrets.Error
		errors.As(err, &e)
		failures = append(failures, e)
		if !b.goesOn(e.Err) {
			break
		}
	}
	chosen := *b.choose(failures)
	for _, e := range failures {
		if e.Backend != chosen.Backend {
			chosen.Causes = append(chosen.Causes, e)
		}
	}
	return secrets.Secret{}, &chosen
}

func last(failures []*secrets.Error) *secrets.Error { return failures[len(failures)-1] }

// goesOn returns the rule of the table for the policy of c.
func (c cell) goesOn(class error) bool {
	for kind, row := range table {
		if row.answer.class == class {
			return c.policy.row(kind)
		}
	}
	return false
}

// Control for the test above: it finds chains with one wrong rule, and accepts a correct chain.
func TestTheTableFindsBrokenChains(t *testing.T) {
	for name, fault := range map[string]func(c cell) broken{
		"goes on after a denial": func(c cell) broken {
			return broken{func(class error) bool { return c.goesOn(class) || errors.Is(class, secrets.ErrPermissionDenied) }, right(c.goesOn)}
		},
		"goes on after a deleted secret": func(c cell) broken {
			return broken{func(class error) bool { return c.goesOn(class) || errors.Is(class, secrets.ErrNotFound) }, right(c.goesOn)}
		},
		"answers with the last failure":  func(c cell) broken { return broken{c.goesOn, last} },
		"lets an absence hide an outage": func(c cell) broken { return broken{c.goesOn, lastOrOutage(c.goesOn)} },
	} {
		t.Run(name, func(t *testing.T) {
			_, wrong := differences(t, direct, func(c cell) connect { return fault(c).by })
			is.New(t).True(len(wrong) > 0)
		})
	}
	t.Run("none", func(t *testing.T) {
		_, wrong := differences(t, direct, func(c cell) connect { return broken{c.goesOn, right(c.goesOn)}.by })
		is.New(t).Equal(len(wrong), 0)
	})
}

// right chooses the failure of a chain by the rules.
func right(goesOn func(error) bool) func(failures []*secrets.Error) *secrets.Error {
	return func(failures []*secrets.Error) *secrets.Error {
		if first := slices.IndexFunc(failures, isOutage); first >= 0 && errors.Is(last(failures).Err, secrets.ErrNotFound) {
			return failures[first]
		}
		return lastOrOutage(goesOn)(failures)
	}
}

// lastOrOutage chooses the failure that stopped a chain, even after an outage, else the first failure that is not ErrNotFound.
func lastOrOutage(goesOn func(error) bool) func(failures []*secrets.Error) *secrets.Error {
	return func(failures []*secrets.Error) *secrets.Error {
		if end := last(failures); !goesOn(end.Err) {
			return end
		}
		return failures[max(0, slices.IndexFunc(failures, isOutage))]
	}
}

func isOutage(e *secrets.Error) bool { return !errors.Is(e.Err, secrets.ErrNotFound) }

func client(t *testing.T, b secrets.Backend, opts ...secrets.Option) *secrets.Client {
	t.Helper()
	c, err := secrets.New(b, opts...)
	is.New(t).NoErr(err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

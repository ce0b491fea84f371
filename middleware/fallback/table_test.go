package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/middleware"
	"github.com/seed-5482dd03/secrets/middleware/fallback"
)

// answer is what a source says about one key: a value (nil), the class of an error, or that the caller gives up while it
// is asked.
type answer struct {
	name  string
	class error
	ends  bool
}

// The truth table: which answer makes the chain go on, by policy.
var table = []struct {
	answer         answer
	to, onNotFound bool
}{
	{answer{name: "value"}, false, false},
	{answer{name: "not found", class: secrets.ErrNotFound}, true, true},
	{answer{name: "deleted", class: secrets.ErrDeleted}, false, false},
	{answer{name: "field not found", class: secrets.ErrFieldNotFound}, false, false},
	{answer{name: "denied", class: secrets.ErrPermissionDenied}, false, false},
	{answer{name: "unauthenticated", class: secrets.ErrUnauthenticated}, false, false},
	{answer{name: "unavailable", class: secrets.ErrUnavailable}, true, false},
	{answer{name: "invalid key", class: secrets.ErrInvalidKey}, false, false},
	{answer{name: "malformed", class: secrets.ErrMalformed}, false, false},
	{answer{name: "unknown", class: secrets.ErrUnknown}, false, false},
	{answer{name: "closed", class: secrets.ErrClosed}, false, false},
	{answer{name: "caller gone", ends: true}, false, false},
}

const sourceCount = 3

var names = [sourceCount]string{"first", "second", "third"}

// policy is one of the two chains of the package.
type policy struct {
	name  string
	chain func(...secrets.Backend) *fallback.Fallback
	row   func(kind int) (goesOn bool)
}

var policies = []policy{
	{"To", fallback.To, func(kind int) bool { return table[kind].to }},
	{"OnNotFound", fallback.OnNotFound, func(kind int) bool { return table[kind].onNotFound }},
}

// cell is one case of the product: what each source says, as a row of the table, and the policy.
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

// outcome is what a chain answers, in words that can be compared.
type outcome struct {
	asked   [sourceCount]int // how often each source was asked
	value   string
	backend string // of the value, or of the error
	failure string // the class, or the context's error
	causes  string // backend and class of each, in order
}

// want is the model of a chain: it follows the table and the rule for the class of the chain, and shares nothing with the
// code under test.
func (c cell) want() outcome {
	var o outcome
	var failed []int
	chosen := -1
	for i, kind := range c.kinds {
		o.asked[i] = 1
		a := table[kind].answer
		if a.ends {
			o.failure = context.Canceled.Error()
			return o
		}
		if a.class == nil {
			o.value, o.backend = valueOf(names[i]), names[i]
			return o
		}
		failed = append(failed, i)
		if !c.policy.row(kind) {
			if !isAbsence(kind) { // an absence is no answer for those who could not be asked
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

// source is a backend that says what a cell has for it.
type source struct {
	name   string
	say    func(path string) answer
	cancel context.CancelFunc // of the caller

	mu    sync.Mutex
	calls int
	keys  []string
}

func (s *source) Name() string { return s.name }

func (s *source) Fetch(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
	r := s.FetchMany(ctx, []secrets.Ref{ref})[0]
	return r.Secret, r.Err
}

func (s *source) FetchMany(ctx context.Context, refs []secrets.Ref) []secrets.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	results := make([]secrets.Result, len(refs))
	for i, ref := range refs {
		s.keys = append(s.keys, ref.Path)
		switch a := s.say(ref.Path); {
		case a.ends:
			s.cancel()
			<-ctx.Done()
			results[i].Err = ctx.Err()
		case a.class != nil:
			results[i].Err = &secrets.Error{Backend: s.name, Key: ref.Path, Err: a.class, Detail: "as told"}
		default:
			results[i].Secret = secrets.NewSecret(valueOf(s.name), secrets.Meta{Backend: s.name})
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

func as[T any](all []*source) []T {
	made := make([]T, len(all))
	for i, s := range all {
		made[i] = any(s).(T)
	}
	return made
}

// observe tells what came of a cell.
func observe(all []*source, s secrets.Secret, err error) outcome {
	var o outcome
	for i, source := range all {
		source.mu.Lock() // one that the caller left may still be at work
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
	if o.failure != secrets.Class(err).Error() || e.Detail != "as told" || e.Key != theKey {
		o.failure = fmt.Sprintf("%v, but %+v", secrets.Class(err), e)
	}
	// errors.Is sees the class, what the class is beside it, and nothing of the causes.
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

// route is a way to ask a chain of sources.
type route struct {
	name string
	ask  func(ctx context.Context, all []*source, f secrets.Fallback) (secrets.Secret, error)
}

// direct asks the chain alone.
var direct = []route{
	{"Chain.Fetch", func(ctx context.Context, all []*source, f secrets.Fallback) (secrets.Secret, error) {
		return f.Chain(as[secrets.Fetcher](all)).Fetch(ctx, secrets.Ref{Path: theKey})
	}},
	{"Chain.FetchMany", func(ctx context.Context, all []*source, f secrets.Fallback) (secrets.Secret, error) {
		r := f.Chain(as[secrets.Fetcher](all)).FetchMany(ctx, []secrets.Ref{{Path: theKey}})[0]
		return r.Secret, r.Err
	}},
}

// throughAll asks through a Client with all layers.
var throughAll = []route{
	{"Client.Get", throughClient(func(ctx context.Context, c *secrets.Client) (secrets.Secret, error) {
		return c.Get(ctx, theKey)
	})},
	{"Client.GetMany", throughClient(func(ctx context.Context, c *secrets.Client) (secrets.Secret, error) {
		found, err := c.GetMany(ctx, theKey)
		if many, ok := err.(secrets.Errors); ok && len(many) == 1 {
			err = many[0]
		}
		return found[theKey], err
	})},
}

func throughClient(
	ask func(context.Context, *secrets.Client) (secrets.Secret, error),
) func(context.Context, []*source, secrets.Fallback) (secrets.Secret, error) {
	return func(ctx context.Context, all []*source, f secrets.Fallback) (secrets.Secret, error) {
		c, err := secrets.New(all[0], secrets.WithFallback(f), middleware.Standard())
		if err != nil {
			return secrets.Secret{}, err
		}
		defer c.Close()
		return ask(ctx, c)
	}
}

// differences tries every cell by every route, and tells which did not come out as the model says.
func differences(
	t *testing.T, routes []route, chain func(cell, ...secrets.Backend) secrets.Fallback,
) (tried int, wrong []string) {
	t.Helper()
	for _, c := range cells() {
		for _, r := range routes {
			ctx, cancel := context.WithCancel(t.Context())
			all := sources(c.answers(), cancel)
			s, err := r.ask(ctx, all, chain(c, as[secrets.Backend](all)[1:]...))
			if got, want := observe(all, s, err), c.want(); got != want {
				wrong = append(wrong, fmt.Sprintf("%s, by %s:\n\t got %+v\n\twant %+v", c, r.name, got, want))
			}
			tried++
			cancel()
		}
	}
	return tried, wrong
}

func TestEveryAnswerInEveryPlaceUnderEachPolicy(t *testing.T) {
	is := is.New(t)
	routes := slices.Concat(direct, throughAll)
	tried, wrong := differences(t, routes, func(c cell, next ...secrets.Backend) secrets.Fallback { return c.policy.chain(next...) })
	for _, w := range wrong[:min(5, len(wrong))] {
		t.Error(w)
	}
	is.Equal(len(wrong), 0)
	is.Equal(tried, 2*12*12*12*len(routes))
	t.Logf("%d cells by %d routes", tried/len(routes), len(routes))
}

// broken is a chain with one fault.
type broken struct {
	backends []secrets.Backend
	goesOn   func(class error) bool
	choose   func(failures []*secrets.Error) *secrets.Error
}

func (b broken) Backends() []secrets.Backend { return b.backends }

func (b broken) Chain(sources []secrets.Fetcher) secrets.Fetcher {
	return secrets.FetcherFunc(func(ctx context.Context, ref secrets.Ref) (secrets.Secret, error) {
		var failures []*secrets.Error
		for _, source := range sources {
			s, err := source.Fetch(ctx, ref)
			if err == nil {
				return s, nil
			}
			if ctx.Err() != nil {
				return secrets.Secret{}, ctx.Err()
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
	})
}

func last(failures []*secrets.Error) *secrets.Error { return failures[len(failures)-1] }

// The control of the test above: it finds the chains that are wrong in one rule.
func TestTheTableFindsBrokenChains(t *testing.T) {
	goesOn := func(c cell) func(error) bool {
		return func(class error) bool {
			i := slices.IndexFunc(table, func(row struct {
				answer         answer
				to, onNotFound bool
			},
			) bool {
				return row.answer.class == class
			})
			return c.policy.row(i)
		}
	}
	for name, chain := range map[string]func(c cell, next ...secrets.Backend) secrets.Fallback{
		"goes on after a denial": func(c cell, next ...secrets.Backend) secrets.Fallback {
			return broken{next, func(class error) bool {
				return goesOn(c)(class) || errors.Is(class, secrets.ErrPermissionDenied)
			}, last}
		},
		"goes on after a deleted secret": func(c cell, next ...secrets.Backend) secrets.Fallback {
			return broken{next, func(class error) bool { return goesOn(c)(class) || errors.Is(class, secrets.ErrNotFound) }, last}
		},
		"answers with the last failure": func(c cell, next ...secrets.Backend) secrets.Fallback {
			return broken{next, goesOn(c), last}
		},
		"lets an absence hide an outage": func(c cell, next ...secrets.Backend) secrets.Fallback {
			return broken{next, goesOn(c), lastOrOutage(goesOn(c))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, wrong := differences(t, direct, chain)
			is.New(t).True(len(wrong) > 0)
		})
	}
}

// lastOrOutage chooses the failure that stopped a chain, whatever came before it, else the first that is not ErrNotFound.
func lastOrOutage(goesOn func(error) bool) func(failures []*secrets.Error) *secrets.Error {
	return func(failures []*secrets.Error) *secrets.Error {
		if end := last(failures); !goesOn(end.Err) {
			return end
		}
		isOutage := func(e *secrets.Error) bool { return e.Err != secrets.ErrNotFound }
		return failures[max(0, slices.IndexFunc(failures, isOutage))]
	}
}

func client(t *testing.T, b secrets.Backend, opts ...secrets.Option) *secrets.Client {
	t.Helper()
	c, err := secrets.New(b, opts...)
	is.New(t).NoErr(err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

package secrets_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

func sentinels() []error {
	return []error{
		secrets.ErrNotFound, secrets.ErrDeleted, secrets.ErrFieldNotFound, secrets.ErrPermissionDenied, secrets.ErrUnauthenticated,
		secrets.ErrUnavailable, secrets.ErrInvalidKey, secrets.ErrMalformed, secrets.ErrUnknown, secrets.ErrClosed,
	}
}

// checkClass fails unless err is of the class want, and of no other.
func checkClass(t *testing.T, err, want error) {
	t.Helper()
	if got := secrets.Class(err); got != want {
		t.Errorf("%v is of class %v, want %v", err, got, want)
	}
	for _, c := range sentinels() {
		isChild := c == secrets.ErrNotFound && (want == secrets.ErrDeleted || want == secrets.ErrFieldNotFound)
		if got := errors.Is(err, c); got != (c == want || isChild) {
			t.Errorf("%v: errors.Is(err, %v) is %t", err, c, got)
		}
	}
}

// Errors that a backend or layer may return, and no Client should.
type (
	panickingIs      struct{ text string }
	panickingAs      struct{ text string }
	panickingUnwrap  struct{ text string }
	panickingTimeout struct{ text string }
	nilSafeNot       struct{ cause error }
	claimsAll        struct{ text string }
	uncomparable     struct{ texts []string }
	hiding           struct{ body map[string][]byte }
	timeout          struct{ text string }
)

func (e panickingIs) Error() string      { return e.text }
func (e panickingIs) Is(error) bool      { panic(e.text) }
func (e panickingAs) Error() string      { return e.text }
func (e panickingAs) As(any) bool        { panic(e.text) }
func (e panickingUnwrap) Error() string  { return e.text }
func (e panickingUnwrap) Unwrap() error  { panic(e.text) }
func (e panickingTimeout) Error() string { return e.text }
func (e panickingTimeout) Timeout() bool { panic(e.text) }
func (e *nilSafeNot) Error() string      { return e.cause.Error() }
func (e *nilSafeNot) Unwrap() error      { return e.cause }
func (e claimsAll) Error() string        { return e.text }
func (claimsAll) Is(error) bool          { return true }
func (e uncomparable) Error() string     { return strings.Join(e.texts, "") }
func (hiding) Error() string             { return "bad response" }
func (e timeout) Error() string          { return e.text }
func (timeout) Timeout() bool            { return true }
func (timeout) Temporary() bool          { return true }
func returns(err error) fetchFunc {
	return func(context.Context, secrets.Ref) (secrets.Secret, error) { return secrets.Secret{}, err }
}
func panics(v any) fetchFunc {
	return func(context.Context, secrets.Ref) (secrets.Secret, error) { panic(v) }
}
func does(f func()) fetchFunc {
	return func(context.Context, secrets.Ref) (secrets.Secret, error) { f(); return secrets.Secret{}, nil }
}
func write(m map[string]int)                  { m[canary] = 1 }
func quotes(format string, args ...any) error { return fmt.Errorf(format+" "+canary, args...) }

type fetchFunc = func(context.Context, secrets.Ref) (secrets.Secret, error)

// misdeed is an answer that a Fetcher should not give, and the class that a Client makes of it.
type misdeed struct {
	fetch fetchFunc
	want  error
	// below says that it is told from a good answer by the guard alone, and ruins the goroutine of whoever else calls it.
	below bool
}

func misdeeds() map[string]misdeed {
	_, notANumber := strconv.Atoi(canary)
	var number json.Number
	badJSON := json.Unmarshal([]byte(strconv.Quote(canary)), &number)
	_, notATime := time.Parse(time.RFC3339, canary)
	var typedNil *secrets.Error
	var nilPointer *nilSafeNot
	deep := quotes("deep")
	for range 50 {
		deep = fmt.Errorf("around: %w", deep)
	}

	all := map[string]misdeed{
		"foreign error":            {returns(quotes("dial")), secrets.ErrUnknown, false},
		"deep foreign error":       {returns(deep), secrets.ErrUnknown, false},
		"strconv":                  {returns(notANumber), secrets.ErrUnknown, false},
		"encoding/json":            {returns(badJSON), secrets.ErrUnknown, false},
		"time":                     {returns(notATime), secrets.ErrUnknown, false},
		"a field nobody prints":    {returns(hiding{map[string][]byte{"body": []byte(canary)}}), secrets.ErrUnknown, false},
		"not comparable":           {returns(uncomparable{[]string{canary}}), secrets.ErrUnknown, false},
		"claims every class":       {returns(claimsAll{canary}), secrets.ErrClosed, false},
		"newlines":                 {returns(quotes("a\nb\r\n")), secrets.ErrUnknown, false},
		"io.EOF":                   {returns(io.EOF), secrets.ErrUnknown, false},
		"os.ErrNotExist":           {returns(os.ErrNotExist), secrets.ErrUnknown, false}, // no rule names it
		"os.ErrPermission":         {returns(os.ErrPermission), secrets.ErrUnknown, false},
		"sql.ErrNoRows":            {returns(sql.ErrNoRows), secrets.ErrUnknown, false},
		"net refused":              {returns(&net.OpError{Op: canary, Err: syscall.ECONNREFUSED}), secrets.ErrUnknown, false},
		"net timeout":              {returns(&net.OpError{Op: canary, Err: os.ErrDeadlineExceeded}), secrets.ErrUnavailable, false},
		"url timeout":              {returns(&url.Error{Op: "Get", URL: canary, Err: timeout{canary}}), secrets.ErrUnavailable, false},
		"timeout":                  {returns(timeout{canary}), secrets.ErrUnavailable, false},
		"own cancel":               {returns(context.Canceled), secrets.ErrUnavailable, false},
		"own deadline":             {returns(context.DeadlineExceeded), secrets.ErrUnavailable, false},
		"own deadline, wrapped":    {returns(quotes("%w", context.DeadlineExceeded)), secrets.ErrUnavailable, false},
		"wrapped not found":        {returns(quotes("%w", secrets.ErrNotFound)), secrets.ErrNotFound, false},
		"wrapped denied":           {returns(quotes("%w", secrets.ErrPermissionDenied)), secrets.ErrPermissionDenied, false},
		"not found or unavailable": {returns(errors.Join(secrets.ErrNotFound, secrets.ErrUnavailable)), secrets.ErrUnavailable, false},
		"not found or denied": {returns(quotes("%w %w", secrets.ErrNotFound, secrets.ErrPermissionDenied)), secrets.ErrPermissionDenied,
			false},
		"not found or unknown":   {returns(errors.Join(secrets.ErrUnknown, secrets.ErrNotFound)), secrets.ErrUnknown, false},
		"not found or late":      {returns(errors.Join(secrets.ErrNotFound, context.DeadlineExceeded)), secrets.ErrUnavailable, false},
		"not found or a timeout": {returns(quotes("%w %w", secrets.ErrDeleted, timeout{canary})), secrets.ErrUnavailable, false},
		"denied and late": {returns(errors.Join(context.DeadlineExceeded, secrets.ErrPermissionDenied)), secrets.ErrPermissionDenied,
			false},
		"malformed and cancelled": {returns(quotes("%w %w", secrets.ErrMalformed, context.Canceled)), secrets.ErrMalformed, false},
		"deleted and not found":   {returns(errors.Join(secrets.ErrNotFound, secrets.ErrDeleted)), secrets.ErrDeleted, false},
		"nil *Error":              {returns(typedNil), secrets.ErrUnknown, false},
		"nil pointer":             {returns(nilPointer), secrets.ErrUnknown, false},
		"*Error without class":    {returns(&secrets.Error{}), secrets.ErrUnknown, false},
		"*Error around foreign":   {returns(&secrets.Error{Err: quotes("body")}), secrets.ErrUnknown, false},
		"*Error around wrapped":   {returns(&secrets.Error{Err: quotes("%w", secrets.ErrUnauthenticated)}), secrets.ErrUnauthenticated, false},
		"*Error around *Error":    {returns(&secrets.Error{Err: &secrets.Error{Err: secrets.ErrMalformed}}), secrets.ErrMalformed, false},
		"*Error in foreign":       {returns(quotes("%w", &secrets.Error{Err: secrets.ErrDeleted})), secrets.ErrDeleted, false},
		"*Error embedded":         {returns(&failure[string]{&secrets.Error{Err: secrets.ErrNotFound}, canary}), secrets.ErrNotFound, false},
		"nil *Error embedded":     {returns(&failure[string]{nil, canary}), secrets.ErrUnknown, false},
		"foreign cause": {returns(&secrets.Error{Err: secrets.ErrUnavailable, Causes: []*secrets.Error{{Err: quotes("body")}}}),
			secrets.ErrUnavailable, false},
		"foreign cause of a cause": {returns(&secrets.Error{Err: secrets.ErrNotFound,
			Causes: []*secrets.Error{{Causes: []*secrets.Error{{Err: quotes("")}}}}}), secrets.ErrNotFound, false},
		"nil cause": {returns(&secrets.Error{Err: secrets.ErrUnavailable, Causes: []*secrets.Error{nil}}),
			secrets.ErrUnavailable, false},
		"denied cause": {returns(&secrets.Error{Err: secrets.ErrNotFound,
			Causes: []*secrets.Error{{Err: secrets.ErrPermissionDenied}}}), secrets.ErrNotFound, false},
		"Errors": {returns(secrets.Errors{{Err: secrets.ErrNotFound}, {Err: secrets.ErrUnavailable}}), secrets.ErrUnavailable,
			false},
		"no Errors":                  {returns(secrets.Errors(nil)), secrets.ErrUnknown, false},
		"Is panics":                  {returns(panickingIs{canary}), secrets.ErrUnknown, false},
		"As panics":                  {returns(panickingAs{canary}), secrets.ErrUnknown, false},
		"As panics in a wrapped one": {returns(errors.Join(secrets.ErrNotFound, panickingAs{canary})), secrets.ErrUnknown, false},
		"Unwrap panics":              {returns(panickingUnwrap{canary}), secrets.ErrUnknown, false},
		"Timeout panics":             {returns(panickingTimeout{canary}), secrets.ErrUnknown, false},
		"panic with a string":        {panics(canary), secrets.ErrUnknown, false},
		"panic with an error":        {panics(quotes("%w", secrets.ErrNotFound)), secrets.ErrUnknown, false}, // no answer, whatever it wraps
		"panic with an *Error":       {panics(&secrets.Error{Err: secrets.ErrNotFound}), secrets.ErrUnknown, false},
		"panic with a Secret":        {panics(secrets.NewSecret(canary, secrets.Meta{})), secrets.ErrUnknown, false},
		"panic with nil":             {panics(nil), secrets.ErrUnknown, false},
		"nil map":                    {does(func() { write(nil) }), secrets.ErrUnknown, false},
		"index out of range":         {does(func() { _ = []byte(canary)[len(os.Args)+1000] }), secrets.ErrUnknown, false},
		"neither secret nor error":   {does(func() {}), secrets.ErrUnknown, false},
		"Goexit":                     {does(runtime.Goexit), secrets.ErrUnknown, true},
		"both secret and error": {func(context.Context, secrets.Ref) (secrets.Secret, error) {
			return secrets.NewSecret(canary, secrets.Meta{}), secrets.ErrNotFound
		}, secrets.ErrNotFound, false},
		"both secret and foreign error": {func(context.Context, secrets.Ref) (secrets.Secret, error) {
			return secrets.NewSecret(canary, secrets.Meta{}), quotes("late")
		}, secrets.ErrUnknown, false},
	}
	for _, c := range sentinels() {
		all["bare "+c.Error()] = misdeed{returns(c), c, false}
		all["quoting "+c.Error()] = misdeed{returns(quotes("%w", c)), c, false}
	}
	return all
}

// places are where a Fetcher that misbehaves may stand. each is a function of the misdeed.
func places() map[string]func(fetchFunc) (secrets.Backend, []secrets.Option) {
	layer := func(f fetchFunc) secrets.Middleware {
		return secrets.MiddlewareFunc(func(secrets.Fetcher) secrets.Fetcher { return secrets.FetcherFunc(f) })
	}
	pass := secrets.MiddlewareFunc(func(next secrets.Fetcher) secrets.Fetcher {
		return secrets.FetcherFunc(next.Fetch)
	})
	hook := secrets.Intercept(func(ctx context.Context, refs []secrets.Ref,
		next func(context.Context, []secrets.Ref) []secrets.Result) []secrets.Result {
		return next(ctx, refs)
	})
	good := newFake("doc", "value")
	return map[string]func(fetchFunc) (secrets.Backend, []secrets.Option){
		"backend": func(f fetchFunc) (secrets.Backend, []secrets.Option) { return failing(f), nil },
		"backend below layers": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return failing(f), []secrets.Option{
				secrets.WithMiddleware(hook, pass), secrets.WithCache(pass), secrets.WithDedup(pass), secrets.WithTracing(hook),
				secrets.WithRedaction(pass), secrets.WithBackendMiddleware(pass, hook),
			}
		},
		"backend in a chain": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			other := failing(f)
			other.name = "other"
			return failing(f), []secrets.Option{secrets.WithFallback(&chain{backends: []secrets.Backend{other}})}
		},
		"backend middleware": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return good, []secrets.Option{secrets.WithBackendMiddleware(layer(f))}
		},
		"redaction": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return good, []secrets.Option{secrets.WithRedaction(layer(f))}
		},
		"above: tracing": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return good, []secrets.Option{secrets.WithTracing(layer(f))}
		},
		"above: dedup": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return good, []secrets.Option{secrets.WithDedup(layer(f))}
		},
		"above: cache": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return good, []secrets.Option{secrets.WithCache(layer(f))}
		},
		"above: fallback": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			other := newFake()
			other.name = "other"
			return good, []secrets.Option{secrets.WithFallback(&chain{
				backends: []secrets.Backend{other},
				wrap:     func([]secrets.Fetcher) secrets.Fetcher { return secrets.FetcherFunc(f) },
			})}
		},
		"above: user middleware": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return good, []secrets.Option{secrets.WithMiddleware(layer(f))}
		},
		"above: inner user middleware": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return good, []secrets.Option{secrets.WithMiddleware(hook, layer(f))}
		},
	}
}

func TestEveryErrorIsOfOneClass(t *testing.T) {
	d := newDetector(canary)
	scenarios, told := 0, 0
	for name, m := range misdeeds() {
		if _, err := quietly(m.fetch); err != nil && d.find(fmt.Sprintf("%v", err)+dump(err, false)) != "" {
			told++ // the positive control: what goes in does hold the value
		}
		for where, place := range places() {
			above := strings.HasPrefix(where, "above")
			if above && m.below {
				continue
			}
			t.Run(name+" in "+where, func(t *testing.T) {
				backend, opts := place(m.fetch)
				client := open(t, backend, opts...)
				for _, key := range []string{"doc", "doc#field"} {
					checkMethods(t, client, key, m.want, func(e *secrets.Error) {
						t.Helper()
						scenarios++
						if !above && e.Backend == "" {
							t.Errorf("%v names no backend", e)
						}
						if e.Key != key {
							t.Errorf("%v is of key %q, want %q", e, e.Key, key)
						}
						checkGraph(t, d, e)
					})
				}
			})
		}
	}
	t.Logf("%d misdeeds in %d places, %d errors; %d misdeeds hold the value", len(misdeeds()), len(places()), scenarios, told)
	if len(misdeeds()) < 40 || told < 20 || scenarios < 1000 {
		t.Error("the table has shrunk")
	}
}

// quietly calls f and takes a panic for no error.
func quietly(f fetchFunc) (s secrets.Secret, err error) {
	done := make(chan struct{})
	go func() { // which f may end
		defer close(done)
		defer func() { _ = recover() }()
		s, err = f(context.Background(), secrets.Ref{})
	}()
	<-done
	return s, err
}

// checkMethods asks for key by every method and holds the answers against the class want. check gets each error.
func checkMethods(t *testing.T, client *secrets.Client, key string, want error, check func(*secrets.Error)) {
	t.Helper()
	is := is.New(t)
	ctx := t.Context()
	absent := errors.Is(want, secrets.ErrNotFound)
	one := func(s secrets.Secret, err error) {
		t.Helper()
		is.True(s.IsZero())           // no value beside an error
		e, ok := err.(*secrets.Error) // itself, not something around it
		if !ok || e == nil {
			t.Fatalf("%T is not an *Error: %v", err, err)
		}
		checkClass(t, err, want)
		check(e)
	}

	s, err := client.Get(ctx, key)
	one(s, err)
	s, err = client.Refresh(ctx, key)
	one(s, err)
	s, err = client.GetOr(ctx, key, "default")
	if absent {
		is.NoErr(err)
		is.Equal(s.Reveal(), "default")
		is.Equal(s.Meta().Backend, "default")
	} else {
		one(s, err)
	}
	has, err := client.Has(ctx, key)
	is.True(!has)
	if absent {
		is.NoErr(err)
	} else {
		one(secrets.Secret{}, err)
	}
	many, err := client.GetMany(ctx, key, "doc#other", key)
	is.Equal(len(many), 0)
	all, ok := err.(secrets.Errors)
	if !ok || len(all) != 2 {
		t.Fatalf("%T: %v", err, err)
	}
	one(many[key], all[0])
	checkClass(t, err, want)
	is.Equal(all[1].Key, "doc#other")
}

// checkGraph fails if the value is anywhere in e, or something but *Error and the sentinels is.
func checkGraph(t *testing.T, d *detector, e *secrets.Error) {
	t.Helper()
	var nest func(*secrets.Error)
	nest = func(e *secrets.Error) {
		if e == nil || reflect.TypeOf(e.Err) != reflect.TypeOf(secrets.ErrUnknown) {
			t.Errorf("%#v has no sentinel", e)
			return
		}
		for _, cause := range e.Causes {
			nest(cause)
		}
	}
	nest(e)
	if how := d.find(fmt.Sprintf("%v %+v %#v %q", e, e, e, e) + dump(e, false) + dump(e, true)); how != "" {
		t.Errorf("the %s in %v", how, e)
	}
	checkPrintable(t, e.Error())
}

// The control of checkGraph's walk: it finds a value wherever an error can hide it.
func TestErrorWalkFindsHiddenValues(t *testing.T) {
	is := is.New(t)
	d := newDetector(canary)
	for _, err := range []error{
		quotes(""),
		hiding{map[string][]byte{"body": []byte(canary)}},
		fmt.Errorf("a: %w", fmt.Errorf("b: %w", hiding{map[string][]byte{canary: nil}})),
		errors.Join(io.EOF, hiding{map[string][]byte{"body": []byte(canary)}}),
		&secrets.Error{Err: secrets.ErrNotFound, Causes: []*secrets.Error{{Err: hiding{map[string][]byte{"x": []byte(canary)}}}}},
		&failure[string]{&secrets.Error{Err: secrets.ErrNotFound}, canary},
		&quoting{canary},
	} {
		is.True(d.find(dump(err, true)) != "")
	}
	is.Equal(d.find(dump(&secrets.Error{Backend: "b", Err: secrets.ErrNotFound}, false)), "")
}

// A batch that is not answered one for one is not answered: which result belongs to which ref is a guess.
func TestBatchOfTheWrongLength(t *testing.T) {
	value := func(s string) secrets.Result { return secrets.Result{Secret: secrets.NewSecret(s, secrets.Meta{})} }
	for name, answers := range map[string][]secrets.Result{
		"nil":       nil,
		"empty":     {},
		"too short": {value("of b"), value("of c")}, // what a backend returns that leaves out a missing one
		"too long":  {value("1"), value("2"), value("3"), value("4")},
		"errors":    {{Err: secrets.ErrNotFound}},
	} {
		many := func(context.Context, []secrets.Ref) []secrets.Result { return answers }
		layer := secrets.MiddlewareFunc(func(secrets.Fetcher) secrets.Fetcher { return &fake{fetchMany: many} })
		for where, opts := range map[string][]secrets.Option{
			"backend":            nil,
			"backend middleware": {secrets.WithBackendMiddleware(layer)},
			"tracing":            {secrets.WithTracing(layer)},
			"cache":              {secrets.WithCache(layer)},
			"user middleware":    {secrets.WithMiddleware(layer)},
			"below another":      {secrets.WithMiddleware(secrets.Intercept(passHook), layer)},
			"below the checker":  {secrets.WithMiddleware(secrets.Intercept(passHook)), secrets.WithCache(layer)},
			"fallback": {secrets.WithMiddleware(secrets.Intercept(passHook)), secrets.WithFallback(&chain{
				backends: []secrets.Backend{&fake{name: "other"}},
				wrap:     func([]secrets.Fetcher) secrets.Fetcher { return &fake{fetchMany: many} },
			})},
			"hook": {secrets.WithMiddleware(secrets.Intercept(
				func(ctx context.Context, refs []secrets.Ref, _ func(context.Context, []secrets.Ref) []secrets.Result) []secrets.Result {
					return many(ctx, refs)
				}))},
		} {
			t.Run(name+" from "+where, func(t *testing.T) {
				is := is.New(t)
				client := open(t, &fake{name: "fake", fetchMany: many}, opts...)
				found, err := client.GetMany(t.Context(), "a", "b", "c")
				is.Equal(len(found), 0)
				all, ok := err.(secrets.Errors)
				is.True(ok)
				is.Equal(len(all), 3)
				for _, e := range all {
					checkClass(t, e, secrets.ErrUnknown)
					if !strings.HasSuffix(e.Detail, fmt.Sprintf("%d answers to 3 questions", len(answers))) {
						t.Errorf("%v does not say why", e)
					}
				}
			})
		}
	}
}

func passHook(ctx context.Context, refs []secrets.Ref, next func(context.Context, []secrets.Ref) []secrets.Result) []secrets.Result {
	return next(ctx, refs)
}

func TestClass(t *testing.T) {
	is := is.New(t)
	is.Equal(secrets.Class(nil), nil)
	for _, c := range sentinels() {
		checkClass(t, c, c)
		checkClass(t, &secrets.Error{Err: c}, c)
		checkClass(t, fmt.Errorf("a: %w", fmt.Errorf("b: %w", c)), c)
	}
	// An absence never hides a failure, in whatever order they are joined.
	for _, absence := range []error{secrets.ErrNotFound, secrets.ErrDeleted, secrets.ErrFieldNotFound} {
		for _, failed := range []error{
			secrets.ErrPermissionDenied, secrets.ErrUnauthenticated, secrets.ErrUnavailable, secrets.ErrInvalidKey, secrets.ErrMalformed,
			secrets.ErrUnknown, secrets.ErrClosed,
		} {
			is.Equal(secrets.Class(errors.Join(absence, failed)), failed)
			is.Equal(secrets.Class(errors.Join(failed, absence)), failed)
		}
		for _, late := range []error{context.Canceled, context.DeadlineExceeded, os.ErrDeadlineExceeded, timeout{}, syscall.ETIMEDOUT} {
			is.Equal(secrets.Class(errors.Join(absence, late)), secrets.ErrUnavailable)
			is.Equal(secrets.Class(errors.Join(late, absence)), secrets.ErrUnavailable)
		}
	}
	// A denial is never an outage, which a stale value may hide.
	is.Equal(secrets.Class(errors.Join(secrets.ErrUnavailable, secrets.ErrPermissionDenied)), secrets.ErrPermissionDenied)
	is.Equal(secrets.Class(errors.Join(secrets.ErrUnavailable, secrets.ErrUnauthenticated)), secrets.ErrUnauthenticated)
	is.Equal(secrets.Class(errors.Join(context.Canceled, secrets.ErrPermissionDenied)), secrets.ErrPermissionDenied)
	for err, want := range map[error]error{
		context.Canceled:                secrets.ErrUnavailable,
		context.DeadlineExceeded:        secrets.ErrUnavailable,
		os.ErrDeadlineExceeded:          secrets.ErrUnavailable,
		syscall.ETIMEDOUT:               secrets.ErrUnavailable,
		syscall.ECONNREFUSED:            secrets.ErrUnknown,
		os.ErrNotExist:                  secrets.ErrUnknown,
		io.ErrUnexpectedEOF:             secrets.ErrUnknown,
		(*secrets.Error)(nil):           secrets.ErrUnknown,
		&secrets.Error{}:                secrets.ErrUnknown,
		panickingIs{}:                   secrets.ErrUnknown,
		(*nilSafeNot)(nil):              secrets.ErrUnknown,
		&secrets.Error{Err: timeout{}}:  secrets.ErrUnavailable,
		&net.DNSError{IsTimeout: true}:  secrets.ErrUnavailable,
		&net.DNSError{IsNotFound: true}: secrets.ErrUnknown, // a host, not a secret
	} {
		if got := secrets.Class(err); got != want {
			t.Errorf("%T is of class %v, want %v", err, got, want)
		}
	}
	is.Equal(secrets.ErrNotFound.Error(), "secrets: not found")
	is.True(!errors.Is(secrets.ErrNotFound, secrets.ErrDeleted)) // the wide class is not the narrow one
	is.True(!errors.Is(secrets.ErrDeleted, secrets.ErrFieldNotFound))
}

func TestErrorText(t *testing.T) {
	var none *secrets.Error
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&secrets.Error{}, "secrets: unknown failure"},
		{none, "secrets: unknown failure"},
		{&secrets.Error{Err: secrets.ErrNotFound}, "secrets: not found"},
		{&secrets.Error{Err: quotes("x")}, "secrets: unknown failure"}, // a foreign text is not shown
		{&secrets.Error{Err: fmt.Errorf("x: %w", secrets.ErrMalformed)}, "secrets: malformed"},
		{&secrets.Error{Err: context.Canceled}, "secrets: unavailable"},
		{&secrets.Error{Backend: "vault", Key: "database#password", Err: secrets.ErrPermissionDenied},
			"secrets: vault: database#password: permission denied"},
		{&secrets.Error{Backend: "aws", Err: secrets.ErrUnauthenticated, Detail: "the token has expired"},
			"secrets: aws: not authenticated: the token has expired"},
		{&secrets.Error{Key: "../x", Err: secrets.ErrInvalidKey, Detail: "why"}, "secrets: ../x: invalid key: why"},
		{&secrets.Error{Key: "a\nb\x1b[31m", Err: secrets.ErrInvalidKey}, `secrets: "a\nb\x1b[31m": invalid key`},
		{&secrets.Error{Key: "a\u202eb", Err: secrets.ErrInvalidKey}, `secrets: "a\u202eb": invalid key`},
		{&secrets.Error{Key: "a\xffb", Err: secrets.ErrInvalidKey}, `secrets: "a\xffb": invalid key`},
		{&secrets.Error{Key: "é/日本", Err: secrets.ErrNotFound}, "secrets: é/日本: not found"},
		{&secrets.Error{Backend: "b\r\n", Err: secrets.ErrNotFound}, `secrets: "b\r\n": not found`},
		{&secrets.Error{Key: strings.Repeat("a", 600), Err: secrets.ErrInvalidKey}, "secrets: " + strings.Repeat("a", 128) + "…: invalid key"},
		{
			&secrets.Error{Backend: "vault", Key: "k", Err: secrets.ErrUnavailable,
				Causes: []*secrets.Error{{Backend: "env", Key: "k", Err: secrets.ErrNotFound}, nil}},
			"secrets: vault: k: unavailable; env: k: not found; unknown failure",
		},
		{secrets.Errors{{Key: "a", Err: secrets.ErrNotFound}, {Key: "b", Err: secrets.ErrDeleted}}, "secrets: a: not found\nsecrets: b: deleted"},
		{secrets.Errors{}, ""},
	} {
		t.Run(brief(tc.want), func(t *testing.T) {
			is := is.New(t)
			is.Equal(tc.err.Error(), tc.want)
		})
	}
}

// The texts that a caller sees from end to end.
func TestErrorTextOfAClient(t *testing.T) {
	backend := newFake("doc", `{"a":null}`, "text", "no JSON", "mount/in", "{}")
	backend.name = "vault"
	client := open(t, &resolving{fake: backend, resolve: func(ref secrets.Ref) secrets.Ref {
		switch {
		case ref.Path == "elsewhere" && ref.Field != "":
			return secrets.Ref{Path: "elsewhere_" + ref.Field}
		case ref.Field == "" && !ref.Whole && strings.Contains(ref.Path, "/"):
			dir, last, _ := strings.Cut(ref.Path, "/")
			return secrets.Ref{Path: "mount/" + dir, Field: last, Version: ref.Version}
		}
		return ref
	}})
	for key, want := range map[string]string{
		"none":           "secrets: vault: none: not found",
		"doc#b":          "secrets: vault: doc#b: field not found: the document has no field b",
		"doc#a":          "secrets: vault: doc#a: field not found: the field a is null",
		"text#a":         "secrets: vault: text#a: malformed: the document is not JSON, or not JSON alone",
		"a//b":           "secrets: a//b: invalid key: the path has an empty segment",
		"a\nb":           `secrets: "a\nb": invalid key: the key has a control, format or line-separator character`,
		"team/db":        "secrets: vault: team/db: not found: field db of mount/team; the whole secret is team/db#",
		"team/db#":       "secrets: vault: team/db#: not found",
		"team/db#f":      "secrets: vault: team/db#f: not found",
		"in/x":           "secrets: vault: in/x: field not found: the document has no field x; field x of mount/in; the whole secret is in/x#",
		"t/x?version=3":  "secrets: vault: t/x?version=3: not found: field x of mount/t; the whole secret is t/x?version=3#",
		"elsewhere#pass": "secrets: vault: elsewhere#pass: not found: it looked for elsewhere_pass",
	} {
		t.Run(key, func(t *testing.T) {
			is := is.New(t)
			_, err := client.Get(t.Context(), key)
			is.Equal(err.Error(), want)
			_, err = client.GetMany(t.Context(), key)
			is.Equal(err.Error(), want)
		})
	}
}

// Where a backend looked is told of an absence, and of a denial, whose policy may be for what the caller meant. In an outage
// it would mislead.
func TestWhenThePlaceIsTold(t *testing.T) {
	for class, want := range map[error]string{
		secrets.ErrNotFound:         "secrets: fake: a/b: not found: why; field y of x; the whole secret is a/b#",
		secrets.ErrPermissionDenied: "secrets: fake: a/b: permission denied: why; field y of x; the whole secret is a/b#",
		secrets.ErrUnauthenticated:  "secrets: fake: a/b: not authenticated: why",
		secrets.ErrUnavailable:      "secrets: fake: a/b: unavailable: why",
		secrets.ErrUnknown:          "secrets: fake: a/b: unknown failure: why",
	} {
		is := is.New(t)
		backend := failing(returns(&secrets.Error{Err: class, Detail: "why"}))
		client := open(t, &resolving{fake: backend, resolve: func(secrets.Ref) secrets.Ref { return secrets.Ref{Path: "x", Field: "y"} }})
		_, err := client.Get(t.Context(), "a/b")
		is.Equal(err.Error(), want)
	}
}

func TestCausesAreNotSearched(t *testing.T) {
	is := is.New(t)
	cause := &secrets.Error{Backend: "env", Err: secrets.ErrNotFound}
	err := error(&secrets.Error{Backend: "vault", Err: secrets.ErrUnavailable, Causes: []*secrets.Error{cause}})
	checkClass(t, err, secrets.ErrUnavailable)
	var e *secrets.Error
	is.True(errors.As(err, &e))
	is.True(e != cause)
	is.True(!errors.Is(err, cause))
	// The control: the same in Unwrap would be found.
	is.True(errors.Is(errors.Join(err, cause), secrets.ErrNotFound))
}

// An error is the caller's to keep and to change. A layer or backend that remembers one hands it out many times.
func TestErrorsAreNotShared(t *testing.T) {
	shared := func() *secrets.Error {
		return &secrets.Error{
			Backend: "b", Key: "k", Err: secrets.ErrUnavailable, Detail: "d",
			Causes: []*secrets.Error{{Detail: "c", Err: secrets.ErrNotFound, Causes: []*secrets.Error{{Detail: "cc", Err: secrets.ErrDeleted}}}},
		}
	}
	original := shared()
	for name, place := range places() {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			backend, opts := place(returns(original))
			client := open(t, backend, opts...)
			_, err := client.Get(t.Context(), "doc")
			first := err.(*secrets.Error)
			want := dump(first, false)
			first.Backend, first.Key, first.Detail, first.Err = "x", "x", "x", io.EOF
			first.Causes[0].Detail, first.Causes[0].Causes[0].Err = "x", io.EOF
			first.Causes[0].Causes[0] = nil
			_, err = client.Get(t.Context(), "doc")
			is.Equal(dump(err, false), want)
			_, err = client.GetMany(t.Context(), "doc", "doc#a", "doc#b")
			all := err.(secrets.Errors)
			for i, e := range all {
				is.Equal(e.Key, []string{"doc", "doc#a", "doc#b"}[i])
				is.Equal(e.Detail, "d")
				e.Detail, e.Causes[0].Detail = "x", "x" // and the next one has its own
			}
			is.Equal(dump(original, false), dump(shared(), false))
		})
	}
}

// The caller's own context error comes back as it is, whatever the backend says to it; what is known beyond doubt stays.
func TestCallersContext(t *testing.T) {
	for name, tc := range map[string]struct {
		answer error
		want   error
	}{
		"obeys":                 {nil, context.Canceled},
		"unavailable":           {secrets.ErrUnavailable, context.Canceled},
		"unavailable, *Error":   {&secrets.Error{Err: secrets.ErrUnavailable, Detail: "x"}, context.Canceled},
		"foreign":               {quotes("aborted"), context.Canceled},
		"deadline":              {context.DeadlineExceeded, context.Canceled},
		"wrapped":               {quotes("%w", context.Canceled), context.Canceled},
		"not found while ended": {errors.Join(secrets.ErrNotFound, context.Canceled), context.Canceled},
		"denied":                {secrets.ErrPermissionDenied, secrets.ErrPermissionDenied},
		"not found":             {secrets.ErrNotFound, secrets.ErrNotFound},
		"malformed":             {secrets.ErrMalformed, secrets.ErrMalformed},
	} {
		for _, layers := range []string{"bare", "layered"} {
			t.Run(name+" "+layers, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					backend := failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
						<-ctx.Done()
						if tc.answer == nil {
							return secrets.Secret{}, ctx.Err()
						}
						return secrets.Secret{}, tc.answer
					})
					var opts []secrets.Option
					if layers == "layered" {
						opts = append(opts, secrets.WithMiddleware(secrets.Intercept(passHook)), secrets.WithTracing(secrets.Intercept(passHook)))
					}
					client := open(t, backend, opts...)
					var ctx context.Context
					for _, call := range []func() error{
						func() error { _, err := client.Get(ctx, "a"); return err },
						func() error { _, err := client.Refresh(ctx, "a#f"); return err },
						func() error { _, err := client.GetMany(ctx, "a", "b"); return err },
					} {
						var cancel context.CancelFunc
						ctx, cancel = context.WithCancel(t.Context())
						errs := make(chan error, 1)
						go func() { errs <- call() }()
						synctest.Wait()
						cancel()
						err := <-errs
						if tc.want == context.Canceled {
							// A single fetch may be left by its caller before the backend has said anything.
							is.True(err == context.Canceled)
							continue
						}
						if err != context.Canceled {
							checkClass(t, err, tc.want)
						}
					}
				})
			})
		}
	}
}

// An ended context asks nobody.
func TestEndedContext(t *testing.T) {
	is := is.New(t)
	backend := newFake("a", "b")
	client := open(t, backend)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(quotes("a cause of the caller's own"))
	_, err := client.Get(ctx, "a")
	is.True(err == context.Canceled)
	_, err = client.GetOr(ctx, "a", "default")
	is.True(err == context.Canceled)
	_, err = client.Has(ctx, "a")
	is.True(err == context.Canceled)
	_, err = client.Refresh(ctx, "a")
	is.True(err == context.Canceled)
	many, err := client.GetMany(ctx, "a")
	is.True(err == context.Canceled)
	is.True(many != nil && len(many) == 0)
	is.Equal(backend.calls.Load(), int64(0))
}

func TestErrorsUnwrap(t *testing.T) {
	is := is.New(t)
	err := error(secrets.Errors{{Key: "a", Err: secrets.ErrNotFound}, {Key: "b", Err: secrets.ErrUnavailable}})
	is.True(errors.Is(err, secrets.ErrNotFound))
	is.True(errors.Is(err, secrets.ErrUnavailable))
	is.True(!errors.Is(err, secrets.ErrMalformed))
	is.Equal(secrets.Class(err), secrets.ErrUnavailable) // an outage is not an absence
	var e *secrets.Error
	is.True(errors.As(err, &e))
	is.Equal(e.Key, "a")
}

// hinting is a backend that knows where else a field could have been.
type hinting struct {
	*fake
	hint func(secrets.Ref) string
}

func (h *hinting) Hint(ref secrets.Ref) string { return h.hint(ref) }

func TestHintIsToldOfFieldsThatAreNotThere(t *testing.T) {
	is := is.New(t)
	hint := func(ref secrets.Ref) string { return ref.Field + " could be elsewhere" }
	client := open(t, &hinting{newFake("doc", "{}", "text", "no JSON"), hint})
	for key, want := range map[string]string{
		"none":   "secrets: fake: none: not found",
		"none#a": "secrets: fake: none#a: not found: a could be elsewhere",
		"doc#a":  "secrets: fake: doc#a: field not found: the document has no field a; a could be elsewhere",
		"text#a": "secrets: fake: text#a: malformed: the document is not JSON, or not JSON alone; a could be elsewhere",
	} {
		_, err := client.Get(t.Context(), key)
		is.Equal(err.Error(), want)
	}

	client = open(t, &hinting{failing(returns(secrets.ErrPermissionDenied)), hint})
	_, err := client.Get(t.Context(), "doc#a")
	is.Equal(err.Error(), "secrets: fake: doc#a: permission denied")

	client = open(t, &hinting{newFake(), func(secrets.Ref) string { panic("s3cr3t") }})
	_, err = client.Get(t.Context(), "doc#a")
	is.Equal(err.Error(), "secrets: fake: doc#a: not found") // the failure itself is told all the same
}

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

// checkEnded fails unless err is exactly that of a call for key whose context has ended with want. backend is the one that was
// called, or "".
func checkEnded(t *testing.T, err, want error, backend, key string) {
	t.Helper()
	e, ok := err.(*secrets.Error)
	if !ok {
		t.Errorf("%T is no *Error: %v", err, err)
		return
	}
	checkClass(t, err, want)
	if !errors.Is(err, want) || e.Err != want || e.Backend != backend || e.Key != key || e.Detail != "" || len(e.Causes) > 0 {
		t.Errorf("%#v, want %v of %q for %q", *e, want, backend, key)
	}
}

// Errors that a backend or layer may return, and a Client must not.
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

// misdeed is a bad answer of a Fetcher, and the class of the Client's error for it.
type misdeed struct {
	fetch fetchFunc
	want  error
	// below says that only the guard can handle it: any other caller would lose its goroutine, or take it for a good answer.
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
		"foreign error":             {returns(quotes("dial")), secrets.ErrUnknown, false},
		"deep foreign error":        {returns(deep), secrets.ErrUnknown, false},
		"strconv":                   {returns(notANumber), secrets.ErrUnknown, false},
		"encoding/json":             {returns(badJSON), secrets.ErrUnknown, false},
		"time":                      {returns(notATime), secrets.ErrUnknown, false},
		"a field that is not shown": {returns(hiding{map[string][]byte{"body": []byte(canary)}}), secrets.ErrUnknown, false},
		"not comparable":            {returns(uncomparable{[]string{canary}}), secrets.ErrUnknown, false},
		"claims every class":        {returns(claimsAll{canary}), secrets.ErrClosed, false},
		"newlines":                  {returns(quotes("a\nb\r\n")), secrets.ErrUnknown, false},
		"io.EOF":                    {returns(io.EOF), secrets.ErrUnknown, false},
		"os.ErrNotExist":            {returns(os.ErrNotExist), secrets.ErrUnknown, false}, // no rule names it
		"os.ErrPermission":          {returns(os.ErrPermission), secrets.ErrUnknown, false},
		"sql.ErrNoRows":             {returns(sql.ErrNoRows), secrets.ErrUnknown, false},
		"net refused":               {returns(&net.OpError{Op: canary, Err: syscall.ECONNREFUSED}), secrets.ErrUnknown, false},
		"net timeout":               {returns(&net.OpError{Op: canary, Err: os.ErrDeadlineExceeded}), secrets.ErrUnavailable, false},
		"url timeout":               {returns(&url.Error{Op: "Get", URL: canary, Err: timeout{canary}}), secrets.ErrUnavailable, false},
		"timeout":                   {returns(timeout{canary}), secrets.ErrUnavailable, false},
		"own cancel":                {returns(context.Canceled), secrets.ErrUnavailable, false},
		"own deadline":              {returns(context.DeadlineExceeded), secrets.ErrUnavailable, false},
		"own deadline, wrapped":     {returns(quotes("%w", context.DeadlineExceeded)), secrets.ErrUnavailable, false},
		"wrapped not found":         {returns(quotes("%w", secrets.ErrNotFound)), secrets.ErrNotFound, false},
		"wrapped denied":            {returns(quotes("%w", secrets.ErrPermissionDenied)), secrets.ErrPermissionDenied, false},
		"not found or unavailable":  {returns(errors.Join(secrets.ErrNotFound, secrets.ErrUnavailable)), secrets.ErrUnavailable, false},
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
		"panic with an error":        {panics(quotes("%w", secrets.ErrNotFound)), secrets.ErrUnknown, false}, // whatever it wraps
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

// places are the positions of a misbehaving Fetcher. Each is a function of the misdeed.
func places() map[string]func(fetchFunc) (secrets.Backend, []secrets.Option) {
	filled := func(f fetchFunc) *layer { return slot(instead(f).Wrap) }
	good := newFake("doc", "value")
	return map[string]func(fetchFunc) (secrets.Backend, []secrets.Option){
		"backend": func(f fetchFunc) (secrets.Backend, []secrets.Option) { return failing(f), nil },
		"backend below layers": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return failing(f), []secrets.Option{
				secrets.WithMiddleware(pass(), pass()), secrets.WithCache(idle()), secrets.WithDedup(idle()), secrets.WithTracing(idle()),
				secrets.WithRedaction(idle()), secrets.WithBackendMiddleware(pass(), pass()),
			}
		},
		"backend in a chain": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return failing(f), []secrets.Option{to(named("other").with(func(b *fake) { b.fetch = f }))}
		},
		"backend middleware": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return good, []secrets.Option{secrets.WithBackendMiddleware(instead(f))}
		},
		"redaction": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return good, []secrets.Option{secrets.WithRedaction(filled(f))}
		},
		"above: tracing": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return good, []secrets.Option{secrets.WithTracing(filled(f))}
		},
		"above: dedup": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return good, []secrets.Option{secrets.WithDedup(filled(f))}
		},
		"above: cache": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return good, []secrets.Option{secrets.WithCache(filled(f))}
		},
		"above: user middleware": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return good, []secrets.Option{secrets.WithMiddleware(instead(f))}
		},
		"above: inner user middleware": func(f fetchFunc) (secrets.Backend, []secrets.Option) {
			return good, []secrets.Option{secrets.WithMiddleware(pass(), instead(f))}
		},
	}
}

func TestEveryErrorIsOfOneClass(t *testing.T) {
	d := newDetector(canary)
	scenarios, told := 0, 0
	for name, m := range misdeeds() {
		if _, err := quietly(m.fetch); err != nil && d.find(fmt.Sprintf("%v", err)+dump(err, false)) != "" {
			told++ // the positive control: the input holds the value
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

// quietly calls f and ignores a panic.
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

// checkMethods reads key with every method, and compares the class of each error with want. check gets each error.
func checkMethods(t *testing.T, client *secrets.Client, key string, want error, check func(*secrets.Error)) {
	t.Helper()
	is := is.New(t)
	ctx := t.Context()
	absent := errors.Is(want, secrets.ErrNotFound)
	one := func(s secrets.Secret, err error) {
		t.Helper()
		is.True(s.IsZero())           // no value beside an error
		e, ok := err.(*secrets.Error) // not wrapped
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

// checkGraph fails if e holds the value anywhere, or any error besides *Error and the sentinels.
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

func TestClass(t *testing.T) {
	is := is.New(t)
	is.Equal(secrets.Class(nil), nil)
	for _, c := range sentinels() {
		checkClass(t, c, c)
		checkClass(t, &secrets.Error{Err: c}, c)
		checkClass(t, fmt.Errorf("a: %w", fmt.Errorf("b: %w", c)), c)
	}
	// A not-found never hides a failure, in any order.
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
	// A denial is never an outage, for which a cache may serve a stale value.
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

func TestNewError(t *testing.T) {
	is := is.New(t)
	for _, class := range sentinels() {
		err := secrets.NewError(class, "why")
		checkClass(t, err, class)
		is.Equal(*err, secrets.Error{Err: class, Detail: "why"})
	}
	// A foreign error is dropped: it may quote a value.
	is.Equal(secrets.NewError(nil, "").Err, secrets.ErrUnknown)
	is.Equal(secrets.NewError(quotes("a server said"), "").Err, secrets.ErrUnknown)
	is.Equal(secrets.NewError(quotes("a server said: %w", secrets.ErrDeleted), "").Err, secrets.ErrDeleted)
	is.Equal(secrets.NewError(context.DeadlineExceeded, "").Err, secrets.ErrUnavailable)

	// The Client adds the names.
	_, err := open(t, failing(returns(secrets.NewError(secrets.ErrMalformed, "why")))).Get(t.Context(), "a#b")
	is.Equal(err.Error(), "secrets: fake: a#b: malformed: why")
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
		{&secrets.Error{Err: context.Canceled}, "secrets: context canceled"},
		{&secrets.Error{Backend: "vault", Key: "k", Err: context.DeadlineExceeded}, "secrets: vault: k: context deadline exceeded"},
		{&secrets.Error{Err: fmt.Errorf("x: %w", context.Canceled)}, "secrets: unavailable"},
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

// Callers may keep and change their errors, although a layer or backend may return one remembered error many times.
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
				e.Detail, e.Causes[0].Detail = "x", "x" // the next caller has its own copy
			}
			is.Equal(dump(original, false), dump(shared(), false))
		})
	}
}

// If the context of the caller has ended, the error is that of the context, whatever the backend returned and whatever cause the caller
// gave. An answer that does not depend on the context stays.
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
						opts = append(opts, secrets.WithMiddleware(pass()), secrets.WithTracing(idle()))
					}
					client := open(t, backend, opts...)
					var ctx context.Context
					for _, call := range []func() error{
						func() error { _, err := client.Get(ctx, "a"); return err },
						func() error { _, err := client.Refresh(ctx, "a#f"); return err },
						func() error { _, err := client.GetMany(ctx, "a", "b"); return err },
					} {
						var cancel context.CancelCauseFunc
						ctx, cancel = context.WithCancelCause(t.Context())
						errs := make(chan error, 1)
						go func() { errs <- call() }()
						synctest.Wait()
						cancel(secrets.ErrClosed) // which says nothing about the Client
						err := <-errs
						each := secrets.Errors{}
						if !errors.As(err, &each) {
							each = secrets.Errors{err.(*secrets.Error)}
						}
						for _, err := range each {
							// A fetch may be left by its caller before the backend has said anything.
							if tc.want == context.Canceled || errors.Is(err, context.Canceled) {
								checkEnded(t, err, context.Canceled, "fake", err.Key)
								continue
							}
							checkClass(t, err, tc.want)
						}
						is.Equal(each[0].Key[:1], "a")
					}
				})
			})
		}
	}
}

// The cause that a caller gives for the end of its context is no class of an error, even if it is one of the sentinels.
func TestTheCauseOfAContextIsNoClass(t *testing.T) {
	for _, cause := range append(sentinels(), errors.New("of the program's own"), nil) {
		for layers, opts := range layerings() {
			for _, many := range []bool{false, true} {
				t.Run(fmt.Sprint(cause, ", ", layers, ", many ", many), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						is := is.New(t)
						client := open(t, failing(func(ctx context.Context, _ secrets.Ref) (secrets.Secret, error) {
							<-ctx.Done()
							return secrets.Secret{}, fmt.Errorf("GET: %w", context.Cause(ctx)) // as net/http does
						}).with(func(f *fake) { f.info.Name = "b" }), opts...)
						call := func(ctx context.Context) error {
							if !many {
								s, err := client.GetOr(ctx, "db#user", "default")
								is.True(s.IsZero())
								return err
							}
							found, err := client.GetMany(ctx, "db#user")
							is.Equal(len(found), 0)
							return err.(secrets.Errors)[0]
						}
						ctx, cancel := context.WithCancelCause(t.Context())
						time.AfterFunc(time.Millisecond, func() { cancel(cause) })
						checkEnded(t, call(ctx), context.Canceled, "b", "db#user")
						checkEnded(t, call(ctx), context.Canceled, "", "db#user")

						late, stop := context.WithTimeoutCause(t.Context(), time.Millisecond, cause)
						defer stop()
						<-late.Done()
						checkEnded(t, call(late), context.DeadlineExceeded, "", "db#user")

						is.NoErr(client.Close()) // the control
						checkClass(t, call(t.Context()), secrets.ErrClosed)
					})
				})
			}
		}
	}
}

// A call with an ended context calls no layer and no backend.
func TestEndedContext(t *testing.T) {
	is := is.New(t)
	backend := newFake("a", "b")
	client := open(t, backend)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(quotes("a cause of the caller's own"))
	_, err := client.Get(ctx, "a#f")
	checkEnded(t, err, context.Canceled, "", "a#f")
	is.Equal(err.Error(), "secrets: a#f: context canceled")
	s, err := client.GetOr(ctx, "a", "default")
	checkEnded(t, err, context.Canceled, "", "a")
	is.True(s.IsZero())
	_, err = client.Has(ctx, "a")
	checkEnded(t, err, context.Canceled, "", "a")
	_, err = client.Refresh(ctx, "a")
	checkEnded(t, err, context.Canceled, "", "a")
	many, err := client.GetMany(ctx, "a", "..", "a")
	all := err.(secrets.Errors)
	is.Equal(len(all), 2) // one per key
	checkEnded(t, all[0], context.Canceled, "", "a")
	checkEnded(t, all[1], context.Canceled, "", "..")
	is.True(many != nil && len(many) == 0)
	_, err = client.GetMany(ctx)
	checkEnded(t, err.(secrets.Errors)[0], context.Canceled, "", "")
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

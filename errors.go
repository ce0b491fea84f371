package secrets

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// The classes of errors. Every error of a [Client] is an [*Error] of exactly one of them, whatever the backend returned. If the caller's
// own context has ended, the class is [context.Canceled] or [context.DeadlineExceeded] instead. Test for a class with [errors.Is], not with
// ==:
//
//	if errors.Is(err, secrets.ErrNotFound) { … }
//
// [ErrDeleted] and [ErrFieldNotFound] are ErrNotFound too.
var (
	// ErrNotFound says that the backend has answered and has no such secret.
	ErrNotFound error = &class{text: "not found"}
	// ErrDeleted says that the secret existed and was deleted, or is marked for deletion. It is also ErrNotFound, but no fallback
	// replaces it: a user name from one backend must not meet a password from another.
	ErrDeleted error = &class{text: "deleted", parent: ErrNotFound}
	// ErrFieldNotFound says that the document exists, and the field in it is missing or null. It is also ErrNotFound, but no fallback
	// replaces it.
	ErrFieldNotFound error = &class{text: "field not found", parent: ErrNotFound}
	// ErrPermissionDenied says that the backend accepts the caller's credentials, but does not allow this read.
	ErrPermissionDenied error = &class{text: "permission denied"}
	// ErrUnauthenticated says that the backend does not accept the caller's credentials: missing, invalid or expired.
	ErrUnauthenticated error = &class{text: "not authenticated"}
	// ErrUnavailable says that the backend could not answer: network, timeout, throttling, a server error. A later try may succeed.
	ErrUnavailable error = &class{text: "unavailable"}
	// ErrInvalidKey says that the key cannot name a secret. Either the Client or the backend refused it.
	ErrInvalidKey error = &class{text: "invalid key"}
	// ErrMalformed says that the stored value, or the answer of the backend, does not have the expected form: broken JSON, an empty
	// answer, a value over the size limit.
	ErrMalformed error = &class{text: "malformed"}
	// ErrUnknown says that the failure fits no other class, such as a panic in a backend.
	ErrUnknown error = &class{text: "unknown failure"}
	// ErrClosed says that the [Client] was closed, or that another Client closed a backend that both share, or that a [Handle] or [Live]
	// has ended.
	ErrClosed error = &class{text: "closed"}
)

// class is a sentinel; a parent makes errors.Is find the wider class too.
type class struct {
	text   string
	parent error
}

func (c *class) Error() string { return "secrets: " + c.text }
func (c *class) Unwrap() error { return c.parent }

// failureClasses and absenceClasses list the sentinels in the order in which [Class] checks them. Absence comes last: an error that is also
// an outage or a denial must not read as "not found". ErrNotFound comes after its two kinds.
func failureClasses() [7]error {
	return [...]error{
		ErrClosed, ErrPermissionDenied, ErrUnauthenticated, ErrUnavailable, ErrMalformed, ErrInvalidKey, ErrUnknown,
	}
}

func absenceClasses() [3]error { return [...]error{ErrDeleted, ErrFieldNotFound, ErrNotFound} }

// Class returns the sentinel of err's class, or nil if err is nil. If err is from a [Client] and the caller's own context had ended, it
// returns [context.Canceled] or [context.DeadlineExceeded]. Any other error of a context, and any timeout, is [ErrUnavailable]: the
// context may not be the caller's. All other errors are [ErrUnknown].
func Class(err error) error {
	// These forms, which layers return most, need no search.
	switch e := err.(type) { //nolint:errorlint // a wrapped one is searched
	case nil:
		return nil
	case *class:
		return e
	case *Error:
		if e != nil {
			if c, ok := e.Err.(*class); ok {
				return c
			}
			if isBareContextError(e.Err) {
				return e.Err
			}
		}
	}
	return search(err)
}

// search returns the class of an error that may be foreign.
func search(err error) (sentinel error) {
	// The methods of err may panic, for example on a nil pointer.
	defer func() {
		if recover() != nil {
			sentinel = ErrUnknown
		}
	}()
	for _, c := range failureClasses() {
		if errors.Is(err, c) {
			return c
		}
	}
	if own, ok := errors.AsType[*Error](err); ok && own != nil && isBareContextError(own.Err) {
		return own.Err
	}
	var t interface{ Timeout() bool }
	if isContextError(err) || errors.As(err, &t) && t.Timeout() {
		return ErrUnavailable
	}
	for _, c := range absenceClasses() {
		if errors.Is(err, c) {
			return c
		}
	}
	return ErrUnknown
}

// isBareContextError reports whether err is context.Canceled or context.DeadlineExceeded, not wrapped.
func isBareContextError(err error) bool {
	return err == context.Canceled || err == context.DeadlineExceeded //nolint:errorlint // a wrapped one is some other error
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// Error is a failure to get one secret. It holds the backend, the key, the class and a detail, and never a value.
//
// Backends return an Error, made with [NewError], to choose the class and the Detail. The Client replaces any other error of a backend by
// an Error of its [Class]: errors of SDKs and parsers carry bodies, tokens and addresses.
type Error struct {
	// Backend is the name of the backend that failed, or "" if none was called.
	Backend string
	// Key is the key as the caller gave it.
	Key string
	// Err is the class: one of the sentinels of this package, or [context.Canceled] or [context.DeadlineExceeded] if the caller's own
	// context has ended.
	Err error
	// Detail is the backend's own explanation, for a person. It holds no value.
	Detail string
	// Causes are the failures of the other backends of a fallback chain, in the order of the chain. errors.Is and errors.As do not search
	// them: only Err is the class of a chain.
	Causes []*Error
}

// NewError returns an Error for a backend. class is one of the sentinels of this package. detail is an explanation for a person; it must
// hold no value. The Client adds the backend's name and the key.
func NewError(class error, detail string) *Error {
	return &Error{Err: Class(orUnknown(class)), Detail: detail}
}

// Error returns one line with the backend, the key, the class, the detail and the causes. It leaves out those that are empty.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("secrets: ")
	e.write(&b)
	return b.String()
}

func (e *Error) write(b *strings.Builder) {
	if e == nil {
		b.WriteString(classText(nil))
		return
	}
	if e.Backend != "" {
		b.WriteString(printable(e.Backend) + ": ")
	}
	if e.Key != "" {
		b.WriteString(printable(e.Key) + ": ")
	}
	b.WriteString(classText(e.Err))
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	for _, cause := range e.Causes {
		b.WriteString("; ")
		cause.write(b)
	}
}

// Unwrap returns the class.
func (e *Error) Unwrap() error {
	if e == nil { // a backend may return a nil *Error as an error
		return nil
	}
	return e.Err
}

// clone returns a deep copy of e: a layer may return one remembered error to many callers. If Err is a foreign error, which may quote a
// value, the copy has its class instead.
func (e *Error) clone() *Error {
	if e == nil {
		return &Error{Err: ErrUnknown}
	}
	c := *e
	if !isBareContextError(e.Err) {
		c.Err = Class(orUnknown(e.Err))
	}
	c.Causes = slices.Clone(e.Causes)
	for i, cause := range c.Causes {
		c.Causes[i] = cause.clone()
	}
	return &c
}

var _ error = (*Error)(nil)

// Errors are the failures of a [Client.GetMany], one for each key without a secret, in the order of the keys.
type Errors []*Error

// Error returns the texts of all errors, one per line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the errors, for errors.Is and errors.As.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, err := range e {
		all[i] = err
	}
	return all
}

var _ error = Errors(nil)

func classText(err error) string {
	if c, ok := err.(*class); ok {
		return c.text
	}
	if isBareContextError(err) {
		return err.Error()
	}
	return classText(Class(orUnknown(err)))
}

func orUnknown(err error) error {
	if err == nil {
		return ErrUnknown
	}
	return err
}

// printable quotes a name that would be unreadable or misleading in a log line, and cuts it to 128 bytes.
func printable(name string) string {
	return quoteIf(name, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) })
}

// keyName is printable, but also quotes letters outside ASCII: two keys that encoding/json takes for the same may look alike.
func keyName(key string) string {
	return quoteIf(key, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) })
}

func quoteIf(name string, odd func(rune) bool) string {
	const maxLen = 128
	cut := ""
	if len(name) > maxLen {
		name, cut = name[:maxLen], "…"
	}
	if strings.ContainsFunc(name, odd) {
		name = strconv.QuoteToASCII(name)
	}
	return name + cut
}

// toError turns the error of a fetch into an error of one class. ctx is the context of that fetch. If ctx is done and explains the failure,
// the result is the bare error of ctx, which no layer stores and no other caller gets. [document] turns it into an [*Error].
func toError(ctx context.Context, err error, backend, key string) (e error) {
	defer func() { // the methods of a foreign error run here
		if p := recover(); p != nil {
			e = &Error{Backend: backend, Key: key, Err: ErrUnknown, Detail: fmt.Sprintf("an error that panics with a %T", p)}
		}
	}()
	class, detail := Class(err), ""
	if isBareContextError(class) { // from a Client that the backend or a layer uses
		class = ErrUnavailable
	}
	if class == ErrUnavailable && isContextError(err) {
		detail = "a layer has ended the context of the fetch"
	}
	if ctx.Err() != nil && (class == ErrUnavailable || class == ErrUnknown || isCause(ctx, err)) {
		return endOf(ctx)
	}
	var own *Error
	if !errors.As(err, &own) || own == nil {
		return &Error{Backend: backend, Key: key, Err: class, Detail: detail}
	}
	own = own.clone()
	own.Err = class
	if own.Detail == "" {
		own.Detail = detail
	}
	if own.Backend == "" {
		own.Backend = backend
	}
	if own.Key == "" {
		own.Key = key
	}
	return own
}

// isCause reports whether err is the cause that the caller gave for the end of ctx. net/http returns it as its error. Even if it has a
// class, it says nothing about the secret.
func isCause(ctx context.Context, err error) bool {
	cause := context.Cause(ctx)
	return !isBareContextError(cause) && errors.Is(err, cause)
}

// failureOf returns err as the error for the caller of key. ctx is the context of the caller. err may be a bare error of a context.
func failureOf(ctx context.Context, err error, backend, key string) *Error {
	if e, ok := err.(*Error); ok && e != nil && e.Backend != "" {
		backend = e.Backend
	}
	e, ok := toError(ctx, err, backend, key).(*Error) //nolint:errorlint // it is one, or the bare error of ctx
	if !ok {
		return contextError(ctx, backend, key)
	}
	e.Key = key
	return e
}

// contextError returns the error of a fetch of key whose ctx has ended.
func contextError(ctx context.Context, backend, key string) *Error {
	return &Error{Backend: backend, Key: key, Err: endOf(ctx)}
}

// endOf returns the error of ctx, which has ended, unwrapped: a context type of the program may wrap it.
func endOf(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return context.Canceled
}

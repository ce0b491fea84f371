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

// The classes of failure. Every error that leaves a [Client] is an [*Error] of exactly one of them, whatever the backend
// returned. If the caller's own context has ended, the class is its error instead: [context.Canceled] or
// [context.DeadlineExceeded]. Test for a class with [errors.Is], and not with ==:
//
//	if errors.Is(err, secrets.ErrNotFound) { … }
//
// [ErrDeleted] and [ErrFieldNotFound] are ErrNotFound too.
var (
	// ErrNotFound says that the backend was asked, could answer, and has no such secret.
	ErrNotFound error = &class{text: "not found"}
	// ErrDeleted says that the secret existed and was deleted, or is marked for deletion. It is an ErrNotFound, but no
	// fallback is asked in its place: a user name from one backend must not meet a password from another.
	ErrDeleted error = &class{text: "deleted", parent: ErrNotFound}
	// ErrFieldNotFound says that the document is there and the field in it is missing or null. It is an ErrNotFound, but
	// no fallback is asked in its place.
	ErrFieldNotFound error = &class{text: "field not found", parent: ErrNotFound}
	// ErrPermissionDenied says that the backend knows who asks and refuses.
	ErrPermissionDenied error = &class{text: "permission denied"}
	// ErrUnauthenticated says that the backend does not accept the caller's credentials: missing, invalid or expired.
	ErrUnauthenticated error = &class{text: "not authenticated"}
	// ErrUnavailable says that no answer could be had: network, timeout, throttling, a server error. It may be different
	// the next time.
	ErrUnavailable error = &class{text: "unavailable"}
	// ErrInvalidKey says that the key cannot name a secret. The backend was not asked, or refused the name itself.
	ErrInvalidKey error = &class{text: "invalid key"}
	// ErrMalformed says that what is stored, or what was answered, cannot be read as what was asked for: broken JSON,
	// an empty answer, a value over the size cap.
	ErrMalformed error = &class{text: "malformed"}
	// ErrUnknown says that something failed that no rule names; a panic in a backend is one such case.
	ErrUnknown error = &class{text: "unknown failure"}
	// ErrClosed says that the [Client] was closed, or a backend that it shares with another Client, or that a [Handle] or [Live] has
	// ended.
	ErrClosed error = &class{text: "closed"}
)

// class is a sentinel; a parent makes errors.Is find the wider class too.
type class struct {
	text   string
	parent error
}

func (c *class) Error() string { return "secrets: " + c.text }
func (c *class) Unwrap() error { return c.parent }

// failureClasses and absenceClasses list the sentinels in the order in which [Class] looks for them. An error that claims several is of
// the one that hides least: absence comes last, since an outage or a denial must never read as "not found", and the
// narrower kinds of absence come before the wide one.
func failureClasses() [7]error {
	return [...]error{
		ErrClosed, ErrPermissionDenied, ErrUnauthenticated, ErrUnavailable, ErrMalformed, ErrInvalidKey, ErrUnknown,
	}
}

func absenceClasses() [3]error { return [...]error{ErrDeleted, ErrFieldNotFound, ErrNotFound} }

// Class returns the one sentinel that err belongs to, or nil if err is nil. That of an error of a [Client] whose caller's context
// has ended is [context.Canceled] or [context.DeadlineExceeded]. Any other error of a context is ErrUnavailable, as that of a
// timeout is: whether the context was the caller's own is not known. What no rule names is ErrUnknown.
func Class(err error) error {
	// The forms that layers pass on need no search.
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

// search looks for the class of an error that may be foreign.
func search(err error) (sentinel error) {
	// Its methods run here, those of a nil pointer among them.
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

// isBareContextError reports whether err is the error of a context itself.
func isBareContextError(err error) bool {
	return err == context.Canceled || err == context.DeadlineExceeded //nolint:errorlint // a wrapped one is some other error
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// Error is a failure to get one secret. It says which backend failed on which key, in which class, and what is known
// beyond that; it never holds a value.
//
// Backends return an Error to give a class and a Detail of their own. Whatever else they return is classified by [Class]
// and dropped: errors of SDKs and parsers carry bodies, tokens and addresses.
type Error struct {
	// Backend is the name of the backend that failed, or "" if none was asked.
	Backend string
	// Key is the key as the caller gave it.
	Key string
	// Err is the class: one of the sentinels of this package, or [context.Canceled] or [context.DeadlineExceeded] if the context
	// of the caller has ended.
	Err error
	// Detail is the backend's own explanation, for a person. It holds no value.
	Detail string
	// Causes are the failures of the other backends of a fallback chain, in the order in which they were asked.
	// errors.Is and errors.As do not look into them: the class of a chain is that of Err alone.
	Causes []*Error
}

// NewError returns an Error of class, one of the sentinels of this package, with an explanation for a person, which holds no value.
// Backends make their errors with it; the Client adds their name and the key.
func NewError(class error, detail string) *Error {
	return &Error{Err: Class(orUnknown(class)), Detail: detail}
}

// Error returns the backend, the key, the class, the detail and the causes, as far as they are set.
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
	if e == nil { // a backend that returns a nil *Error as an error must not bring its callers down
		return nil
	}
	return e.Err
}

// clone returns a copy that shares nothing with e, so that an error remembered by a layer can be handed to many callers,
// and that holds no foreign error, which may quote a value, in the place of a class.
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

// Errors are the failures of a [Client.GetMany], one for each key that could not be had, in the order of the keys.
type Errors []*Error

// Error returns the texts of all errors, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes errors.Is and errors.As look into each of the errors.
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

// printable quotes a name that would be unreadable or misleading in a log line, and cuts a very long one.
func printable(name string) string {
	return quoteIf(name, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) })
}

// keyName is printable, but also quotes letters outside ASCII: two keys that are the same to encoding/json may look alike.
func keyName(key string) string {
	return quoteIf(key, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) })
}

func quoteIf(name string, odd func(rune) bool) string {
	const most = 128
	cut := ""
	if len(name) > most {
		name, cut = name[:most], "…"
	}
	if strings.ContainsFunc(name, odd) {
		name = strconv.QuoteToASCII(name)
	}
	return name + cut
}

// toError turns whatever a fetch returned into an error of one class. ctx is the context of that fetch: if it is done, a failure
// that its end explains is its own error, bare, which no layer stores and no other caller gets. [document] makes an [*Error] of it.
func toError(ctx context.Context, err error, backend, key string) (e error) {
	defer func() { // the methods of a foreign error run here
		if p := recover(); p != nil {
			e = &Error{Backend: backend, Key: key, Err: ErrUnknown, Detail: fmt.Sprintf("an error that panics with a %T", p)}
		}
	}()
	class, detail := Class(err), ""
	if isBareContextError(class) { // of a Client that the backend or a layer uses
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

// isCause reports whether err is the cause that the caller gave for the end of ctx, as net/http returns it. It says nothing about the
// secret, of whatever class it is.
func isCause(ctx context.Context, err error) bool {
	cause := context.Cause(ctx)
	return !isBareContextError(cause) && errors.Is(err, cause)
}

// failureOf returns err as the error that a caller of key with ctx gets from backend. What is below has bare errors of contexts.
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

// contextError returns the error of ctx, which has ended, as one of a fetch of key.
func contextError(ctx context.Context, backend, key string) *Error {
	return &Error{Backend: backend, Key: key, Err: endOf(ctx)}
}

// endOf returns the error of ctx, which has ended. A context of the program's own may wrap it.
func endOf(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return context.Canceled
}

package tracing

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"

	"github.com/seed-5482dd03/secrets"
)

// The names of attributes. error.type is from the semantic conventions of OpenTelemetry.
const (
	keyBackend    = "secrets.backend"
	keyOutcome    = "secrets.outcome"
	keyErrorType  = "error.type"
	keyBatchSize  = "secrets.batch.size"
	keyAttempt    = "secrets.attempt"
	keyBackground = "secrets.background"
	keyProbe      = "secrets.probe"
	keyName       = "secrets.key"
	keyLink       = "secrets.link"
)

// outcome is how a fetch ended. Those that are errors of a span come first.
type outcome int

const (
	permissionDenied outcome = iota
	unauthenticated
	unavailable
	malformed
	invalidKey
	unknown
	deadlineExceeded

	closed
	canceled
	deleted
	fieldNotFound
	notFound
	ok

	outcomes = iota
)

// failed reports whether o is an error of a span. A not-found is an answer, and the program itself causes closed and canceled.
func (o outcome) failed() bool { return o < closed }

func (o outcome) String() string {
	return [outcomes]string{
		permissionDenied: "permission_denied",
		unauthenticated:  "unauthenticated",
		unavailable:      "unavailable",
		malformed:        "malformed",
		invalidKey:       "invalid_key",
		unknown:          "unknown",
		deadlineExceeded: "deadline_exceeded",
		closed:           "closed",
		canceled:         "canceled",
		deleted:          "deleted",
		fieldNotFound:    "field_not_found",
		notFound:         "not_found",
		ok:               "ok",
	}[o]
}

// description returns the text of a span's status.
func (o outcome) description() string { return strings.ReplaceAll(o.String(), "_", " ") }

// attributes returns the attributes of a fetch with the outcome o.
func (o outcome) attributes() []attribute.KeyValue {
	all := []attribute.KeyValue{attribute.String(keyOutcome, o.String())}
	if o.failed() {
		all = append(all, attribute.String(keyErrorType, o.String()))
	}
	return all
}

// outcomeOf returns the outcome of a fetch with ctx that returned secret and err. It uses only the class of err.
//
//nolint:errorlint // Only the unwrapped error of the callers' own context counts.
func outcomeOf(ctx context.Context, secret secrets.Secret, err error) outcome {
	switch {
	case err == nil && secret.IsZero():
		return unknown
	case err == nil:
		return ok
	case ctx.Err() != nil && err == context.Canceled:
		return canceled
	case ctx.Err() != nil && err == context.DeadlineExceeded:
		return deadlineExceeded
	default:
		return ofClass(secrets.Class(err))
	}
}

// ofClass returns the outcome of a class.
func ofClass(class error) outcome {
	switch class {
	case secrets.ErrNotFound:
		return notFound
	case secrets.ErrDeleted:
		return deleted
	case secrets.ErrFieldNotFound:
		return fieldNotFound
	case secrets.ErrPermissionDenied:
		return permissionDenied
	case secrets.ErrUnauthenticated:
		return unauthenticated
	case secrets.ErrUnavailable:
		return unavailable
	case secrets.ErrInvalidKey:
		return invalidKey
	case secrets.ErrMalformed:
		return malformed
	case secrets.ErrClosed:
		return closed
	default:
		return unknown
	}
}

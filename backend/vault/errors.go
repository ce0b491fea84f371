package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/network"
)

// requestError returns the error of a request without an answer. It quotes only reasons that are safe: the client's own texts hold
// addresses and bodies.
func requestError(ctx context.Context, err error) error {
	if own, ok := asOwnError(err); ok {
		return own
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, network.ErrTooLarge) {
		return malformed("the answer is too large; see WithMaxSize")
	}
	return unavailable("no answer from the server" + reason(err))
}

// asOwnError returns the error of this package's transport that err is or wraps.
func asOwnError(err error) (*secrets.Error, bool) { return errors.AsType[*secrets.Error](err) }

// reason describes a network failure, with a colon before it, or returns "".
func reason(err error) string {
	if verification, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return ": " + certificateReason(verification.Err)
	}
	return network.Reason(err)
}

// certificateReason says why a certificate is not trusted.
func certificateReason(err error) string {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &authority):
		return "its certificate is from an authority that is not trusted; see WithTLSCACert and VAULT_CACERT"
	case errors.As(err, &host):
		return "its certificate is for another name; see WithTLSServerName and VAULT_TLS_SERVER_NAME"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate has expired, or is not valid yet"
	default:
		return "its certificate is not trusted"
	}
}

func fail(class error, detail string) error { return secrets.NewError(class, detail) }

// errClosed is the error after Close. Only the Client calls Close, so a request after it comes from another Client that shares the backend.
func errClosed() error {
	return fail(secrets.ErrClosed, "the backend was closed; each Client needs a backend of its own")
}

func notFound(detail string) error        { return fail(secrets.ErrNotFound, detail) }
func denied(detail string) error          { return fail(secrets.ErrPermissionDenied, detail) }
func unauthenticated(detail string) error { return fail(secrets.ErrUnauthenticated, detail) }
func unavailable(detail string) error     { return fail(secrets.ErrUnavailable, detail) }
func malformed(detail string) error       { return fail(secrets.ErrMalformed, detail) }
func invalid(detail string) error         { return fail(secrets.ErrInvalidKey, detail) }

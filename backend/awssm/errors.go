package awssm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/fetchctx"
	"github.com/seed-5482dd03/secrets/internal/network"
)

// failure returns the error that err, of a call of the SDK, stands for. Nothing of its text is passed on, and it is not
// wrapped: errors of the SDK hold principals, request IDs and, where an answer could not be decoded, the answer.
func failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if credentials, ok := errors.AsType[*credentialsError](err); ok {
		return credentials.failure()
	}
	api, ok := errors.AsType[smithy.APIError](err)
	ok = ok && !isForeign(api, err)
	if ok && isThrottle(api.ErrorCode()) || status(err) == http.StatusTooManyRequests {
		fetchctx.Of(ctx).Origin.Throttle()
	}
	if ok {
		return classify(api.ErrorCode(), api.ErrorMessage(), status(err))
	}
	return broken(err)
}

// status returns the status of the answer that err is about, or 0 if there was none.
func status(err error) int {
	var response interface{ HTTPStatusCode() int } // also what the endpoint of a container's credentials makes of its answers
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

// broken returns the error for an answer that is not the service's, or for none.
func broken(err error) error {
	s := status(err)
	_, decoding := errors.AsType[*smithy.DeserializationError](err)
	_, brokeOff := errors.AsType[*readError](err)
	switch {
	case s >= http.StatusInternalServerError, s == http.StatusTooManyRequests, s == http.StatusRequestTimeout:
		return unavailable(fmt.Sprintf("the service answered with status %d", s))
	case s >= http.StatusMultipleChoices:
		return unavailable(fmt.Sprintf("an answer with status %d that is not the service's: "+
			"a proxy stands before it, or the endpoint is wrong", s))
	case errors.Is(err, network.ErrTooLarge):
		return malformed("the answer is too large")
	case brokeOff:
		return unavailable("the answer of the service broke off" + network.Reason(err))
	case decoding, s != 0:
		return malformed("the answer is not one of the service, or was cut short")
	case isNetwork(err):
		return unavailable("no answer from the service" + network.Reason(err))
	default:
		return fail(secrets.ErrUnknown, "the SDK could not make the call")
	}
}

func isNetwork(err error) bool {
	if _, file := errors.AsType[*fs.PathError](err); file { // its errno would do for a net.Error
		return false
	}
	var (
		send    *smithyhttp.RequestSendError
		network net.Error
	)
	return errors.As(err, &send) || errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded)
}

// unknownCode is what the SDK calls an error whose answer names none: an empty one, or JSON of another shape. See deserializeError in
// https://github.com/aws/smithy-go/blob/main/transport/http/protocol/awsjson/awsjson.go.
const unknownCode = "UnknownError"

// isForeign reports whether an error of the service's form is none of the service: no code, or a refusal with an unknown code and without
// the request ID that answers of AWS have (https://docs.aws.amazon.com/sdk-for-go/v2/developer-guide/handle-errors.html). A proxy that
// refuses a request knows nothing of the policy of a secret.
func isForeign(api smithy.APIError, err error) bool {
	if api.ErrorCode() == unknownCode {
		return true
	}
	if s := status(err); s != http.StatusUnauthorized && s != http.StatusForbidden || isKnown(api.ErrorCode()) {
		return false
	}
	response, ok := errors.AsType[*awshttp.ResponseError](err)
	return !ok || response.RequestID == ""
}

// isKnown reports whether classify knows the code by itself.
func isKnown(code string) bool {
	return isThrottle(code) || isDenial(code) || !errors.Is(classify(code, "", 0), secrets.ErrUnknown) || code == "InvalidRequestException"
}

// isRefusal reports whether a call failed for want of credentials that the service accepts, and whether the source of them is down. A
// clock that is wrong needs no other credentials.
func isRefusal(err error) (refused, down bool) {
	if credentials, ok := errors.AsType[*credentialsError](err); ok {
		return true, credentials.isOutage(status(credentials.err))
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || isForeign(api, err) {
		return false, false
	}
	switch api.ErrorCode() {
	case "RequestExpired", "RequestTimeTooSkewed":
		return false, false
	default:
		return errors.Is(classify(api.ErrorCode(), "", status(err)), secrets.ErrUnauthenticated), false
	}
}

// classify returns the error for the code and the message of the service, whose errors all have the status 400 unless they
// are its own.
func classify(code, message string, status int) error {
	switch {
	case isThrottle(code):
		return unavailable("the service has had too many requests (" + printable(code) + ")")
	case isDenial(code):
		return denied("the policies must allow secretsmanager:GetSecretValue for it, and kms:Decrypt with its key if that is not the default one")
	}
	switch code {
	case "ResourceNotFoundException":
		return absent(message)
	case "InvalidRequestException":
		return impossible(message)
	case "InvalidParameterException", "ValidationException", "ValidationError":
		return invalid("the service does not accept the name or the version (" + code + ")")
	case "DecryptionFailure":
		return denied("the secret cannot be decrypted with its KMS key")
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch",
		"IncompleteSignature", "IncompleteSignatureException", "MissingAuthenticationToken", "MissingAuthenticationTokenException",
		"AuthFailure", "OptInRequired":
		return unauthenticated("the service does not accept the credentials (" + code + ")")
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired":
		return unauthenticated("the credentials have expired (" + code + ")")
	case "RequestExpired", "RequestTimeTooSkewed":
		return unauthenticated("the clock of this machine is wrong (" + code + ")")
	case "InternalServiceError", "InternalServiceErrorException", "InternalFailure", "InternalServerError", "ServiceUnavailable",
		"ServiceUnavailableException", "RequestTimeout", "RequestTimeoutException":
		return unavailable("the service failed (" + code + ")")
	default:
		return unlisted(code, status)
	}
}

// unlisted returns the error for a code that is not known, by the status of the answer.
func unlisted(code string, status int) error {
	switch {
	case status == http.StatusUnauthorized:
		return unauthenticated("the credentials are not accepted (status 401)")
	case status == http.StatusForbidden:
		return denied("the request is refused (status 403)")
	case status == http.StatusBadRequest:
		return fail(secrets.ErrUnknown, "the service refused the request ("+printable(code)+")")
	case status >= http.StatusMultipleChoices:
		return unavailable(fmt.Sprintf("an answer with status %d (%s)", status, printable(code)))
	default:
		return fail(secrets.ErrUnknown, "the service answered with "+printable(code))
	}
}

// absent tells the kinds of ResourceNotFoundException apart, for which the service has texts alone, recorded from AWS in
// https://github.com/localstack/localstack/blob/main/tests/aws/services/secretsmanager/test_secretsmanager.snapshot.json.
func absent(message string) error {
	switch {
	case strings.Contains(message, "staging label: AWSCURRENT"):
		return notFound("the secret is there, and has no value yet")
	case strings.Contains(message, "staging label:"):
		return notFound("the stage is missing: no version of the secret has it; AWS itself sets AWSCURRENT, AWSPREVIOUS and AWSPENDING")
	case strings.Contains(message, "VersionId:"):
		return notFound("the version is missing: no version of the secret has that ID, or that stage")
	default:
		return notFound("there is no such secret in this account and region")
	}
}

// impossible tells the kinds of InvalidRequestException apart, for which the service has texts alone.
func impossible(message string) error {
	switch {
	case strings.Contains(message, "marked for deletion"), strings.Contains(message, "scheduled for deletion"),
		strings.Contains(message, "was deleted"):
		return fail(secrets.ErrDeleted, "the secret is marked for deletion")
	case strings.Contains(message, "not associated to the provided VersionId"):
		return invalid("the stage is not one of that version")
	case strings.Contains(message, "different AWS account"):
		return denied("a secret of another account must be encrypted with a KMS key that this account may use, not with the default one")
	default:
		return fail(secrets.ErrUnknown, "the state of the secret does not allow it (InvalidRequestException)")
	}
}

// printable returns a code of the service as far as it may be one: a proxy may have put anything in its place.
func printable(code string) string {
	const most = 64
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_'
	}
	if code == "" || len(code) > most || strings.ContainsFunc(code, odd) {
		return "a code that is none of the service's"
	}
	return code
}

// isDenial reports whether code is that of policies which do not allow what was asked.
func isDenial(code string) bool {
	switch code {
	case "AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "NotAuthorized", "KMSAccessDeniedException":
		return true
	default:
		return false
	}
}

func isThrottle(code string) bool {
	_, throttled := retry.DefaultThrottleErrorCodes[code]
	return throttled
}

func isCanceled(err error) bool {
	_, canceled := errors.AsType[*aws.RequestCanceledError](err)
	return canceled || errors.Is(err, context.Canceled)
}

func fail(class error, detail string) error { return secrets.NewError(class, detail) }

// errClosed is the error after Close. Close is the Client's to call, so that only another Client with the same backend asks then.
func errClosed() error {
	return fail(secrets.ErrClosed, "the backend was closed; each Client needs a backend of its own")
}

func notFound(detail string) error        { return fail(secrets.ErrNotFound, detail) }
func denied(detail string) error          { return fail(secrets.ErrPermissionDenied, detail) }
func unauthenticated(detail string) error { return fail(secrets.ErrUnauthenticated, detail) }
func unavailable(detail string) error     { return fail(secrets.ErrUnavailable, detail) }
func malformed(detail string) error       { return fail(secrets.ErrMalformed, detail) }
func invalid(detail string) error         { return fail(secrets.ErrInvalidKey, detail) }

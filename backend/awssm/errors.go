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

// failure classifies err, which comes from a call of the SDK. It neither wraps err nor copies its text: errors of the SDK contain
// principals, request IDs and, if decoding failed, the answer.
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

// status returns the HTTP status of the answer in err, or 0 if there was none.
func status(err error) int {
	var response interface{ HTTPStatusCode() int } // implemented also by errors of a container's credentials endpoint
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

// broken returns the error for a missing answer, or for one that does not come from the service.
func broken(err error) error {
	s := status(err)
	_, decoding := errors.AsType[*smithy.DeserializationError](err)
	_, brokeOff := errors.AsType[*readError](err)
	switch {
	case s >= http.StatusInternalServerError, s == http.StatusTooManyRequests, s == http.StatusRequestTimeout:
		return unavailable(fmt.Sprintf("the service answered with status %d", s))
	case s >= http.StatusMultipleChoices:
		return unavailable(fmt.Sprintf("an answer with status %d that is not the service's: "+
			"it comes from a proxy, or the endpoint is wrong", s))
	case errors.Is(err, network.ErrTooLarge):
		return malformed("the answer is too large")
	case brokeOff:
		return unavailable("the answer of the service broke off" + network.Reason(err))
	case decoding, s != 0:
		return malformed("the answer does not come from the service, or was cut short")
	case isNetwork(err):
		return unavailable("no answer from the service" + network.Reason(err))
	default:
		return fail(secrets.ErrUnknown, "the SDK could not make the call")
	}
}

func isNetwork(err error) bool {
	if _, file := errors.AsType[*fs.PathError](err); file { // its errno implements net.Error
		return false
	}
	var (
		send    *smithyhttp.RequestSendError
		network net.Error
	)
	return errors.As(err, &send) || errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded)
}

// unknownCode is the code that the SDK uses for an answer without one: an empty answer, or other JSON. See deserializeError in
// https://github.com/aws/smithy-go/blob/main/transport/http/protocol/awsjson/awsjson.go.
const unknownCode = "UnknownError"

// isForeign reports whether an API error does not come from the service. It then has no code, or it is a refusal with an unknown code and
// without the request ID of AWS (https://docs.aws.amazon.com/sdk-for-go/v2/developer-guide/handle-errors.html). A refusal by a proxy says
// nothing about the policy of a secret.
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

// isKnown reports whether classify handles the code, whatever the status.
func isKnown(code string) bool {
	return isThrottle(code) || isDenial(code) || !errors.Is(classify(code, "", 0), secrets.ErrUnknown) || code == "InvalidRequestException"
}

// isRefusal reports whether a call failed without valid credentials, and whether their source is down. A wrong clock is not a refusal:
// other credentials do not help.
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

// classify returns the error for a code, message and status of the service. The status is 400 unless the service itself failed.
func classify(code, message string, status int) error {
	switch {
	case isThrottle(code):
		return unavailable("the service has received too many requests (" + printable(code) + ")")
	case isDenial(code):
		return denied("the policies must allow secretsmanager:GetSecretValue on the secret, and kms:Decrypt on its key unless that is " +
			"the default one")
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

// unlisted classifies an unknown code by the status of the answer.
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

// absent distinguishes the kinds of ResourceNotFoundException. They differ only in their messages, recorded from AWS in
// https://github.com/localstack/localstack/blob/main/tests/aws/services/secretsmanager/test_secretsmanager.snapshot.json.
func absent(message string) error {
	switch {
	case strings.Contains(message, "staging label: AWSCURRENT"):
		return notFound("the secret exists but has no value yet")
	case strings.Contains(message, "staging label:"):
		return notFound("the stage is missing: no version of the secret has it; AWS itself sets AWSCURRENT, AWSPREVIOUS and AWSPENDING")
	case strings.Contains(message, "VersionId:"):
		return notFound("the version is missing: no version of the secret has that ID, or that stage")
	default:
		return notFound("there is no such secret in this account and region")
	}
}

// impossible distinguishes the kinds of InvalidRequestException. They differ only in their messages.
func impossible(message string) error {
	switch {
	case strings.Contains(message, "marked for deletion"), strings.Contains(message, "scheduled for deletion"),
		strings.Contains(message, "was deleted"):
		return fail(secrets.ErrDeleted, "the secret is marked for deletion")
	case strings.Contains(message, "not associated to the provided VersionId"):
		return invalid("the stage does not belong to that version")
	case strings.Contains(message, "different AWS account"):
		return denied("a secret of another account must be encrypted with a KMS key that this account may use, not with the default one")
	default:
		return fail(secrets.ErrUnknown, "the state of the secret does not allow it (InvalidRequestException)")
	}
}

// printable returns code if it looks like a code of the service: a proxy may send anything.
func printable(code string) string {
	const maxCode = 64
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_'
	}
	if code == "" || len(code) > maxCode || strings.ContainsFunc(code, odd) {
		return "an invalid code"
	}
	return code
}

// isDenial reports whether code means that the policies do not allow the call.
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

// errClosed returns the error after Close. The Client closes its backend, so only another Client with the same backend can call it then.
func errClosed() error {
	return fail(secrets.ErrClosed, "the backend was closed; each Client needs a backend of its own")
}

func notFound(detail string) error        { return fail(secrets.ErrNotFound, detail) }
func denied(detail string) error          { return fail(secrets.ErrPermissionDenied, detail) }
func unauthenticated(detail string) error { return fail(secrets.ErrUnauthenticated, detail) }
func unavailable(detail string) error     { return fail(secrets.ErrUnavailable, detail) }
func malformed(detail string) error       { return fail(secrets.ErrMalformed, detail) }
func invalid(detail string) error         { return fail(secrets.ErrInvalidKey, detail) }

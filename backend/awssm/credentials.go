package awssm

import (
	"context"
	"errors"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"

	"github.com/seed-5482dd03/secrets"
)

// marked is a provider of credentials whose errors are told from those of the service.
type marked struct{ aws.CredentialsProvider }

func (m marked) Retrieve(ctx context.Context) (aws.Credentials, error) {
	credentials, err := m.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &credentialsError{err}
	}
	return credentials, nil
}

// credentialsError marks a failure to get credentials, before the service was asked.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return "no credentials" }
func (e *credentialsError) Unwrap() error { return e.err }

// failure tells a source of credentials that does not answer from one that has none. It may be made of secrets itself: that
// the keys are not found in another store says nothing of what was asked for.
func (e *credentialsError) failure() error {
	_, answered := errors.AsType[smithy.APIError](e.err)
	switch s := status(e.err); {
	case e.isOutage(s):
		return unavailable("the source of the credentials does not answer")
	case answered, s != 0:
		return unauthenticated("the source of the credentials refuses them")
	default:
		return unauthenticated("there are no credentials, or they cannot be used")
	}
}

// isOutage reports whether the source has not answered, or has with a status that says that it cannot at present.
func (e *credentialsError) isOutage(status int) bool {
	api, answered := errors.AsType[smithy.APIError](e.err)
	switch {
	case status >= http.StatusInternalServerError, status == http.StatusTooManyRequests:
		return true
	case answered:
		return isThrottle(api.ErrorCode()) || api.ErrorCode() == "IDPCommunicationError"
	case status != 0:
		return status == http.StatusNotFound // of a metadata service that has no role yet
	default:
		return isNetwork(e.err) || isCanceled(e.err) || errors.Is(e.err, secrets.ErrUnavailable)
	}
}

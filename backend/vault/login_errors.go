package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/internal/network"
)

// loginFailure returns the error of one class for err, of a login at the auth method of the mount, or "" if it is not known.
// No failure of a login is "not found", and none is about the key that was asked for.
func loginFailure(ctx context.Context, mount string, err error) (failure error) {
	defer func() { // the methods of a foreign error run here, those of a nil pointer among them
		if recover() != nil {
			failure = fail(secrets.ErrUnknown, "the login failed")
		}
	}()
	at := ""
	if mount != "" {
		at = " at auth/" + mount
	}
	if a, answered := answerOf(err); answered {
		return a.loginFailure(at)
	}
	if own, ok := errors.AsType[*secrets.Error](err); ok {
		return secrets.NewError(loginClass(own), own.Detail)
	}
	if ctx.Err() != nil {
		return errLoginTimeout()
	}
	if unread(err) {
		return malformed("the answer to the login" + at + " is not Vault's: does a proxy stand before it?")
	}
	if unconnected(err) {
		return unreached(ctx, err)
	}
	return fail(loginClass(err), "the login"+at+" failed") // the text of a foreign error may quote anything
}

// loginClass returns the class of a login that has failed with err.
func loginClass(err error) error {
	class := secrets.Class(err)
	if slices.Contains([]error{secrets.ErrUnavailable, secrets.ErrMalformed, secrets.ErrUnknown}, class) {
		return class
	}
	return secrets.ErrUnauthenticated // what the method was to log in with is not there, or was denied to it
}

// unread reports whether err is of an answer that is no JSON.
func unread(err error) bool {
	_, syntax := errors.AsType[*json.SyntaxError](err)
	_, kind := errors.AsType[*json.UnmarshalTypeError](err)
	return syntax || kind
}

// unconnected reports whether err is of the connection to the server.
func unconnected(err error) bool {
	_, request := errors.AsType[*url.Error](err)
	_, ofNetwork := errors.AsType[net.Error](err)
	return request || ofNetwork || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, network.ErrTooLarge)
}

// loginFailure returns the error that the answer to a login stands for. Of the answer's own text nothing is passed on.
func (a answer) loginFailure(at string) error {
	said := fmt.Sprintf("the server refused the login%s (status %d)", at, a.status)
	switch {
	case a.says("Vault is sealed"):
		return unavailable("the server is sealed")
	case !a.refuses():
		return unavailable(fmt.Sprintf("the server did not answer the login%s (status %d)", at, a.status))
	case a.status == http.StatusNotFound, a.status == http.StatusMethodNotAllowed:
		return unauthenticated(said + ": no auth method of this kind is mounted there; see WithAuthMount")
	case a.says("invalid role or secret ID"):
		return unauthenticated(said + ": the role ID or the secret ID is not valid, or the secret ID is used up")
	case a.status == http.StatusForbidden:
		return unauthenticated(said + ": the credential is not valid for the role, or no auth method is mounted there; see WithAuthMount")
	default:
		return unauthenticated(said)
	}
}

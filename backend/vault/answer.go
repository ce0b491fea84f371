package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/api"

	"github.com/seed-5482dd03/secrets"
)

// failure returns the error that an answer which is no success stands for. where is what was asked for, as the server knows
// it. Of the answer's own text nothing is passed on: a proxy may have put anything in it.
func (a answer) failure(where string) error {
	switch a.status {
	case http.StatusBadRequest:
		return a.badRequest(where)
	case http.StatusUnauthorized:
		return unauthenticated("the server does not accept the token")
	case http.StatusForbidden:
		if a.says("invalid token") {
			return unauthenticated("the server does not know the token: it has expired, was revoked, or is from another server")
		}
		if a.anonymous && len(a.errors) == 1 && a.errors[0] == "permission denied" { // a policy that denies is told otherwise
			return unauthenticated("the server wants a token")
		}
		return denied("the policies of the token must grant read on " + where)
	case http.StatusNotFound:
		return a.missing(where)
	case http.StatusMethodNotAllowed:
		return invalid(where + " cannot be read")
	}
	if why := a.outage(); why != "" {
		return unavailable(why)
	}
	if a.status < http.StatusMultipleChoices {
		return malformed(fmt.Sprintf("an answer with status %d, which holds no secret", a.status))
	}
	return fail(secrets.ErrUnknown, fmt.Sprintf("the server answered with status %d", a.status))
}

// outage says why the server cannot answer at present, or "" if its status does not say so.
func (a answer) outage() string {
	switch a.status {
	case http.StatusTooManyRequests:
		return "the server has had too many requests (status 429)"
	case http.StatusNotImplemented:
		return "the server is not initialized (status 501)"
	case 472, 473: //nolint:mnd // Vault's own: a secondary for disaster recovery, and a performance standby
		return fmt.Sprintf("the server is a standby that answers no reads (status %d)", a.status)
	case http.StatusServiceUnavailable:
		if a.says("Vault is sealed") {
			return "the server is sealed"
		}
	case http.StatusRequestTimeout, http.StatusPreconditionFailed, http.StatusTooEarly:
	default:
		if a.status < http.StatusInternalServerError {
			return ""
		}
	}
	return fmt.Sprintf("the server answered with status %d", a.status)
}

func (a answer) badRequest(where string) error {
	switch {
	case !a.vaults:
		return fail(secrets.ErrUnknown, "the server did not understand the request (status 400); "+
			"is it one of Vault, and is its address to begin with https://?")
	case a.says("Upgrading from non-versioned"):
		return unavailable("the mount is being upgraded to KV version 2")
	case a.says("missing client token"):
		return unauthenticated("the server wants a token")
	case a.says("unknown role"), a.says("role not found"):
		return notFound("the secrets engine has no such role at " + where)
	default:
		return invalid("the server refused the request for " + where + " (status 400)")
	}
}

// missing tells the answers with status 404 apart. Only one that Vault itself has given says that there is no secret: the
// proxy of a Vault that is gone answers with that status too.
func (a answer) missing(where string) error {
	switch {
	case !a.vaults, a.errors == nil && a.warnings == nil: // its own has a list of errors, which may be empty, or warnings
		return unavailable("an answer with status 404 that is not Vault's: a proxy stands before it, or the address has a wrong path")
	case a.says("no handler for route"):
		return notFound("no secrets engine is mounted at the beginning of " + where + "; see WithMount")
	case a.says("unsupported path"):
		return invalid("the secrets engine has no path " + where)
	case len(a.errors) > 0:
		return fail(secrets.ErrUnknown, "the server answered with status 404 and an error for "+where)
	default:
		return notFound("there is nothing at " + where)
	}
}

// success returns the data of an answer, or the error that it stands for.
func (a answer) success(where string) (map[string]json.RawMessage, error) {
	switch {
	case a.status != http.StatusOK:
		return nil, a.failure(where)
	case a.wrapped:
		return nil, malformed("the answer is wrapped, so that it holds no secret; is a proxy set to wrap?")
	case !a.vaults:
		return nil, malformed("an answer that is not Vault's: empty, or no JSON object with data; does a proxy stand before it?")
	}
	data, ok := object(a.data)
	if !ok {
		return nil, malformed("an answer without data")
	}
	return data, nil
}

// answerOf returns the answer that err, of a call of the official client, stands for. Its text quotes the address and the
// body.
func answerOf(err error) (a answer, answered bool) {
	e, ok := errors.AsType[*api.ResponseError](err)
	if !ok {
		return answer{}, false
	}
	a = answer{status: e.StatusCode, vaults: !e.RawError && e.Errors != nil}
	if a.vaults {
		a.errors = e.Errors
	}
	return a, true
}

// refuses reports whether the server has decided against a request, so that there is no use in making it again.
func (a answer) refuses() bool {
	switch a.status {
	case http.StatusRequestTimeout, http.StatusPreconditionFailed, http.StatusTooEarly, http.StatusTooManyRequests, 472, 473:
		return false
	case http.StatusNotFound:
		return a.vaults // the proxy of a Vault that is gone answers so, too
	default:
		return a.status >= http.StatusBadRequest && a.status < http.StatusInternalServerError
	}
}

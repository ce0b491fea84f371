package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/api"

	"github.com/seed-5482dd03/secrets"
)

// failure returns the error of an unsuccessful answer. where is the server's path. The answer's own text is dropped: a proxy may have put
// anything into it.
func (a answer) failure(where string) error {
	switch {
	case a.foreign():
		return a.errNotVault()
	case a.status != http.StatusForbidden && a.rejectsToken():
		return unauthenticated(deadToken)
	}
	switch a.status {
	case http.StatusBadRequest:
		return a.badRequest(where)
	case http.StatusUnauthorized:
		return unauthenticated("the server does not accept the token")
	case http.StatusForbidden:
		return a.forbidden(where)
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

// foreign reports whether a proxy or another server at the address sent the answer: it says nothing about the secret. A failure of Vault
// has a list of errors, possibly empty, or warnings with status 404: https://developer.hashicorp.com/vault/api-docs#error-response.
func (a answer) foreign() bool {
	switch {
	case a.status == http.StatusNoContent:
		return false // Vault's has no body either
	case a.status < http.StatusMultipleChoices:
		return !a.fromVault
	default:
		return a.errors == nil && (a.status != http.StatusNotFound || !a.fromVault || a.warnings == nil)
	}
}

func (a answer) errNotVault() error {
	why := "a proxy is in front of it, or the path of the address is wrong"
	if a.status == http.StatusBadRequest { // plain HTTP sent to a TLS port
		why = "must its address begin with https://, or is a proxy in front of it?"
	}
	return unavailable(fmt.Sprintf("an answer with status %d that is not Vault's: %s", a.status, why))
}

const (
	deadToken  = "the server does not accept the token: it has expired, was revoked, is of another server, or is bound to other addresses"
	maybeToken = "; or the token has expired or was revoked: the server does not say which" //nolint:gosec // no credential
)

// forbidden tells a rejected token from a denial by policy.
func (a answer) forbidden(where string) error {
	policies := "the policies of the token must grant read on " + where
	switch {
	case a.anonymous && a.rejectsToken():
		return unauthenticated("the server requires a token; if an agent adds it, the agent has none, or an expired one")
	case a.token == dead, a.hasText("invalid token"):
		return unauthenticated(deadToken)
	case a.token == alive, a.deniedByPolicy():
		return denied(policies)
	default:
		return denied(policies + maybeToken)
	}
}

// outage says why the server cannot answer now, or returns "".
func (a answer) outage() string {
	switch a.status {
	case http.StatusTooManyRequests:
		return "the server has had too many requests (status 429)"
	case http.StatusNotImplemented:
		return "the server is not initialized (status 501)"
	case 472, 473: //nolint:mnd // of Vault: a disaster recovery secondary, and a performance standby
		return fmt.Sprintf("the server is a standby that answers no reads (status %d)", a.status)
	case http.StatusServiceUnavailable:
		if a.hasText("Vault is sealed") {
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
	case a.hasText("Upgrading from non-versioned"):
		return unavailable("the mount is being upgraded to KV version 2")
	case a.hasText("missing client token"):
		return unauthenticated("the server requires a token")
	case a.hasText("unknown role"), a.hasText("role not found"):
		return notFound("the secrets engine has no such role at " + where)
	default:
		return invalid("the server refused the request for " + where + " (status 400)")
	}
}

// missing tells Vault's answers with status 404 apart.
func (a answer) missing(where string) error {
	switch {
	case a.hasText("no handler for route"):
		return notFound("no secrets engine is mounted at the beginning of " + where + "; see WithMount and VAULT_MOUNT")
	case a.hasText("unsupported path"):
		return invalid("the secrets engine has no path " + where + "; a whole secret needs a # at the end of its key, such as creds/app#")
	case len(a.errors) > 0:
		return fail(secrets.ErrUnknown, "the server answered with status 404 and an error for "+where)
	default:
		return notFound("there is nothing at " + where)
	}
}

// success returns the data of an answer, or its error.
func (a answer) success(where string) (map[string]json.RawMessage, error) {
	switch {
	case a.status != http.StatusOK:
		return nil, a.failure(where)
	case a.foreign():
		return nil, a.errNotVault()
	case a.failed:
		return nil, malformed("an answer with status 200 and errors")
	case a.wrapped:
		return nil, malformed("the answer is wrapped and holds no secret; is a proxy configured to wrap?")
	}
	data, ok := object(a.data)
	if !ok {
		return nil, malformed("an answer without data")
	}
	return data, nil
}

// answerOf returns the answer in err, from a call of the official client. The text of err quotes the address and the body.
func answerOf(err error) (a answer, answered bool) {
	e, ok := errors.AsType[*api.ResponseError](err)
	if !ok {
		return answer{}, false
	}
	a = answer{status: e.StatusCode, fromVault: !e.RawError && e.Errors != nil}
	if a.fromVault {
		a.errors = e.Errors
	}
	return a, true
}

// refuses reports whether the server has refused a request for good: a retry would not help.
func (a answer) refuses() bool {
	switch a.status {
	case http.StatusRequestTimeout, http.StatusPreconditionFailed, http.StatusTooEarly, http.StatusTooManyRequests, 472, 473:
		return false
	case http.StatusNotFound:
		return a.fromVault // so does the proxy of a Vault that is gone
	default:
		return a.status >= http.StatusBadRequest && a.status < http.StatusInternalServerError
	}
}

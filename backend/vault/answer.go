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
	switch {
	case a.foreign():
		return a.notVaults()
	case a.status != http.StatusForbidden && a.disowns():
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

// foreign reports whether an answer is not Vault's, but that of a proxy before it or of something else at its address: it says nothing of
// the secret. A failure of Vault has a list of errors, which may be empty, or with status 404 warnings:
// https://developer.hashicorp.com/vault/api-docs#error-response.
func (a answer) foreign() bool {
	switch {
	case a.status == http.StatusNoContent:
		return false // Vault's has no body, either
	case a.status < http.StatusMultipleChoices:
		return !a.vaults
	default:
		return a.errors == nil && (a.status != http.StatusNotFound || !a.vaults || a.warnings == nil)
	}
}

func (a answer) notVaults() error {
	why := "a proxy stands before it, or the address has a wrong path"
	if a.status == http.StatusBadRequest { // a port for TLS that is spoken to without it
		why = "is its address to begin with https://, or does a proxy stand before it?"
	}
	return unavailable(fmt.Sprintf("an answer with status %d that is not Vault's: %s", a.status, why))
}

const (
	deadToken = "the server does not accept the token: it has expired, was revoked, is of another server, or must not be used from here"
	tokenToo  = "; or the token has expired or was revoked: the server does not say which" //nolint:gosec // no credential
)

// forbidden tells a denial of the token from one of its policies.
func (a answer) forbidden(where string) error {
	policies := "the policies of the token must grant read on " + where
	switch {
	case a.anonymous && a.disowns():
		return unauthenticated("the server wants a token; if an agent adds it, that has none, or one that has expired")
	case a.token == dead, a.says("invalid token"):
		return unauthenticated(deadToken)
	case a.token == alive, a.deniesByPolicy():
		return denied(policies)
	default:
		return denied(policies + tokenToo)
	}
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

// missing tells the answers of Vault with status 404 apart.
func (a answer) missing(where string) error {
	switch {
	case a.says("no handler for route"):
		return notFound("no secrets engine is mounted at the beginning of " + where + "; see WithMount and VAULT_MOUNT")
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
	case a.foreign():
		return nil, a.notVaults()
	case a.failed:
		return nil, malformed("an answer with status 200 and errors")
	case a.wrapped:
		return nil, malformed("the answer is wrapped, so that it holds no secret; is a proxy set to wrap?")
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

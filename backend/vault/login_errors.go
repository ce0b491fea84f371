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

// loginFailure returns the error for err, from a login at the auth method at mount ("": unknown). It is never a not-found, nor any error
// about the key of the caller.
func loginFailure(ctx context.Context, mount string, err error) (failure error) {
	defer func() { // methods of a foreign error may panic, as those of a nil pointer do
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
	if isNotJSON(err) {
		return unavailable("the answer to the login" + at + " is not Vault's: is a proxy in front of it?")
	}
	if isConnectionError(err) {
		return requestError(ctx, err)
	}
	return fail(loginClass(err), "the login"+at+" failed") // the text of a foreign error may quote anything
}

// loginClass returns the class of a failed login.
func loginClass(err error) error {
	class := secrets.Class(err)
	if slices.Contains([]error{secrets.ErrUnavailable, secrets.ErrMalformed, secrets.ErrUnknown}, class) {
		return class
	}
	return secrets.ErrUnauthenticated // the method's credential is missing, or denied to it
}

// isNotJSON reports whether err is from parsing an answer that is not JSON.
func isNotJSON(err error) bool {
	_, syntax := errors.AsType[*json.SyntaxError](err)
	_, kind := errors.AsType[*json.UnmarshalTypeError](err)
	return syntax || kind
}

// isConnectionError reports whether err is from the connection to the server.
func isConnectionError(err error) bool {
	_, request := errors.AsType[*url.Error](err)
	_, ofNetwork := errors.AsType[net.Error](err)
	return request || ofNetwork || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, network.ErrTooLarge)
}

// loginFailure returns the error of the answer to a login. The answer's own text is dropped.
func (a answer) loginFailure(at string) error {
	said := fmt.Sprintf("the server refused the login%s (status %d)", at, a.status)
	if a.hasText("Vault is sealed") {
		return unavailable("the server is sealed")
	}
	if !a.fromVault && a.status >= http.StatusBadRequest && a.status < http.StatusInternalServerError &&
		a.status != http.StatusTooManyRequests {
		return unavailable(fmt.Sprintf("the answer to the login%s is not Vault's (status %d): "+
			"a proxy is in front of it, or the address must begin with https://", at, a.status))
	}
	for _, known := range loginTexts() {
		if !a.hasText(known.text) {
			continue
		}
		if known.outage {
			return unavailable(fmt.Sprintf("the server did not take the login%s (status %d): %s", at, a.status, known.means))
		}
		return unauthenticated(said + ": " + known.means)
	}
	switch {
	case !a.refuses():
		return unavailable(fmt.Sprintf("the server failed at the login%s (status %d); is the auth method configured? Vault's log says more",
			at, a.status))
	case a.status == http.StatusNotFound, a.status == http.StatusMethodNotAllowed:
		return unauthenticated(said + ": no auth method of this kind is mounted there; see WithAuthMount")
	case a.status == http.StatusForbidden:
		return unauthenticated(said + ", and did not say why: the credential is not valid for the role, the role does not allow this " +
			"machine's address, failed logins have locked it for a while, the Kubernetes cluster does not confirm the token or cannot be " +
			"reached by Vault, or no auth method is mounted there (see WithAuthMount)")
	default:
		return unauthenticated(said)
	}
}

// loginTexts returns texts of failed logins and their meaning. The first match counts. They are those of Vault 1.21, in
//
//   - AppRole: https://github.com/hashicorp/vault/blob/v1.21.0/builtin/credential/approle/path_login.go and validation.go
//   - JWT: https://github.com/hashicorp/vault-plugin-auth-jwt/blob/v0.25.0/path_login.go and claims.go, and
//     https://github.com/hashicorp/cap/blob/jwt/v0.11.0/jwt/jwt.go and keyset.go
//   - Kubernetes: https://github.com/hashicorp/vault-plugin-auth-kubernetes/blob/v0.23.0/path_login.go
func loginTexts() []loginText {
	return []loginText{
		{text: "CIDR restrictions", means: notFrom},
		{text: "relationship between CIDR blocks", means: "the CIDR blocks of the secret ID are not within those of the role"},
		{text: "invalid role or secret ID", means: wrongIDs},
		{text: "invalid secret_id", means: wrongIDs},
		{text: "missing secret_id", means: wrongIDs},

		{text: "invalid role name", means: noRole},  // Kubernetes
		{text: "could not be found", means: noRole}, // JWT
		{text: "missing role", means: "no role was given, and the auth method has no default role"},
		{text: "role with oidc role_type", means: "the role is for people who log in with a browser; role_type must be jwt"},

		{text: "service account name not authorized", means: "the role is not for this service account; see its bound_service_account_names"},
		{text: "namespace not authorized", means: "the role is not for this Kubernetes namespace; see its bound_service_account_namespaces"},

		{text: "token is expired", means: "the JWT has expired; its file, variable or provider must supply a new one"},
		{text: "token not yet valid", means: notYet},
		{text: "token issued in the future", means: notYet},
		{text: "audience claim found in JWT but no audiences bound", means: "the JWT has an audience, but the role has no bound_audiences"},
		{text: "(aud) claim", means: noAudience},
		{text: "aud claim does not match", means: noAudience},
		{text: "(iss) claim", means: "the issuer of the JWT is not the bound_issuer of the auth method"},
		{text: "(sub) claim", means: "the subject of the JWT is not the bound_subject of the role"},
		{text: "sub claim does not match", means: "the subject of the JWT is not the bound_subject of the role"},
		{text: "error validating claims", means: "a claim of the JWT is not among the bound_claims of the role"},
		{text: "not found in token", means: "the JWT lacks the user_claim or groups_claim of the role"},
		{text: "fetching keys", means: "it cannot fetch the keys of the identity provider", outage: true},
		{text: "error configuring token validator", means: "it cannot check a JWT: its auth method is misconfigured, " +
			"or cannot reach the identity provider", outage: true},
		{text: "no known key successfully validated", means: badSignature},
		{text: "failed to verify", means: badSignature},
		{text: "token must be signed", means: notJWT},
		{text: "unexpected algorithm", means: "the JWT is signed with an algorithm that the auth method does not allow"},
		{text: "invalid algorithm", means: "the JWT is signed with an algorithm that the auth method does not allow"},
		{text: "malformed", means: notJWT},
		{text: "must have three parts", means: notJWT}, // github.com/go-jose/go-jose/v4, jws.go
		{text: "error verifying token signature", means: badSignature},
		{text: "could not load configuration", means: "its auth method is not configured"},
	}
}

// loginText is a part of a Vault error text.
type loginText struct {
	text   string
	means  string
	outage bool // the server or a service behind it failed: not a refusal
}

const (
	notFrom      = "it does not allow the role or the secret ID from this machine's address; see their CIDR blocks"
	wrongIDs     = "the role ID or the secret ID is not valid, or the secret ID has expired or is used up"
	noRole       = "its auth method has no such role"
	noAudience   = "the audience of the JWT is not one of the role's (bound_audiences, or audience for Kubernetes)"
	badSignature = "no key of the auth method has signed the JWT"
	notJWT       = "the credential is not a signed JWT"
	notYet       = "the JWT is not valid yet; do the clocks differ?"
)

package vault

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
)

// tokenState is what is known about a token whose request was denied.
type tokenState int

const (
	unconfirmed tokenState = iota // the server did not say
	alive
	dead
)

const (
	confirmTimeout = 2 * time.Second
	// confirmedFor is how long a tokenState is remembered: a key that is denied repeatedly costs one look-up, not one for each read.
	confirmedFor = 10 * time.Second
)

// confirmations looks up whether a denial is about the token or its policies, if the denial does not say.
type confirmations struct {
	turn   turn   // guards the look-up and the fields below
	serial uint64 // of the token that was looked up
	result tokenState
	at     time.Time // zero before the first look-up
}

func newConfirmations() *confirmations { return &confirmations{turn: newTurn()} }

// of returns the state of t. Concurrent callers share one look-up. It takes at most half of the time that ctx leaves: a late denial would
// look like an outage.
func (c *confirmations) of(ctx context.Context, s *server, t token) tokenState {
	timeout := confirmTimeout
	if end, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(end)/2) //nolint:mnd // half
	}
	bounded, cancel := context.WithTimeout(context.WithValue(ctx, noRetry{}, true), timeout)
	defer cancel()
	if c.turn.acquire(bounded) != nil {
		return unconfirmed
	}
	defer c.turn.release()
	if !c.at.IsZero() && c.serial == t.serial && time.Since(c.at) < confirmedFor {
		return c.result
	}
	result := unconfirmed
	if a, err := s.send(bounded, t, "auth/token/lookup-self", nil); err == nil {
		result = a.confirms()
	}
	if bounded.Err() == nil || ctx.Err() == nil && timeout == confirmTimeout { // else: too little time; the next caller looks it up
		c.serial, c.result, c.at = t.serial, result, time.Now()
	}
	return result
}

// confirms returns the token state that an answer of lookup-self shows. A policy may deny lookup-self, but only to a live token:
// https://developer.hashicorp.com/vault/api-docs/auth/token#lookup-a-token-self.
func (a answer) confirms() tokenState {
	switch {
	case a.status == http.StatusOK && a.fromVault && a.data != nil, a.deniedByPolicy():
		return alive
	case a.rejectsToken():
		return dead
	default:
		return unconfirmed
	}
}

// The texts of a denial. From version 1.17, Vault says "invalid token" for a token that is expired, revoked or unknown:
// https://developer.hashicorp.com/vault/docs/concepts/tokens#error-responses. Older versions and OpenBao say only bareDenial. All of them
// say bareDenial for a token that is bound to other addresses, for one whose entity is disabled, and for a request without a token. A
// denial by policy is a list of one error, and a sentence at the endpoint for mounts:
// https://github.com/hashicorp/vault/blob/v1.21.0/vault/request_handling.go,
// https://github.com/openbao/openbao/blob/main/vault/request_handling.go.
const (
	bareDenial   = "permission denied"
	policyDenial = "1 error occurred:\n\t* permission denied\n\n"
	mountDenial  = "preflight capability check returned 403"
)

// rejectsToken reports whether the server rejects the token of the request.
func (a answer) rejectsToken() bool {
	denial := a.status == http.StatusForbidden // other statuses may be about a token of the engine's own
	return a.fromVault && (a.hasText("failed to look up namespace from the token") ||
		denial && (a.hasText("invalid token") || len(a.errors) == 1 && a.errors[0] == bareDenial))
}

// deniedByPolicy reports whether the server accepts the token, and its policies do not grant the request.
func (a answer) deniedByPolicy() bool {
	return a.fromVault && a.status == http.StatusForbidden && slices.ContainsFunc(a.errors, func(text string) bool {
		return text == policyDenial || strings.HasPrefix(text, mountDenial)
	})
}

// ambiguous reports whether a denial does not say if the token is at fault.
func (a answer) ambiguous() bool {
	return a.fromVault && a.status == http.StatusForbidden && !a.anonymous && !a.deniedByPolicy() && !a.hasText("invalid token")
}

package vault

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
)

// standing is what is known of a token whose request was denied.
type standing int

const (
	unconfirmed standing = iota // the server did not say
	alive
	dead
)

const (
	confirmTimeout = 2 * time.Second
	// confirmedFor is how long a standing is remembered, so that a key which is denied again and again costs one look-up, not one for
	// each read.
	confirmedFor = 10 * time.Second
)

// confirmations finds out whether a denial is about the token or about its policies, where the denial itself does not say.
type confirmations struct {
	turn   turn   // of who asks. It guards the others
	serial uint64 // of the token that was asked about
	result standing
	at     time.Time // zero if nothing was asked
}

func newConfirmations() *confirmations { return &confirmations{turn: newTurn()} }

// of returns the standing of t. Callers wait for the one that asks, and share its answer. It takes no more than half of the time that ctx
// leaves: a denial that comes too late would be taken for an outage.
func (c *confirmations) of(ctx context.Context, s *server, t token) standing {
	patience := confirmTimeout
	if end, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(end)/2) //nolint:mnd // half
	}
	bounded, cancel := context.WithTimeout(context.WithValue(ctx, once{}, true), patience)
	defer cancel()
	if c.turn.take(bounded) != nil {
		return unconfirmed
	}
	defer c.turn.giveBack()
	if !c.at.IsZero() && c.serial == t.serial && time.Since(c.at) < confirmedFor {
		return c.result
	}
	result := unconfirmed
	if a, err := s.send(bounded, t, "auth/token/lookup-self", nil); err == nil {
		result = a.confirms()
	}
	if bounded.Err() == nil || ctx.Err() == nil && patience == confirmTimeout { // else the caller had no time, and the next one asks
		c.serial, c.result, c.at = t.serial, result, time.Now()
	}
	return result
}

// confirms returns what an answer of lookup-self says of the token. A policy may keep a token from asking, but only one that is alive:
// https://developer.hashicorp.com/vault/api-docs/auth/token#lookup-a-token-self.
func (a answer) confirms() standing {
	switch {
	case a.status == http.StatusOK && a.vaults && a.data != nil, a.deniesByPolicy():
		return alive
	case a.disowns():
		return dead
	default:
		return unconfirmed
	}
}

// The texts of a denial. Vault from 1.17 on says "invalid token" of one that has expired, was revoked or is unknown:
// https://developer.hashicorp.com/vault/docs/concepts/tokens#error-responses. Older ones and OpenBao say nothing but bareDenial then. So
// do all of them of a token that is bound to other addresses, or whose entity is disabled, and of a request without a token. A policy
// that denies is told as a list of one error, and by the endpoint for mounts in a sentence:
// https://github.com/hashicorp/vault/blob/v1.21.0/vault/request_handling.go,
// https://github.com/openbao/openbao/blob/main/vault/request_handling.go.
const (
	bareDenial   = "permission denied"
	policyDenial = "1 error occurred:\n\t* permission denied\n\n"
	mountDenial  = "preflight capability check returned 403"
)

// disowns reports whether the server does not take the token of the request for one that may be used.
func (a answer) disowns() bool {
	denial := a.status == http.StatusForbidden // else it may be an engine that tells of a token of its own
	return a.vaults && (a.says("failed to look up namespace from the token") ||
		denial && (a.says("invalid token") || len(a.errors) == 1 && a.errors[0] == bareDenial))
}

// deniesByPolicy reports whether the server knows the token and says that its policies do not suffice.
func (a answer) deniesByPolicy() bool {
	return a.vaults && a.status == http.StatusForbidden && slices.ContainsFunc(a.errors, func(text string) bool {
		return text == policyDenial || strings.HasPrefix(text, mountDenial)
	})
}

// open reports whether an answer denies and leaves open whether the token is at fault.
func (a answer) open() bool {
	return a.vaults && a.status == http.StatusForbidden && !a.anonymous && !a.deniesByPolicy() && !a.says("invalid token")
}

package vault

import (
	"context"

	"github.com/seed-5482dd03/secrets"
)

// token is what a request shows to the server.
type token struct {
	value  secrets.Secret // which no dump of the Backend shows
	serial uint64         // differs between two tokens of one source; leases belong to the token that asked for them
}

// tokens is a source of tokens. It is safe for concurrent use.
type tokens interface {
	// token returns the token to send now. It may log in, which those who ask at the same time share, or read a file. Its
	// errors are of one class, or those of ctx.
	token(ctx context.Context) (token, error)
	// another reports whether a request that the server refused with t is worth repeating with another token: there is one
	// by now, or, if the server said that t is invalid, one may be had.
	another(ctx context.Context, t token, invalid bool) bool
	// close ends what the source runs, and revokes the token if it has obtained it itself.
	close() error
}

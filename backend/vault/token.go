package vault

import (
	"context"

	"github.com/seed-5482dd03/secrets"
)

// token is what a request sends to the server.
type token struct {
	value  secrets.Secret // hidden from dumps of the Backend
	serial uint64         // differs between tokens of one source; a lease belongs to the token that obtained it
}

// tokens is a source of tokens. It is safe for concurrent use.
type tokens interface {
	// token returns the token to send now. It may log in, which concurrent callers share, or read a file. Its errors have one class, or are
	// those of ctx.
	token(ctx context.Context) (token, error)
	// another reports whether a request that the server refused with t should be repeated: there is another token by now, or, if t is invalid,
	// a login may get one.
	another(ctx context.Context, t token, invalid bool) bool
	// close stops the source's goroutines, and revokes a token that it obtained itself.
	close() error
}

package file

import (
	"context"

	"github.com/seed-5482dd03/secrets"
)

// FetchTogether is the call for the files of one GetMany, with a context of the test.
func (b *Backend) FetchTogether(ctx context.Context, refs ...secrets.Ref) []secrets.Result {
	return b.fetchTogether(ctx, refs)
}

package awssm

import (
	"context"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// WithMaxPause bounds the pause between two attempts. It has no effect beside [WithClient].
func WithMaxPause(d time.Duration) Option { return func(c *settings) { c.maxPause = d } }

// Call returns the answers to names, which are of one region, as one call of the Batcher brings them.
func (b *Backend) Call(ctx context.Context, names ...string) []secrets.Result {
	refs := make([]secrets.Ref, len(names))
	for i, name := range names {
		refs[i].Path = name
	}
	return b.fetchAll(ctx, refs)
}

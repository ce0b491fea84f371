package awssm

import (
	"context"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// WithMaxPause bounds the pause between two attempts. It has no effect with [WithClient].
func WithMaxPause(d time.Duration) Option { return func(c *settings) { c.maxPause = d } }

// Call returns the results of one call of the Batcher for names, which are of one region.
func (b *Backend) Call(ctx context.Context, names ...string) []secrets.Result {
	refs := make([]secrets.Ref, len(names))
	for i, name := range names {
		refs[i].Path = name
	}
	return b.fetchAll(ctx, refs)
}

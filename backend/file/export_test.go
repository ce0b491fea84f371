package file

import (
	"context"

	"github.com/seed-5482dd03/secrets"
)

// FetchTogether reads refs as one GetMany does, with the context of a test.
func (b *Backend) FetchTogether(ctx context.Context, refs ...secrets.Ref) []secrets.Result {
	return b.fetchTogether(ctx, refs)
}

// Poll looks for changes now.
func (b *Backend) Poll() { b.findChanges() }

// OnRead makes b call f with the path of each document, after reading it. It must be called before b is used.
func (b *Backend) OnRead(f func(path string)) {
	version := b.version
	b.version = func(path, content string) string {
		f(path)
		return version(path, content)
	}
}

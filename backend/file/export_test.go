package file

import (
	"context"

	"github.com/seed-5482dd03/secrets"
)

// FetchTogether is the call for the files of one GetMany, with a context of the test.
func (b *Backend) FetchTogether(ctx context.Context, refs ...secrets.Ref) []secrets.Result {
	return b.fetchTogether(ctx, refs)
}

// Look looks for changes now.
func (b *Backend) Look() { b.findChanges() }

// OnRead makes b call f with the path of each document that it has read, before it goes on. It must be called before b is used.
func (b *Backend) OnRead(f func(path string)) {
	version := b.version
	b.version = func(path, content string) string {
		f(path)
		return version(path, content)
	}
}

package file

import (
	"path/filepath"
	"strings"

	"github.com/seed-5482dd03/secrets"
)

// locate returns the names of the files that ref may mean, in the order in which they are looked at.
func (b *Backend) locate(ref secrets.Ref) (files []string) {
	doc := secrets.Ref{Path: ref.Path, Version: ref.Version}
	if check(doc) != nil {
		return nil
	}
	document := filepath.Join(b.dir, filepath.FromSlash(ref.Path))
	alone := secrets.Ref{Path: ref.Path + "/" + ref.Field}
	if ref.Field != "" && !b.caching && !hidden(ref.Field) && !strings.ContainsAny(ref.Field, `/\`) && check(alone) == nil {
		files = append(files, filepath.Join(document, ref.Field))
	}
	return append(files, document)
}

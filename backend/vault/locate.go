package vault

import "github.com/seed-5482dd03/secrets"

// locate returns the paths of the API at which the document of ref is, as policies name them: that of KV version 2 and then that of
// version 1, as long as the version is not known.
func (b *Backend) locate(ref secrets.Ref) []string {
	doc := resolve(ref)
	doc.Field = ""
	if check(doc) != nil {
		return nil
	}
	version := b.mount.known()
	switch {
	case b.isDynamic || version == kv1:
		if doc.Version != "" {
			return nil
		}
		return []string{b.plainPath(doc)}
	case version == kv2 || doc.Version != "":
		return []string{b.dataPath(doc)}
	default:
		return []string{b.dataPath(doc), b.plainPath(doc)}
	}
}

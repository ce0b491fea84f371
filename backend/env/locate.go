package env

import "github.com/seed-5482dd03/secrets"

// locate returns the names of the variables that ref may mean, in the order in which they are looked up.
func (b *Backend) locate(ref secrets.Ref) (names []string) {
	if check(secrets.Ref{Path: ref.Path, Version: ref.Version}) != nil {
		return nil
	}
	add := func(name string) {
		names = append(names, name)
		if b.files {
			names = append(names, name+fileSuffix)
		}
	}
	paths := []string{ref.Path}
	if ref.Field != "" {
		paths = []string{ref.Path + "/" + ref.Field, ref.Path}
	}
	for _, path := range paths {
		exact, portable := b.variables(path)
		add(exact)
		if portable != exact {
			add(portable)
		}
	}
	return names
}

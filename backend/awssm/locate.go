package awssm

import "github.com/seed-5482dd03/secrets"

// locate returns the name of the secret of ref, with the prefix, or its ARN.
func (b *Backend) locate(ref secrets.Ref) []string {
	q, err := b.query(secrets.Ref{Path: ref.Path, Version: ref.Version})
	if err != nil {
		return nil
	}
	return []string{q.id}
}

package cache

import "github.com/seed-5482dd03/secrets"

// Peek returns what Fetch would return for ref, if that is in memory.
func (s *space) Peek(ref secrets.Ref) (r secrets.Result, known bool) {
	found, _, r := s.look(documentOf(ref))
	return r, found == answer || found == due
}

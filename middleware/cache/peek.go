package cache

import "github.com/seed-5482dd03/secrets"

// Peek returns what Fetch would return for ref, if that is in memory or an outage of the backend says it. It causes no probe.
func (s *space) Peek(ref secrets.Ref) (r secrets.Result, known bool) {
	d := documentOf(ref)
	found, _, r := s.look(d)
	if o := s.outage.open(d); o != nil && !found.known() {
		return s.withoutAsking(d, o), true
	}
	return r, found.known()
}

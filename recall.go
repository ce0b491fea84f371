package secrets

// A cached read is what programs do most, so that it does without the layers: a cache may have a memory of its own from
// the key, as the program writes it, to the secret. The Client asks that first, unless user middleware stands around it,
// which sees every call.

// recaller is the optional interface of the Fetcher that a cache's Wrap returns, and of what a Fallback's Chain returns.
type recaller interface {
	// Recall returns what Fetch would return for the ref of key, without an error and without a fetch. A zero Secret that
	// is known is a not-found. It is known only if an earlier call of Memorize has said what key means.
	Recall(key string) (secret Secret, known bool)
	// RecallMany puts what Recall returns for each of keys into found, and reports whether all of it is there, and the
	// secrets of each document of one version. If not, what it has put there is of no use.
	RecallMany(keys []string, found map[string]Secret) bool
}

// memorizer is the other half of a recaller, on the Fetcher of a cache.
type memorizer interface {
	// Memorize says that key means field of doc, or the whole if field is empty.
	Memorize(key string, doc Ref, field string)
}

// Recall makes a source of a chain a recaller. A backend without such a cache knows nothing.
func (s source) Recall(key string) (secret Secret, known bool) {
	if s.memory == nil {
		return Secret{}, false
	}
	return s.memory.Recall(key)
}

// RecallMany is Recall for a batch.
func (s source) RecallMany(keys []string, found map[string]Secret) bool {
	return s.memory != nil && s.memory.RecallMany(keys, found)
}

// memorize tells the caches what key means, after a fetch has answered it.
func (c *Client) memorize(key string, ref Ref) {
	if c.memory == nil {
		return
	}
	for i := range c.sources {
		s := &c.sources[i]
		if m, ok := s.memory.(memorizer); ok {
			if p, err := s.locate(ref); err == nil {
				m.Memorize(key, p.doc, p.field)
			}
		}
	}
}

package secrets

// recipient is the optional interface of the Fetcher that the Wrap of redaction returns.
type recipient interface {
	// HandedOut says that the caller gets s for ref.
	HandedOut(ref Ref, s Secret)
}

// handOut tells the redaction of the source that answered what the caller gets. User middleware may have made s: then the
// first source is as good as any, since what is masked is the value.
func (c *Client) handOut(ref Ref, s Secret) {
	var to recipient
	name := s.Meta().Backend
	for i := range c.sources {
		source := &c.sources[i]
		if source.recipient == nil {
			continue
		}
		if source.name == name {
			to = source.recipient
			break
		}
		if to == nil {
			to = source.recipient
		}
	}
	if to == nil {
		return
	}
	defer func() { _ = recover() }() // what a layer does with it must not cost the caller the secret
	to.HandedOut(ref, s)
}

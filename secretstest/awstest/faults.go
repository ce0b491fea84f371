package awstest

import (
	"slices"
	"strings"
)

// rule selects requests by operation and secret.
type rule struct {
	operation string
	patterns  []string // names or ARNs, "*" at the end as a wildcard; empty for a whole operation
}

// matches reports whether the rule selects the operation and, if it has patterns, one of aliases, the names of one secret.
func (r rule) matches(operation string, aliases []string) bool {
	if r.operation != "*" && r.operation != operation {
		return false
	}
	return len(r.patterns) == 0 || slices.ContainsFunc(r.patterns, func(pattern string) bool {
		beginning, wild := strings.CutSuffix(pattern, "*")
		return slices.ContainsFunc(aliases, func(alias string) bool {
			return alias == pattern || wild && strings.HasPrefix(alias, beginning)
		}) || pattern == "*"
	})
}

// Deny makes operation fail with AccessDeniedException for the given secrets, or for all if none are given. Secrets are names or ARNs; a
// "*" at the end is a wildcard. The operation "*" means every operation. The secrets need not exist: as with AWS, a denied client cannot
// find out.
//
// Denying GetSecretValue for a secret adds an error for that secret to BatchGetSecretValue answers. Denying BatchGetSecretValue denies the
// whole call, for any secrets.
func (s *Server) Deny(operation string, secrets ...string) {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.denials = append(s.shared.denials, rule{operation, slices.Clone(secrets)})
}

// AllowAll removes all denials that Deny set.
func (s *Server) AllowAll() {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.denials = nil
}

// failure is a response that Fail or FailNext has set.
type failure struct {
	rule
	response *Response
	left     int // remaining uses; negative means no limit
}

// Fail makes operation return r for the given secrets, as in [Server.Deny], or for all. The last matching Fail applies, until
// [Server.Recover]. The operation "*" means every operation.
//
// With secrets, a failure of GetSecretValue also applies to each of them in BatchGetSecretValue. There, a [Fault] becomes that secret's
// error in the answer; any other response is ignored.
func (s *Server) Fail(operation string, r *Response, secrets ...string) {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.failures = append(s.shared.failures, &failure{rule{operation, slices.Clone(secrets)}, r.clone(), -1})
}

// FailNext is [Server.Fail] for the next n matching requests. Responses are used in the order in which they were set, and before those of
// Fail.
func (s *Server) FailNext(n int, operation string, r *Response, secrets ...string) {
	if n <= 0 {
		return
	}
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.next = append(s.shared.next, &failure{rule{operation, slices.Clone(secrets)}, r.clone(), n})
}

// Recover removes the effects of Fail, FailNext, Handle, SetPages and RepeatToken. A stalled response still waits until the client leaves.
func (s *Server) Recover() {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.failures, s.shared.next, s.shared.hooks, s.shared.pages, s.shared.repeat = nil, nil, nil, nil, false
}

// Handle calls hook for every request with a valid signature, including operations that the server does not support. A non-nil response is
// the answer; with nil, the server continues. The last added hook runs first, and hooks run before failures of [Server.Fail]. remove
// removes the hook.
//
// The hook runs on the goroutine of the request, without a lock. It may call the server, and may wait until the request's Context ends. It
// must be safe for concurrent use.
func (s *Server) Handle(hook func(*Request) *Response) (remove func()) {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	added := &hook
	s.shared.hooks = append(s.shared.hooks, added)
	return func() {
		s.shared.mu.Lock()
		defer s.shared.mu.Unlock()
		s.shared.hooks = slices.DeleteFunc(slices.Clone(s.shared.hooks), func(h *func(*Request) *Response) bool { return h == added })
	}
}

// SetPages sets the page sizes of BatchGetSecretValue; the last size repeats. SetPages(0, 7) gives an empty page and then pages of up to 7,
// SetPages(20, 0, 0) ends with two empty pages, and SetPages(0) never ends. Without sizes, pages have the service's maximum size.
func (s *Server) SetPages(sizes ...int) {
	if slices.ContainsFunc(sizes, func(size int) bool { return size < 0 }) {
		s.misused("SetPages: a size is negative")
	}
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.pages = slices.Clone(sizes)
}

// RepeatToken makes the NextToken of every page lead to the same page again, so a client that follows it never ends.
func (s *Server) RepeatToken(repeat bool) {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.repeat = repeat
}

// failing returns the failure set for a whole request, or nil. c.mu must be held.
func (c *shared) failing(operation string, aliases []string) *Response {
	return c.pick(func(f *failure) bool {
		if operation == batchOperation && f.operation == "*" && len(f.patterns) > 0 {
			return false // failingOne applies it per secret
		}
		return f.matches(operation, aliases)
	})
}

// failingOne returns the failure set for one secret of a batch, or nil. c.mu must be held.
func (c *shared) failingOne(aliases []string) *Response {
	return c.pick(func(f *failure) bool {
		return len(f.patterns) > 0 && f.response.code != "" && f.matches(getOperation, aliases)
	})
}

func (c *shared) pick(fits func(*failure) bool) *Response {
	for i, f := range c.next {
		if fits(f) {
			if f.left--; f.left == 0 {
				c.next = slices.Delete(c.next, i, i+1)
			}
			return f.response
		}
	}
	for _, f := range slices.Backward(c.failures) {
		if fits(f) {
			return f.response
		}
	}
	return nil
}

// denied returns the denial of an operation on the secret id, or nil. An empty id stands for all secrets. c.mu must be held.
func (c *shared) denied(operation, region, id string) *Response {
	var aliases []string
	if id != "" {
		aliases = c.aliases(region, []string{id})
	}
	fits := func(r rule) bool { return r.matches(operation, aliases) }
	if !slices.ContainsFunc(c.denials, fits) {
		return nil
	}
	action, resource := serviceName+":"+operation, ""
	if id != "" {
		resource = " on resource: " + id // as requested, like AWS
	}
	return Fault("AccessDeniedException", "User: "+principal+" is not authorized to perform: "+action+resource+
		" because no identity-based policy allows the "+action+" action")
}

// aliases returns all names and ARNs by which a rule may select the secrets of ids. c.mu must be held.
func (c *shared) aliases(region string, ids []string) []string {
	all := slices.Clone(ids)
	for _, id := range ids {
		if found, fault := c.find(region, id); fault == nil {
			all = append(all, found.name, found.arn)
			continue
		}
		if name, ok := strings.CutPrefix(id, c.arn(region, "")); ok { // a denied secret need not exist
			all = append(all, name, suffix.ReplaceAllString(name, ""))
		}
	}
	return all
}

package awstest

import (
	"slices"
	"strings"
)

// rule names operations and secrets.
type rule struct {
	operation string
	patterns  []string // names, ARNs, or beginnings of them with "*"; none for a whole operation
}

// matches reports whether the rule names the operation and, if it names secrets, one that is known by aliases.
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

// Deny makes an operation an AccessDeniedException: for the secrets given by name or ARN, or all together if there are none.
// A name that ends in "*" stands for all that begin so, and the operation "*" for every operation. Secrets need not exist: as
// with AWS, a client learns nothing of what is denied.
//
// To deny GetSecretValue for a secret makes it an error of its own in an answer to BatchGetSecretValue; to deny
// BatchGetSecretValue denies the whole call, whatever it asks for.
func (s *Server) Deny(operation string, secrets ...string) {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.denials = append(s.shared.denials, rule{operation, slices.Clone(secrets)})
}

// AllowAll ends what Deny began.
func (s *Server) AllowAll() {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.denials = nil
}

// failure is what Fail and FailNext have set.
type failure struct {
	rule
	response *Response
	left     int // how often; negative for ever
}

// Fail makes an operation answer with r: for the secrets given as in [Server.Deny], or all. The last Fail that fits a
// request counts, until [Server.Recover]. The operation "*" stands for every operation.
//
// If secrets are given, GetSecretValue is also what BatchGetSecretValue does with each of them: if r is a [Fault], it is
// the error of that one secret in the answer, else it does not concern BatchGetSecretValue.
func (s *Server) Fail(operation string, r *Response, secrets ...string) {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.failures = append(s.shared.failures, &failure{rule{operation, slices.Clone(secrets)}, r.clone(), -1})
}

// FailNext does what [Server.Fail] does, for the next n requests that it fits. Those set first come first, and all come
// before those of Fail.
func (s *Server) FailNext(n int, operation string, r *Response, secrets ...string) {
	if n <= 0 {
		return
	}
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.next = append(s.shared.next, &failure{rule{operation, slices.Clone(secrets)}, r.clone(), n})
}

// Recover ends what Fail, FailNext, Handle, SetPages and RepeatToken began. What stalls, stalls until the client leaves.
func (s *Server) Recover() {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.failures, s.shared.next, s.shared.hooks, s.shared.pages, s.shared.repeat = nil, nil, nil, nil, false
}

// Handle makes hook see every request whose signature is right, also for an operation that the server does not have. Its
// response is the answer; if that is nil, the server answers itself. Of several hooks the last one is asked first, and
// all are asked before what [Server.Fail] set. remove takes the hook away.
//
// The hook runs on the goroutine of the request, without a lock: it may call the server, and it may wait, but not longer than
// the request's Context. It must be safe for concurrent use.
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

// SetPages makes BatchGetSecretValue answer in pages of these sizes, of which the last
// repeats: SetPages(0, 7) is an empty page and then pages of up to 7, SetPages(20, 0, 0) ends in two empty ones, and
// SetPages(0) never ends. Without sizes, pages are as large as the service allows.
func (s *Server) SetPages(sizes ...int) {
	if slices.ContainsFunc(sizes, func(size int) bool { return size < 0 }) {
		s.misused("SetPages: a size is negative")
	}
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.pages = slices.Clone(sizes)
}

// RepeatToken makes every page have the NextToken that leads to that page again: a client that follows it has no end.
func (s *Server) RepeatToken(repeat bool) {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.repeat = repeat
}

// failing returns the failure that is set for a whole request, or nil. c.mu is held.
func (c *shared) failing(operation string, aliases []string) *Response {
	return c.pick(func(f *failure) bool {
		if operation == batchOperation && f.operation == "*" && len(f.patterns) > 0 {
			return false // It concerns some of the secrets, see failingOne.
		}
		return f.matches(operation, aliases)
	})
}

// failingOne returns the failure that is set for one secret of a batch, or nil. c.mu is held.
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

// denied returns the denial of an operation on the secret id, or on all if id is empty, or nil. c.mu is held.
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
		resource = " on resource: " + id // as it was asked for: what AWS writes
	}
	return Fault("AccessDeniedException", "User: "+principal+" is not authorized to perform: "+action+resource+
		" because no identity-based policy allows the "+action+" action")
}

// aliases returns all that a rule may call the secrets by which ids ask. c.mu is held.
func (c *shared) aliases(region string, ids []string) []string {
	all := slices.Clone(ids)
	for _, id := range ids {
		if found, fault := c.find(region, id); fault == nil {
			all = append(all, found.name, found.arn)
			continue
		}
		if name, ok := strings.CutPrefix(id, c.arn(region, "")); ok { // It may be denied though it is not there.
			all = append(all, name, suffix.ReplaceAllString(name, ""))
		}
	}
	return all
}

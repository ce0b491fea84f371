package awstest

import (
	"bytes"
	"crypto/sha256"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	current  = "AWSCURRENT"
	previous = "AWSPREVIOUS"
	pending  = "AWSPENDING"
)

const (
	nameLimit  = 512
	valueLimit = 65536 // bytes
	stageLimit = 20    // per version
)

var (
	namePattern = regexp.MustCompile(`^[A-Za-z0-9/_+=.@!-]+$`)
	suffix      = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)
)

// secret is the state of one secret.
type secret struct {
	name, arn string
	created   time.Time
	changed   time.Time
	accessed  time.Time // truncated to a day
	deleted   time.Time // when marked for deletion, or zero
	versions  []*version
	stages    map[string]string // staging label to version id
}

type version struct {
	id       string
	text     string
	binary   []byte // nil for text
	created  time.Time
	accessed time.Time // truncated to a day
}

func (v *version) same(other *version) bool {
	return v.text == other.text && (v.binary == nil) == (other.binary == nil) && bytes.Equal(v.binary, other.binary)
}

// version returns the version with that id, or nil.
func (s *secret) version(id string) *version {
	if i := slices.IndexFunc(s.versions, func(v *version) bool { return v.id == id }); i >= 0 {
		return s.versions[i]
	}
	return nil
}

// labels returns the staging labels of a version.
func (s *secret) labels(id string) []string {
	var labels []string
	for _, stage := range slices.Sorted(maps.Keys(s.stages)) {
		if s.stages[stage] == id {
			labels = append(labels, stage)
		}
	}
	return labels
}

// attach moves a staging label to a version. If it moves AWSCURRENT, the old version gets AWSPREVIOUS.
func (s *secret) attach(stage, id string) {
	if old := s.stages[current]; stage == current && old != "" && old != id {
		s.stages[previous] = old
	}
	s.stages[stage] = id
	s.changed = time.Now()
}

// arn returns the ARN of a secret without its suffix.
func (c *shared) arn(region, name string) string {
	partition := "aws"
	switch {
	case strings.HasPrefix(region, "cn-"):
		partition = "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		partition = "aws-us-gov"
	}
	return "arn:" + partition + ":" + serviceName + ":" + region + ":" + account + ":secret:" + name
}

// add creates a secret without versions. c.mu must be held.
func (c *shared) add(region, name string) *secret {
	c.created++
	now := time.Now()
	s := &secret{
		name: name, arn: c.arn(region, name) + "-" + random(name, c.created),
		created: now, changed: now, stages: make(map[string]string),
	}
	c.regions[region][name] = s
	return s
}

// random returns six characters like those of an ARN, the same in each test run.
func random(name string, number int) string {
	const characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	sum := sha256.Sum256([]byte(name + "#" + strconv.Itoa(number)))
	b := sum[:6]
	for i := range b {
		b[i] = characters[int(b[i])%len(characters)]
	}
	return string(b)
}

// find returns the secret with that id: a name, or an ARN with or without suffix. c.mu must be held.
func (c *shared) find(region, id string) (*secret, *Response) {
	missing := func() *Response { return Fault("ResourceNotFoundException", notFoundText) }
	if !strings.HasPrefix(id, "arn:") {
		if !namePattern.MatchString(id) {
			return nil, badName()
		}
		if s := c.regions[region][id]; s != nil {
			return s, nil
		}
		return nil, missing()
	}
	name, ok := strings.CutPrefix(id, c.arn(region, ""))
	if !ok {
		const parts = 7
		switch fields := strings.SplitN(id, ":", parts); {
		case len(fields) < parts || fields[2] != serviceName || fields[5] != "secret" || !namePattern.MatchString(fields[6]):
			return nil, badName()
		case fields[4] != account:
			action := serviceName + ":GetSecretValue"
			return nil, Fault("AccessDeniedException", "User: "+principal+" is not authorized to perform: "+action+" on resource: "+id+
				" because no resource-based policy allows the "+action+" action")
		}
		return nil, missing()
	}
	if !namePattern.MatchString(name) {
		return nil, badName()
	}
	if !suffix.MatchString(name) { // a partial ARN
		if s := c.regions[region][name]; s != nil {
			return s, nil
		}
		return nil, missing()
	}
	if s := c.regions[region][suffix.ReplaceAllString(name, "")]; s != nil && s.arn == id {
		return s, nil
	}
	return nil, missing()
}

func badName() *Response {
	return Fault("ValidationException",
		"Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
}

// Put creates a version with a new value and returns its id. The version becomes AWSCURRENT, and the one before it AWSPREVIOUS. Put creates
// a missing secret and restores one that is marked for deletion.
func (s *Server) Put(name, value string) (versionID string) {
	return s.put(name, &version{text: value}, []string{current})
}

// PutBinary is [Server.Put] for a binary value.
func (s *Server) PutBinary(name string, value []byte) (versionID string) {
	return s.put(name, &version{binary: append([]byte{}, value...)}, []string{current})
}

// PutVersion creates a version with exactly these staging labels, which move from other versions, and returns its id. Without labels, only
// the id finds it. A rotation is PutVersion(name, value, "AWSPENDING"), then [Server.Promote]. PutVersion creates a missing secret. Without
// an AWSCURRENT version, clients that name no version see a secret without a value.
func (s *Server) PutVersion(name, value string, stages ...string) (versionID string) {
	return s.put(name, &version{text: value}, stages)
}

// Create creates a secret without a value. It leaves an existing one unchanged.
func (s *Server) Create(name string) {
	s.checkName(name)
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	if s.shared.regions[s.region][name] == nil {
		s.shared.add(s.region, name)
	}
}

func (s *Server) checkName(name string) {
	if len(name) > nameLimit || !namePattern.MatchString(name) {
		s.misused("%q is not a valid name of a secret", name)
	}
}

func (s *Server) put(name string, v *version, stages []string) string {
	s.checkName(name)
	size := len(v.text) + len(v.binary)
	if size == 0 || size > valueLimit || !utf8.ValidString(v.text) {
		s.misused("the value of %q is empty, too large or not UTF-8; the service refuses it", name)
	}
	v.id, v.created = uuid(), time.Now()
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	found := s.shared.regions[s.region][name]
	if found == nil {
		found = s.shared.add(s.region, name)
	}
	found.deleted = time.Time{}
	found.versions = append(found.versions, v)
	for _, stage := range stages {
		found.attach(stage, v.id)
	}
	return v.id
}

// Promote is the last step of a rotation: the AWSPENDING version also becomes AWSCURRENT, and the one before it AWSPREVIOUS.
func (s *Server) Promote(name string) {
	s.change(name, func(found *secret) bool {
		id := found.stages[pending]
		if id != "" {
			found.attach(current, id)
		}
		return id != ""
	})
}

// VersionID returns the id of the version with a staging label, such as "AWSCURRENT".
func (s *Server) VersionID(name, stage string) (id string) {
	s.change(name, func(found *secret) bool {
		id = found.stages[stage]
		return id != ""
	})
	return id
}

// ARN returns the complete ARN of a secret. Its last six characters are the same in each test run that creates the same secrets in the same
// order. Without them and the hyphen before them, it is a partial ARN.
func (s *Server) ARN(name string) (arn string) {
	s.change(name, func(found *secret) bool {
		arn = found.arn
		return true
	})
	return arn
}

// Delete marks a secret for deletion. Until [Server.Restore] or Put, reading it fails with InvalidRequestException.
func (s *Server) Delete(name string) {
	s.change(name, func(found *secret) bool {
		found.deleted = time.Now()
		return true
	})
}

// Restore removes the mark of [Server.Delete].
func (s *Server) Restore(name string) {
	s.change(name, func(found *secret) bool {
		found.deleted = time.Time{}
		return true
	})
}

// Remove removes a secret as if it had never existed. If it is put again, it has another ARN.
func (s *Server) Remove(name string) {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	delete(s.shared.regions[s.region], name)
}

// change applies f to a secret. It fails the test if the secret does not exist or f returns false.
func (s *Server) change(name string, f func(*secret) bool) {
	if !func() bool {
		s.shared.mu.Lock()
		defer s.shared.mu.Unlock()
		found := s.shared.regions[s.region][name]
		return found != nil && f(found)
	}() {
		s.misused("there is no such secret or version: %q in %s", name, s.region)
	}
}

package awstest

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	getOperation   = "GetSecretValue"
	batchOperation = "BatchGetSecretValue"
)

const (
	batchLimit = 20  // ids, and values of a page
	listLimit  = 100 // secrets of a page
)

const day = 24 * time.Hour

// query is one request of an operation. The lock is held while it is answered.
type query struct {
	*shared
	input

	region string
}

// serve answers a request that is well signed. c.mu is held.
func (c *shared) serve(call Call, body []byte) *Response {
	operations := map[string]func(*query) (object, *Response){
		getOperation:               (*query).getSecretValue,
		batchOperation:             (*query).batchGetSecretValue,
		"CreateSecret":             (*query).createSecret,
		"DeleteSecret":             (*query).deleteSecret,
		"DescribeSecret":           (*query).describeSecret,
		"ListSecretVersionIds":     (*query).listSecretVersionIDs,
		"ListSecrets":              (*query).listSecrets,
		"PutSecretValue":           (*query).putSecretValue,
		"RestoreSecret":            (*query).restoreSecret,
		"UpdateSecretVersionStage": (*query).updateSecretVersionStage,
	}
	run := operations[call.Operation]
	if run == nil {
		return Fault("UnknownOperationException", "")
	}
	q := &query{shared: c, region: call.Region}
	if err := json.Unmarshal(body, &q.input); err != nil {
		return Fault("SerializationException", "")
	}
	if fault := q.check(call.Operation); fault != nil {
		return fault
	}
	id := value(q.SecretID)
	if call.Operation == "CreateSecret" {
		id = *q.Name
	}
	if fault := c.denied(call.Operation, q.region, id); fault != nil {
		return fault
	}
	answer, fault := run(q)
	if fault != nil {
		return fault
	}
	return &Response{Body: answer.encode()}
}

// live returns the secret that is asked for, unless it is marked for deletion.
func (q *query) live() (*secret, *Response) {
	s, fault := q.find(q.region, *q.SecretID)
	if fault == nil && !s.deleted.IsZero() {
		fault = Fault("InvalidRequestException", deletedText)
	}
	return s, fault
}

func (q *query) getSecretValue() (object, *Response) {
	s, fault := q.live()
	if fault != nil {
		return nil, fault
	}
	return s.value(value(q.VersionID), value(q.VersionStage))
}

// value returns a version as GetSecretValue and BatchGetSecretValue do, and marks it accessed.
func (s *secret) value(id, stage string) (object, *Response) {
	const missing = "Secrets Manager can't find the specified secret value for "
	var v *version
	if id != "" {
		if v = s.version(id); v == nil {
			return nil, Fault("ResourceNotFoundException", missing+"VersionId: "+id)
		}
		if stage != "" && s.stages[stage] != id {
			return nil, Fault("InvalidRequestException", "You provided a VersionStage that is not associated to the provided VersionId.")
		}
	} else {
		stage = cmp.Or(stage, current)
		if v = s.version(s.stages[stage]); v == nil {
			return nil, Fault("ResourceNotFoundException", missing+"staging label: "+stage)
		}
	}
	v.accessed = time.Now().UTC().Truncate(day)
	s.accessed = v.accessed
	answer := object{"ARN": s.arn, "Name": s.name, "VersionId": v.id, "CreatedDate": epoch(v.created)}
	if v.binary != nil {
		answer["SecretBinary"] = base64.StdEncoding.EncodeToString(v.binary)
	} else {
		answer["SecretString"] = v.text
	}
	if labels := s.labels(v.id); labels != nil {
		answer["VersionStages"] = labels
	}
	return answer, nil
}

func (q *query) batchGetSecretValue() (object, *Response) {
	byID, byFilter := len(q.SecretIDList) > 0, len(q.Filters) > 0
	switch {
	case byID == byFilter:
		return nil, Fault("InvalidParameterException", "Either 'SecretIdList' or 'Filters' must be provided, but not both.")
	case len(q.SecretIDList) > batchLimit:
		return nil, Fault("InvalidParameterException", "The number of secrets in 'SecretIdList' must not exceed 20.")
	case q.MaxResults != nil && !byFilter:
		return nil, Fault("InvalidParameterException", "'MaxResults' can only be used with 'Filters'.")
	}
	ids := q.SecretIDList
	if byFilter {
		if fault := q.denied("ListSecrets", q.region, ""); fault != nil {
			return nil, fault
		}
		matching, fault := q.filtered()
		if fault != nil {
			return nil, fault
		}
		for _, s := range matching {
			if s.deleted.IsZero() {
				ids = append(ids, s.name)
			}
		}
	}
	targets := q.targets(ids)
	from, to, next, fault := q.page(batchOperation, len(targets), batchLimit)
	if fault != nil {
		return nil, fault
	}
	values, errors := []object{}, []object{}
	for _, id := range targets[from:to] {
		v, fault := q.one(id)
		if fault == nil {
			values = append(values, v)
			continue
		}
		code := fault.code
		if code == "ValidationException" {
			code = "InvalidParameterException" // The former is none of the codes that Errors has.
		}
		errors = append(errors, object{"SecretId": id, "ErrorCode": code, "Message": fault.message})
	}
	answer := object{"SecretValues": values, "Errors": errors}
	if next != "" {
		answer["NextToken"] = next
	}
	return answer, nil
}

// targets returns ids by the order of the secrets' names, without those that would give the same value or error again.
func (q *query) targets(ids []string) []string {
	names := make(map[string]string) // by id
	taken := make(map[string]bool)   // of secrets that can be read
	for _, id := range ids {
		if _, ok := names[id]; ok {
			continue
		}
		s, fault := q.find(q.region, id)
		switch {
		case fault != nil:
			names[id] = id
		case !s.deleted.IsZero() || s.stages[current] == "" || q.denied(getOperation, q.region, id) != nil:
			names[id] = s.name
		case !taken[s.name]:
			taken[s.name] = true
			names[id] = s.name
		}
	}
	return slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		return cmp.Or(strings.Compare(names[a], names[b]), strings.Compare(a, b))
	})
}

// one reads a secret of a batch.
func (q *query) one(id string) (object, *Response) {
	if fault := q.denied(getOperation, q.region, id); fault != nil {
		return nil, fault
	}
	if fault := q.failingOne(q.aliases(q.region, []string{id})); fault != nil {
		return nil, fault
	}
	single := &query{shared: q.shared, region: q.region, input: input{SecretID: &id}}
	return single.getSecretValue()
}

// page returns which of total items stand on the page that is asked for, and the token of the next one.
func (q *query) page(operation string, total, most int) (from, to int, next string, fault *Response) {
	parameters := q.input
	parameters.NextToken, parameters.MaxResults = nil, nil
	text, _ := json.Marshal(parameters) //nolint:errchkjson // It holds texts and numbers.
	key := operation + " " + hash(text)[:16]
	number := 0
	if q.NextToken != nil {
		token, err := base64.RawURLEncoding.DecodeString(*q.NextToken)
		rest, ok := strings.CutPrefix(string(token), key)
		if n, _ := fmt.Sscanf(rest, " %d %d", &from, &number); err != nil || !ok || n != 2 {
			return 0, 0, "", Fault("InvalidNextTokenException", "")
		}
	}
	if q.MaxResults != nil {
		most = *q.MaxResults
	}
	if n := len(q.pages); n > 0 {
		most = min(most, q.pages[min(number, n-1)])
	}
	from = min(from, total)
	to = min(from+most, total)
	token := func(from, number int) string {
		return base64.RawURLEncoding.EncodeToString([]byte(key + " " + strconv.Itoa(from) + " " + strconv.Itoa(number)))
	}
	switch {
	case q.repeat:
		next = token(from, number)
	case to < total, number+1 < len(q.pages):
		next = token(to, number+1)
	}
	return from, to, next, nil
}

// describe returns what DescribeSecret and ListSecrets tell of a secret. They name the map of versions differently.
func (s *secret) describe(versions string) object {
	answer := object{"ARN": s.arn, "Name": s.name, "CreatedDate": epoch(s.created), "LastChangedDate": epoch(s.changed)}
	if s.description != "" {
		answer["Description"] = s.description
	}
	if s.key != "" {
		answer["KmsKeyId"] = s.key
	}
	if len(s.tags) > 0 {
		answer["Tags"] = s.tags
	}
	if !s.accessed.IsZero() {
		answer["LastAccessedDate"] = epoch(s.accessed)
	}
	if !s.deleted.IsZero() {
		answer["DeletedDate"] = epoch(s.deleted)
	}
	stages := make(map[string][]string)
	for _, v := range s.versions {
		if labels := s.labels(v.id); labels != nil {
			stages[v.id] = labels
		}
	}
	if len(stages) > 0 {
		answer[versions] = stages
	}
	return answer
}

func (q *query) describeSecret() (object, *Response) {
	s, fault := q.find(q.region, *q.SecretID)
	if fault != nil {
		return nil, fault
	}
	return s.describe("VersionIdsToStages"), nil
}

// filtered returns the secrets that match the filters, in the order of their creation.
func (q *query) filtered() ([]*secret, *Response) {
	for _, f := range q.Filters {
		if !slices.Contains([]string{"name", "description", "tag-key", "tag-value"}, f.Key) {
			return nil, Fault("InvalidParameterException", "package awstest has no filter '"+f.Key+"'")
		}
	}
	matching := slices.SortedFunc(maps.Values(q.regions[q.region]), func(a, b *secret) int { return cmp.Compare(a.number, b.number) })
	return slices.DeleteFunc(matching, func(s *secret) bool {
		return slices.ContainsFunc(q.Filters, func(f filter) bool { return !s.matches(f) })
	}), nil
}

// matches reports whether one of the values of a filter fits. One that begins with "!" fits if the rest of it does not.
func (s *secret) matches(f filter) bool {
	return slices.ContainsFunc(f.Values, func(v string) bool {
		v, negated := strings.CutPrefix(v, "!")
		var fits bool
		switch f.Key {
		case "name":
			fits = strings.HasPrefix(s.name, v)
		case "description":
			fits = strings.HasPrefix(strings.ToLower(s.description), strings.ToLower(v))
		case "tag-key":
			fits = slices.ContainsFunc(s.tags, func(t tag) bool { return strings.HasPrefix(t.Key, v) })
		case "tag-value":
			fits = slices.ContainsFunc(s.tags, func(t tag) bool { return strings.HasPrefix(t.Value, v) })
		}
		return fits != negated
	})
}

func (q *query) listSecrets() (object, *Response) {
	matching, fault := q.filtered()
	if fault != nil {
		return nil, fault
	}
	matching = slices.DeleteFunc(matching, func(s *secret) bool { return !s.deleted.IsZero() && !q.IncludeDeleted })
	slices.SortStableFunc(matching, func(a, b *secret) int {
		switch value(q.SortBy) {
		case "name":
			return strings.Compare(a.name, b.name)
		case "last-changed-date":
			return a.changed.Compare(b.changed)
		case "last-accessed-date":
			return a.accessed.Compare(b.accessed)
		}
		return 0 // They are in the order of their creation.
	})
	if value(q.SortOrder) == "desc" {
		slices.Reverse(matching)
	}
	from, to, next, fault := q.page("ListSecrets", len(matching), listLimit)
	if fault != nil {
		return nil, fault
	}
	list := []object{}
	for _, s := range matching[from:to] {
		list = append(list, s.describe("SecretVersionsToStages"))
	}
	answer := object{"SecretList": list}
	if next != "" {
		answer["NextToken"] = next
	}
	return answer, nil
}

func (q *query) listSecretVersionIDs() (object, *Response) {
	s, fault := q.find(q.region, *q.SecretID)
	if fault != nil {
		return nil, fault
	}
	versions := []object{}
	for _, v := range s.versions {
		labels := s.labels(v.id)
		if labels == nil && !q.IncludeDeprecated {
			continue
		}
		entry := object{"VersionId": v.id, "CreatedDate": epoch(v.created), "KmsKeyIds": []string{cmp.Or(s.key, "DefaultEncryptionKey")}}
		if labels != nil {
			entry["VersionStages"] = labels
		}
		if !v.accessed.IsZero() {
			entry["LastAccessedDate"] = epoch(v.accessed)
		}
		versions = append(versions, entry)
	}
	from, to, next, fault := q.page("ListSecretVersionIds", len(versions), listLimit)
	if fault != nil {
		return nil, fault
	}
	answer := object{"ARN": s.arn, "Name": s.name, "Versions": versions[from:to]}
	if next != "" {
		answer["NextToken"] = next
	}
	return answer, nil
}

// version returns the version that a request brings, or nil if it brings none.
func (q *query) version() (*version, *Response) {
	switch {
	case q.ClientRequestToken == nil:
		return nil, Fault("InvalidRequestException", "You must provide a ClientRequestToken value. We recommend a UUID-type value.")
	case q.SecretString != nil && q.SecretBinary != nil:
		return nil, Fault("InvalidParameterException",
			"You can't specify both a binary secret value and a string secret value in the same secret.")
	case q.SecretString == nil && q.SecretBinary == nil:
		return nil, nil
	}
	return &version{id: *q.ClientRequestToken, text: value(q.SecretString), binary: q.SecretBinary, created: time.Now()}, nil
}

func (q *query) createSecret() (object, *Response) {
	v, fault := q.version()
	if fault != nil {
		return nil, fault
	}
	if !namePattern.MatchString(*q.Name) {
		return nil, badName()
	}
	s := q.regions[q.region][*q.Name]
	switch {
	case s == nil:
		s = q.add(q.region, *q.Name)
		s.description, s.key, s.tags = value(q.Description), value(q.KmsKeyID), q.Tags
		if v != nil {
			s.versions = []*version{v}
			s.attach(current, v.id)
		}
	case !s.deleted.IsZero():
		return nil, Fault("InvalidRequestException",
			"You can't create this secret because a secret with this name is already scheduled for deletion.")
	default:
		var old *version
		if v != nil {
			old = s.version(v.id)
		}
		if old == nil || !old.same(v) {
			return nil, Fault("ResourceExistsException", "The operation failed because the secret "+s.name+" already exists.")
		}
	}
	answer := object{"ARN": s.arn, "Name": s.name}
	if v != nil {
		answer["VersionId"] = v.id
	}
	return answer, nil
}

func (q *query) putSecretValue() (object, *Response) {
	v, fault := q.version()
	if fault != nil {
		return nil, fault
	}
	s, fault := q.live()
	if fault != nil {
		return nil, fault
	}
	if v == nil {
		return nil, Fault("InvalidRequestException", "You must provide either SecretString or SecretBinary.")
	}
	old := s.version(v.id)
	switch {
	case old == nil:
		stages := q.VersionStages
		if len(stages) == 0 {
			stages = []string{current}
		}
		if len(s.versions) == 0 && !slices.Contains(stages, current) {
			stages = append([]string{current}, stages...)
		}
		s.versions = append(s.versions, v)
		for _, stage := range stages {
			s.attach(stage, v.id)
		}
	case !old.same(v):
		return nil, Fault("ResourceExistsException",
			"You can't use ClientRequestToken "+v.id+" because that value is already in use for a version of secret "+s.arn+".")
	}
	answer := object{"ARN": s.arn, "Name": s.name, "VersionId": v.id}
	if labels := s.labels(v.id); labels != nil {
		answer["VersionStages"] = labels
	}
	return answer, nil
}

func (q *query) updateSecretVersionStage() (object, *Response) {
	s, fault := q.live()
	if fault != nil {
		return nil, fault
	}
	if q.VersionStage == nil {
		return nil, missing("versionStage")
	}
	stage, target, remove := *q.VersionStage, value(q.MoveToVersionID), value(q.RemoveFromVersionID)
	has := s.stages[stage]
	switch {
	case target == "" && remove == "":
		return nil, Fault("InvalidParameterException", "You must specify MoveToVersionId, RemoveFromVersionId, or both.")
	case target != "" && s.version(target) == nil:
		return nil, Fault("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: "+target)
	case target == "" && stage == current:
		return nil, Fault("InvalidParameterException",
			"You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.")
	case has != "" && has != target && remove == "":
		return nil, Fault("InvalidParameterException", "The parameter RemoveFromVersionId can't be empty. Staging label "+stage+
			" is currently attached to version "+has+", so you must explicitly reference that version in RemoveFromVersionId.")
	case remove != "" && remove != has:
		return nil, Fault("InvalidParameterException", "The staging label "+stage+" is not attached to the version in RemoveFromVersionId.")
	case target == "":
		delete(s.stages, stage)
		s.changed = time.Now()
	case has != target && len(s.labels(target)) >= stageLimit:
		return nil, Fault("LimitExceededException", "")
	default:
		s.attach(stage, target)
	}
	return object{"ARN": s.arn, "Name": s.name}, nil
}

func (q *query) deleteSecret() (object, *Response) {
	const least, most = 7, 30
	days := most
	switch {
	case q.RecoveryWindow != nil && q.Force:
		return nil, Fault("InvalidParameterException", "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	case q.RecoveryWindow != nil && (*q.RecoveryWindow < least || *q.RecoveryWindow > most):
		return nil, Fault("InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
	case q.RecoveryWindow != nil:
		days = *q.RecoveryWindow
	}
	s, fault := q.find(q.region, *q.SecretID)
	switch {
	case q.Force && fault != nil && fault.code == "ResourceNotFoundException":
		// What is not there needs no deletion.
		name := strings.TrimPrefix(*q.SecretID, q.arn(q.region, ""))
		return object{"ARN": q.arn(q.region, name), "Name": name, "DeletionDate": epoch(time.Now())}, nil
	case fault != nil:
		return nil, fault
	case q.Force:
		delete(q.regions[q.region], s.name)
		days = 0
	case !s.deleted.IsZero():
		return nil, Fault("InvalidRequestException", deletedText)
	default:
		s.deleted = time.Now()
	}
	return object{"ARN": s.arn, "Name": s.name, "DeletionDate": epoch(time.Now().Add(time.Duration(days) * day))}, nil
}

func (q *query) restoreSecret() (object, *Response) {
	s, fault := q.find(q.region, *q.SecretID)
	if fault != nil {
		return nil, fault
	}
	s.deleted = time.Time{}
	return object{"ARN": s.arn, "Name": s.name}, nil
}

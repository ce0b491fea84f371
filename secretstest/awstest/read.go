package awstest

import (
	"cmp"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"time"
)

func (q *query) getSecretValue() (object, *Response) {
	s, fault := q.live()
	if fault != nil {
		return nil, fault
	}
	return s.value(value(q.VersionID), value(q.VersionStage))
}

// value returns a version in the form of GetSecretValue and BatchGetSecretValue, and updates its access date.
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
	switch n := len(q.SecretIDList); {
	case n == 0:
		return nil, Fault("InvalidParameterException", "Either 'SecretIdList' or 'Filters' must be provided, but not both.")
	case n > batchLimit:
		return nil, Fault("InvalidParameterException", "The number of secrets in 'SecretIdList' must not exceed 20.")
	}
	targets := q.targets(q.SecretIDList)
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
			code = "InvalidParameterException" // Errors has no ValidationException
		}
		errors = append(errors, object{"SecretId": id, "ErrorCode": code, "Message": fault.message})
	}
	answer := object{"SecretValues": values, "Errors": errors}
	if next != "" {
		answer["NextToken"] = next
	}
	return answer, nil
}

// targets returns ids in the order of the secrets' names, without duplicates that would give the same value or error.
func (q *query) targets(ids []string) []string {
	names := make(map[string]string) // by id
	taken := make(map[string]bool)   // readable secrets
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

// one reads one secret of a batch.
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

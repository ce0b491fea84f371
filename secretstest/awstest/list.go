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
)

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

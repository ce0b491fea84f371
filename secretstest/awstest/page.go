package awstest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// page returns the range of the total items on the requested page, and the token of the next page.
func (q *query) page(operation string, total, size int) (from, to int, next string, fault *Response) {
	parameters := q.input
	parameters.NextToken = nil
	text, _ := json.Marshal(parameters) //nolint:errchkjson // it holds only strings and numbers
	key := operation + " " + hash(text)[:16]
	number := 0
	if q.NextToken != nil {
		token, err := base64.RawURLEncoding.DecodeString(*q.NextToken)
		rest, ok := strings.CutPrefix(string(token), key)
		if n, _ := fmt.Sscanf(rest, " %d %d", &from, &number); err != nil || !ok || n != 2 {
			return 0, 0, "", Fault("InvalidNextTokenException", "")
		}
	}
	if n := len(q.pages); n > 0 {
		size = min(size, q.pages[min(number, n-1)])
	}
	from = min(from, total)
	to = min(from+size, total)
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

func (q *query) describeSecret() (object, *Response) {
	s, fault := q.find(q.region, *q.SecretID)
	if fault != nil {
		return nil, fault
	}
	answer := object{"ARN": s.arn, "Name": s.name, "CreatedDate": epoch(s.created), "LastChangedDate": epoch(s.changed)}
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
		answer["VersionIdsToStages"] = stages
	}
	return answer, nil
}

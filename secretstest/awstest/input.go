package awstest

import (
	"fmt"
	"unicode/utf8"
)

// input has the parameters of all operations.
type input struct {
	SecretID            *string  `json:"SecretId,omitempty"`
	SecretIDList        []string `json:"SecretIdList,omitempty"`
	VersionID           *string  `json:"VersionId,omitempty"`
	VersionStage        *string  `json:"VersionStage,omitempty"`
	VersionStages       []string `json:"VersionStages,omitempty"`
	MoveToVersionID     *string  `json:"MoveToVersionId,omitempty"`
	RemoveFromVersionID *string  `json:"RemoveFromVersionId,omitempty"`
	ClientRequestToken  *string  `json:"ClientRequestToken,omitempty"`
	SecretString        *string  `json:"SecretString,omitempty"`
	SecretBinary        []byte   `json:"SecretBinary,omitempty"`
	Name                *string  `json:"Name,omitempty"`
	NextToken           *string  `json:"NextToken,omitempty"`
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// ids returns the secrets that a request names.
func (in *input) ids() []string {
	switch {
	case in.SecretID != nil:
		return []string{*in.SecretID}
	case in.Name != nil:
		return []string{*in.Name}
	}
	return in.SecretIDList
}

// check returns a fault if the service model does not allow in.
func (in *input) check(operation string) *Response {
	type limit struct {
		name     string
		value    *string
		min, max int
		secret   bool
	}
	switch operation {
	case batchOperation:
	case "CreateSecret":
		if in.Name == nil {
			return missing("name")
		}
	default:
		if in.SecretID == nil {
			return missing("secretId")
		}
	}
	limits := []limit{
		{"secretId", in.SecretID, 1, 2048, false},
		{"name", in.Name, 1, nameLimit, false},
		{"versionId", in.VersionID, 32, 64, false},
		{"versionStage", in.VersionStage, 1, 256, false},
		{"moveToVersionId", in.MoveToVersionID, 32, 64, false},
		{"removeFromVersionId", in.RemoveFromVersionID, 32, 64, false},
		{"clientRequestToken", in.ClientRequestToken, 32, 64, false},
		{"secretString", in.SecretString, 1, valueLimit, true},
		{"nextToken", in.NextToken, 1, 4096, false},
	}
	for _, id := range in.SecretIDList {
		limits = append(limits, limit{"secretIdList", &id, 1, 2048, false})
	}
	for _, stage := range in.VersionStages {
		limits = append(limits, limit{"versionStages", &stage, 1, 256, false})
	}
	for _, l := range limits {
		if l.value == nil {
			continue
		}
		size := utf8.RuneCountInString(*l.value)
		if l.secret {
			size = len(*l.value)
		}
		shown := fmt.Sprintf(" '%s'", *l.value)
		if l.secret {
			shown = "" // AWS never repeats a value
		}
		if fault := length(l.name, shown, size, l.min, l.max); fault != nil {
			return fault
		}
	}
	for _, l := range []struct {
		name     string
		set      bool
		size     int
		min, max int
	}{
		{"secretBinary", in.SecretBinary != nil, len(in.SecretBinary), 1, valueLimit},
		{"versionStages", in.VersionStages != nil, len(in.VersionStages), 1, stageLimit},
	} {
		if fault := length(l.name, "", l.size, l.min, l.max); l.set && fault != nil {
			return fault
		}
	}
	return nil
}

func length(name, shown string, size, minimum, maximum int) *Response {
	switch {
	case size < minimum:
		return violated(name, shown, fmt.Sprintf("Member must have length greater than or equal to %d", minimum))
	case size > maximum:
		return violated(name, shown, fmt.Sprintf("Member must have length less than or equal to %d", maximum))
	}
	return nil
}

func missing(name string) *Response { return violated(name, " null", "Member must not be null") }

func violated(name, shown, constraint string) *Response {
	return Fault("ValidationException",
		"1 validation error detected: Value"+shown+" at '"+name+"' failed to satisfy constraint: "+constraint)
}

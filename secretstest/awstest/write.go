package awstest

import (
	"slices"
	"time"
)

// version returns the version in a request, or nil if there is none.
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

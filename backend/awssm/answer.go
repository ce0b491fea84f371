package awssm

import (
	"bytes"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/seed-5482dd03/secrets"
)

// The stages that the service itself sets: https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html.
const (
	currentStage  = "AWSCURRENT" // the default
	pendingStage  = "AWSPENDING"
	previousStage = "AWSPREVIOUS"
)

// answer is the answer of the service for one secret:
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html#API_GetSecretValue_ResponseSyntax.
type answer struct {
	name, arn, version *string
	stages             []string
	created            *time.Time
	text               *string
	bytes              []byte
}

func answerOf(entry types.SecretValueEntry) answer {
	return answer{
		name: entry.Name, arn: entry.ARN, version: entry.VersionId, stages: entry.VersionStages,
		created: entry.CreatedDate, text: entry.SecretString, bytes: entry.SecretBinary,
	}
}

// same reports whether two answers have the same version and value.
func (a answer) same(other answer) bool {
	return deref(a.version) == deref(other.version) && (a.text == nil) == (other.text == nil) && deref(a.text) == deref(other.text) &&
		bytes.Equal(a.bytes, other.bytes)
}

// secret checks that a answers q and returns its secret. An answer without a name, or without a pinned version or stage, is malformed: it
// does not come from the service.
func (q query) secret(a answer) (secrets.Secret, error) {
	switch {
	case !q.isAnsweredBy(a):
		return secrets.Secret{}, malformed("the service answered with another secret, or did not say with which")
	case q.versionID != "" && deref(a.version) != q.versionID:
		return secrets.Secret{}, malformed("the service answered with another version, or did not say with which")
	case q.stage != "" && !slices.Contains(a.stages, q.stage):
		return secrets.Secret{}, malformed("the service answered with a version that does not have that stage")
	case !q.pinned() && a.stages != nil && !slices.Contains(a.stages, currentStage):
		return secrets.Secret{}, malformed("the service answered with a version that is not the current one")
	case a.text != nil && a.bytes != nil:
		return secrets.Secret{}, malformed("the answer holds both a SecretString and a SecretBinary")
	}
	meta := secrets.Meta{Version: deref(a.version), CreatedAt: deref(a.created)}
	switch {
	case a.text != nil:
		return secrets.NewSecret(*a.text, meta), nil
	case a.bytes != nil:
		return secrets.NewSecret(string(a.bytes), meta), nil
	default: // the SDK accepts an empty answer
		return secrets.Secret{}, malformed("the answer holds neither a SecretString nor a SecretBinary")
	}
}

// isAnsweredBy reports whether a is for the secret of q.
func (q query) isAnsweredBy(a answer) bool {
	if a.name != nil && a.arn != nil && *a.arn != "" && *a.name != "" {
		// The ARN of a secret ends in its name, a hyphen and 6 characters.
		if parts := arns.FindStringSubmatch(*a.arn); parts == nil || !isPartOf(*a.name, parts[2]) {
			return false
		}
	}
	if !q.isARN() {
		return deref(a.name) == q.id
	}
	return deref(a.arn) == q.id || isPartialARN(q.id, deref(a.arn))
}

// isPartialARN reports whether partial is arn without its suffix. If partial ends in such a suffix itself, it is a complete ARN, as for the
// service: a secret whose name is the name of another plus a suffix must not be taken for the other.
func isPartialARN(partial, arn string) bool {
	return isPartOf(partial, arn) && !complete.MatchString(partial)
}

func deref[T any](p *T) (v T) {
	if p == nil {
		return v
	}
	return *p
}

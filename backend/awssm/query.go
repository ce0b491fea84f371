package awssm

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/seed-5482dd03/secrets"
)

// query is the request for a ref.
type query struct {
	region    string // of an ARN, or "" for the backend's own
	id        string // a name or an ARN
	versionID string // tried as a stage if there is no such version
	stage     string
}

// pinned reports whether q is for a given version or stage.
func (q query) pinned() bool { return q.versionID != "" || q.stage != "" }

// isARN reports whether q reads a secret by its ARN.
func (q query) isARN() bool { return strings.HasPrefix(q.id, arnPrefix) }

const (
	arnPrefix = "arn:"
	// The limits of the service, in characters: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
	// and API_CreateSecret.html. A VersionId is usually a UUID, but the writer can choose it (ClientRequestToken), as Terraform does.
	maxName    = 512
	maxStage   = 256
	minVersion = 32
	maxVersion = 64
)

var (
	// The region of an ARN becomes part of the host of the signed request, so nothing else may match.
	regions = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]{2,16}){1,3}-\d{1,2}$`)
	// A complete ARN ends in a hyphen and 6 characters; a partial one does not.
	arns     = regexp.MustCompile(`^arn:aws[a-z-]{0,12}:secretsmanager:([a-z0-9-]+):\d{12}:secret:(.+)$`)
	complete = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)
	oddNames = regexp.MustCompile(`[^A-Za-z0-9/_+=.@!-]`)
)

func isRegion(region string) bool { return regions.MatchString(region) }

// query returns the request for ref, or ErrInvalidKey.
func (b *Backend) query(ref secrets.Ref) (query, error) {
	if ref.Field != "" {
		return query{}, invalid("a backend reads whole documents; leave the field out")
	}
	if err := ref.Validate(); err != nil {
		return query{}, err
	}
	q := query{id: b.prefix + ref.Path}
	if strings.HasPrefix(ref.Path, arnPrefix) {
		parts := arns.FindStringSubmatch(ref.Path)
		if parts == nil || !isRegion(parts[1]) {
			return query{}, invalid("not the ARN of a secret; one looks like arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME")
		}
		if fault := checkName(complete.ReplaceAllString(parts[2], "")); fault != "" {
			return query{}, invalid("the name in the ARN " + fault)
		}
		if q.id = ref.Path; parts[1] != b.region {
			q.region = parts[1]
		}
	} else if fault := checkName(q.id); fault != "" {
		return query{}, invalid("the name " + fault)
	}
	switch length := utf8.RuneCountInString(ref.Version); {
	case length > maxStage:
		return query{}, invalid(fmt.Sprintf("the name of a stage has at most %d characters", maxStage))
	case length >= minVersion && length <= maxVersion:
		q.versionID = ref.Version
	default:
		q.stage = ref.Version
	}
	return q, nil
}

// checkName returns what is wrong with the name of a secret, or "".
func checkName(name string) string {
	switch {
	case oddNames.MatchString(name):
		return "has a character that is not allowed; use letters, digits and /_+=.@!-"
	case len(name) > maxName:
		return fmt.Sprintf("is longer than %d bytes", maxName)
	default:
		return ""
	}
}

// isPartOf reports whether partial is whole without the hyphen and the 6 characters at its end.
func isPartOf(partial, whole string) bool {
	end, found := strings.CutPrefix(whole, partial)
	return found && complete.FindString(end) == end && end != ""
}

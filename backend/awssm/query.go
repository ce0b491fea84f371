package awssm

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/seed-5482dd03/secrets"
)

// query is what a ref asks of the service.
type query struct {
	region    string // of an ARN, or "" for that of the backend
	id        string
	versionID string
	stage     string
}

// pinned reports whether q is for a version: a batch brings current ones only.
func (q query) pinned() bool { return q.versionID != "" || q.stage != "" }

// isARN reports whether q is by ARN.
func (q query) isARN() bool { return strings.HasPrefix(q.id, arnPrefix) }

const (
	arnPrefix = "arn:"
	// maxName and maxStage are the limits of the service's model, in bytes: its names are ASCII.
	maxName  = 512
	maxStage = 256
)

var (
	// The region of an ARN becomes a part of the host that the signed request goes to, so that it must be nothing else.
	regions = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]{2,16}){1,3}-\d{1,2}$`)
	// A complete ARN ends in a hyphen and 6 characters, which a partial one leaves out.
	arns     = regexp.MustCompile(`^arn:aws[a-z-]{0,12}:secretsmanager:([a-z0-9-]+):\d{12}:secret:(.+)$`)
	complete = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)
	uuids    = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
	oddNames = regexp.MustCompile(`[^A-Za-z0-9/_+=.@!-]`)
)

func isRegion(region string) bool { return regions.MatchString(region) }

// query returns what ref asks for.
func (b *Backend) query(ref secrets.Ref) (query, error) {
	if ref.Field != "" {
		return query{}, invalid("a backend is asked for documents, without a field")
	}
	if err := ref.Validate(); err != nil {
		return query{}, err
	}
	q := query{id: b.prefix + ref.Path}
	if strings.HasPrefix(ref.Path, arnPrefix) {
		parts := arns.FindStringSubmatch(ref.Path)
		if parts == nil || !isRegion(parts[1]) {
			return query{}, invalid("it is no ARN of a secret: arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME")
		}
		if fault := checkName(parts[2]); fault != "" {
			return query{}, invalid("the name in the ARN " + fault)
		}
		if q.id = ref.Path; parts[1] != b.region {
			q.region = parts[1]
		}
	} else if fault := checkName(q.id); fault != "" {
		return query{}, invalid("the name " + fault)
	}
	switch version := ref.Version; {
	case uuids.MatchString(version):
		q.versionID = version
	case len(version) > maxStage:
		return query{}, invalid(fmt.Sprintf("the name of a stage has at most %d bytes", maxStage))
	default:
		q.stage = version
	}
	return q, nil
}

// checkName says what is wrong with the name of a secret, or "".
func checkName(name string) string {
	switch {
	case oddNames.MatchString(name):
		return "has a character that names of secrets have not: they have letters, digits and /_+=.@!-"
	case len(name) > maxName:
		return fmt.Sprintf("is longer than %d bytes", maxName)
	default:
		return ""
	}
}

// answers reports whether a secret with that name and ARN is what q asked for. What the service leaves out is not checked.
func (q query) answers(name, arn *string) bool {
	if !q.isARN() {
		return name == nil || *name == q.id
	}
	return arn == nil || *arn == q.id || isPartOf(q.id, *arn)
}

// isPartOf reports whether partial is arn without the hyphen and the 6 characters at its end. One that ends so itself is a
// complete ARN, to the service too: a secret whose name is that of another with its 6 characters must not stand in for it.
func isPartOf(partial, arn string) bool {
	name, found := strings.CutPrefix(arn, partial)
	return found && complete.FindString(name) == name && !complete.MatchString(partial)
}

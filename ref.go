package secrets

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of a key, in bytes. maxPath is that of a name in AWS Secrets Manager, maxKey that of a SecretId, which may be an ARN:
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html.
const (
	maxPath = 512
	maxKey  = 2048
)

// Ref is a parsed key. It is comparable, and may be the key of a map.
type Ref struct {
	// Path is the name of the secret. Slashes separate its segments.
	Path string
	// Field selects a part of a JSON document: an exact key of it, or a dotted path into it. Empty means the whole document.
	Field string
	// Version pins a version, in the backend's own format. Empty means the current one.
	Version string
	// Whole is true for the form "path#": the document at exactly that path, even if the backend would read the last segment as a field.
	Whole bool
}

// ParseRef parses a key of the form
//
//	path[?version=V][#field]
//
// The first '#' splits off the field, which is everything after it, without unescaping. Then the first '?' splits off the query. "%23",
// "%3F" and "%25" stand for '#', '?' and '%' in a path. The error is an [*Error] of class [ErrInvalidKey] that says what is wrong.
func ParseRef(key string) (Ref, error) {
	ref, fault := parseRef(key)
	if fault != "" {
		return Ref{}, &Error{Key: key, Err: ErrInvalidKey, Detail: fault}
	}
	return ref, nil
}

// Validate returns an [*Error] of class [ErrInvalidKey] unless r is a Ref that [ParseRef] could return. A backend that may be used without
// a [Client] checks its refs with it.
func (r Ref) Validate() error {
	if fault := r.fault(); fault != "" {
		return &Error{Key: r.String(), Err: ErrInvalidKey, Detail: fault}
	}
	return nil
}

func parseRef(key string) (Ref, string) {
	if key == "" {
		return Ref{}, "the key is empty"
	}
	if len(key) > maxKey {
		return Ref{}, "the key is longer than 2048 bytes"
	}
	var ref Ref
	rest, field, hasField := strings.Cut(key, "#")
	ref.Field, ref.Whole = field, hasField && field == ""
	path, query, hasQuery := strings.Cut(rest, "?")
	if hasQuery {
		version, ok := strings.CutPrefix(query, "version=")
		switch {
		case !ok:
			return Ref{}, "the only query is ?version=V; write %3F for a question mark in a path"
		case version == "":
			return Ref{}, "the version is empty; leave ?version= out for the current one"
		case strings.Contains(version, "&"):
			return Ref{}, "the only query is ?version=V, without a second parameter"
		}
		ref.Version = version
	}
	path, fault := unescape(path)
	if fault != "" {
		return Ref{}, fault
	}
	ref.Path = path
	return ref, ref.fault()
}

// String returns the key that [ParseRef] parses into r.
func (r Ref) String() string {
	escaped := hasReserved(r.Path)
	if !escaped && r.Version == "" && r.Field == "" && !r.Whole {
		return r.Path
	}
	var b strings.Builder
	if escaped {
		escape.WriteString(&b, r.Path) //nolint:errcheck // a strings.Builder never fails
	} else {
		b.WriteString(r.Path)
	}
	if r.Version != "" {
		b.WriteString("?version=" + r.Version)
	}
	if r.Field != "" || r.Whole {
		b.WriteString("#" + r.Field)
	}
	return b.String()
}

// hasReserved reports whether path has a character that String must escape. Three searches for a byte are faster than one for a set.
func hasReserved(path string) bool {
	return strings.IndexByte(path, '%') >= 0 || strings.IndexByte(path, '#') >= 0 || strings.IndexByte(path, '?') >= 0
}

// size returns the length of r.String().
func (r Ref) size() int {
	n := len(r.Path)
	for i := range len(r.Path) {
		if c := r.Path[i]; c == '%' || c == '#' || c == '?' {
			n += len("%25") - 1
		}
	}
	if r.Version != "" {
		n += len("?version=") + len(r.Version)
	}
	if r.Field != "" || r.Whole {
		n += len("#") + len(r.Field)
	}
	return n
}

// escape is stateless and safe for concurrent use.
var escape = strings.NewReplacer("%", "%25", "#", "%23", "?", "%3F") //nolint:gochecknoglobals // it has no state

func unescape(path string) (plain, fault string) {
	before, after, found := strings.Cut(path, "%")
	if !found {
		return path, ""
	}
	var b strings.Builder
	for ; found; before, after, found = strings.Cut(after, "%") {
		b.WriteString(before)
		code := after[:min(2, len(after))]
		switch code {
		case "23":
			b.WriteByte('#')
		case "3F":
			b.WriteByte('?')
		case "25":
			b.WriteByte('%')
		default:
			return "", "a % in a path is written %25; the only other escapes are %23 for # and %3F for ?"
		}
		after = after[2:]
	}
	b.WriteString(before)
	return b.String(), ""
}

// fault returns what is wrong with r, or "". ParseRef calls it, and Validate, since user middleware may make or change refs.
func (r Ref) fault() string {
	if r.size() > maxKey {
		return "the key is longer than 2048 bytes"
	}
	if len(r.Path) > maxPath && !strings.HasPrefix(r.Path, "arn:") {
		return "the path is longer than 512 bytes"
	}
	if f := textFault(r.Path); f != "" {
		return f
	}
	if f := textFault(r.Field); f != "" {
		return f
	}
	if f := textFault(r.Version); f != "" {
		return f
	}
	switch {
	case r.Whole && r.Field != "":
		return "a ref has a field, or is the whole document, not both"
	case strings.Contains(r.Field, "?version="):
		return "the version comes before the field: path?version=V#field"
	case strings.ContainsAny(r.Version, "#&"):
		return "a version has no # or &"
	}
	return pathFault(r.Path)
}

// ofAWS is a hint for AWS Secrets Manager, the only backend where such names are legal.
const ofAWS = "; if that is a name in AWS, use its ARN or awssm.WithPrefix, which may hold the slashes"

func pathFault(path string) string {
	switch {
	case path == "":
		return "the path is empty"
	case path[0] == '/':
		return "the path begins with a slash" + ofAWS
	case path[len(path)-1] == '/':
		return "the path ends with a slash" + ofAWS
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "":
			return "the path has an empty segment" + ofAWS
		case ".", "..":
			return "the path has a segment . or .."
		}
	}
	return ""
}

func textFault(s string) string {
	for i, r := range s {
		switch {
		case r >= ' ' && r < 0x7f:
		case r == utf8.RuneError && !utf8.ValidString(s[i:]):
			return "the key is not valid UTF-8"
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp):
			return "the key has a control, format or line-separator character"
		}
	}
	return ""
}

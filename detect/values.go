package detect

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// shown returns the value of a variable that holds a path, a prefix or a region, for a person: such values are not secret. What looks
// like a token is masked, since whoever sets many variables mistakes one for another.
func shown(value string) string {
	const most = 200
	value = masked(value)
	if len(value) > most {
		value = strings.ToValidUTF8(value[:most], "") + "…"
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }) {
		return strconv.Quote(value)
	}
	return value
}

// shownAddress is shown for an address. Only the scheme, the host and the path of a URL are shown: a password may stand before, a token
// behind.
func shownAddress(value string) string {
	u, err := url.Parse(strings.TrimSpace(value))
	if err != nil || u.Scheme == "" || u.Opaque != "" {
		return ""
	}
	return shown(u.Scheme + "://" + u.Host + u.EscapedPath())
}

const mask = "[REDACTED]"

// tokens matches tokens and keys by their form: of Vault (https://developer.hashicorp.com/vault/docs/concepts/tokens), AWS
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html) and GitHub, and JSON web tokens.
func tokens() *regexp.Regexp {
	return regexp.MustCompile(`\b(hv[sbr]\.[A-Za-z0-9_-]{4,}|[sb]\.[A-Za-z0-9]{24}|A[KS]IA[A-Z0-9]{12,}|gh[a-z]_[A-Za-z0-9]{16,}|` +
		`eyJ[A-Za-z0-9_-]{8,}[A-Za-z0-9._-]*)`)
}

// masked returns text without what looks like a token: what has a known form, or is long and goes to and fro between letters and digits.
// No word and no name does that, and a random token of 12 characters almost always does.
func masked(text string) string {
	text = tokens().ReplaceAllString(text, mask)
	var out strings.Builder
	rest := text
	for rest != "" {
		end := strings.IndexFunc(rest, func(r rune) bool { return !isAlphanumeric(r) })
		switch {
		case end < 0:
			end = len(rest)
		case end == 0:
			out.WriteString(rest[:1])
			rest = rest[1:]
			continue
		}
		if run := rest[:end]; isRandom(run) {
			out.WriteString(mask)
		} else {
			out.WriteString(run)
		}
		rest = rest[end:]
	}
	return out.String()
}

func isAlphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// isRandom reports whether run, of letters and digits, is long enough to be a token and changes between them four times or more.
func isRandom(run string) bool {
	const short, few = 12, 4
	changes := 0
	for i := 1; i < len(run); i++ {
		if isDigit(run[i]) != isDigit(run[i-1]) {
			changes++
		}
	}
	return len(run) >= short && changes >= few
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

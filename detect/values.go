package detect

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-5482dd03/secrets/internal/text"
)

// shown returns the value of a variable for messages. Only paths, prefixes and regions are shown, which are not secret. It masks anything
// that looks like a token: somebody may have put a token into the wrong variable.
func shown(value string) string {
	const maxShown = 200
	value = masked(value)
	if len(value) > maxShown {
		value = strings.ToValidUTF8(value[:maxShown], "") + "…"
	}
	return text.Printable(value)
}

// shownAddress is shown for an address. It returns the scheme, host and path of a URL, without the user and the query, which may contain a
// password or a token. It returns "" for anything else, and for a URL with an @ after the host: a slash, ? or # in a password ends the host
// too early.
func shownAddress(value string) string {
	u, err := url.Parse(strings.TrimSpace(value))
	if err != nil || u.Host == "" && u.Scheme != "unix" || u.Scheme == "" || u.Opaque != "" {
		return ""
	}
	if strings.Contains(u.EscapedPath()+u.RawQuery+u.Fragment, "@") {
		return ""
	}
	return shown(u.Scheme + "://" + u.Host + u.EscapedPath())
}

const mask = "[REDACTED]"

// tokens matches tokens and keys by their format: those of Vault (https://developer.hashicorp.com/vault/docs/concepts/tokens), whose older
// tokens and secret IDs are UUIDs, of AWS (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html) and of GitHub, and
// JSON web tokens.
func tokens() *regexp.Regexp {
	return regexp.MustCompile(`hv[sbr]\.[A-Za-z0-9_-]{4,}|\b[sb]\.[A-Za-z0-9]{24}|A[KS]IA[A-Z0-9]{12,}|` +
		`(gh[a-z]|github_pat)_[A-Za-z0-9_]{16,}|eyJ[A-Za-z0-9_-]{8,}[A-Za-z0-9._-]*|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`)
}

// masked returns text without anything that looks like a token: a known format, or a word with a random part. A slash ends a word, so only
// part of a path is masked. Secret keys of AWS, which may contain slashes, are matched separately.
func masked(text string) string {
	text = regexp.MustCompile(`[^\s"(=]+:\S*@`).ReplaceAllString(text, mask+"@") // a user and a password
	text = tokens().ReplaceAllString(text, mask)
	text = regexp.MustCompile(`[A-Za-z0-9+/]{40,}`).ReplaceAllStringFunc(text, func(word string) string {
		if isSecretKey(word) {
			return mask
		}
		return word
	})
	return regexp.MustCompile(`[A-Za-z0-9+=_~-]+`).ReplaceAllStringFunc(text, func(word string) string {
		if slices.ContainsFunc(strings.FieldsFunc(word, isSign), isRandom) {
			return mask
		}
		return word
	})
}

// isSecretKey reports whether word, of letters, digits, + and /, may be a secret key of AWS, not a path.
func isSecretKey(word string) bool {
	return len(word) == 40 && word[0] != '/' && //nolint:mnd // the length of all
		strings.ContainsFunc(word, isUpper) && strings.ContainsFunc(word, isLower) && strings.ContainsFunc(word, isDigit)
}

// isRandom reports whether run, of letters and digits, looks like a random token: it is long enough, and it has more parts than words and
// names have. A digit, a capital, or the end of digits begins a new part.
func isRandom(run string) bool {
	const short, few, length = 12, 4, 4 // names have longer parts
	parts := 0
	for i := 1; i < len(run); i++ {
		is, was := rune(run[i]), rune(run[i-1])
		if isDigit(is) != isDigit(was) || isUpper(is) && !isUpper(was) {
			parts++
		}
	}
	return len(run) >= short && parts >= few && parts*length >= len(run)
}

func isSign(r rune) bool  { return !isDigit(r) && !isUpper(r) && !isLower(r) }
func isDigit(r rune) bool { return '0' <= r && r <= '9' }
func isUpper(r rune) bool { return 'A' <= r && r <= 'Z' }
func isLower(r rune) bool { return 'a' <= r && r <= 'z' }

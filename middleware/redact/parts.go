package redact

import (
	"encoding/json"
	"iter"
	"net/url"
	"strings"
	"unicode"
)

// shortest is the length in bytes of the shortest text that is masked in logs.
const shortest = 8

// isStrong reports whether text is distinctive enough to be masked in logs. Short texts, words and numbers also occur in ordinary text.
func isStrong(text string) bool {
	other := func(is func(rune) bool) bool {
		return strings.ContainsFunc(text, func(r rune) bool { return !is(r) })
	}
	return len(text) >= shortest && other(unicode.IsLetter) && other(unicode.IsDigit)
}

// parts yields the texts to search for to find value, some of them more than once. With all, for errors, these are all parts. Without it,
// for logs, these are left out: a JSON document as a whole, its numbers, and the BEGIN and END lines of a PEM block. Keys of a document are
// never secret. Texts are trimmed, since masking must not remove the line feed at the end of a log line.
func parts(value string, all bool) iter.Seq[string] {
	return func(yield func(string) bool) { splitter{all, yield}.split(value) }
}

type splitter struct {
	all   bool
	yield func(string) bool
}

// split yields text and its parts. Like the other methods, it returns false to stop.
func (s splitter) split(text string) bool {
	text = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), `\n`))
	if text == "" {
		return true
	}
	isJSON := strings.IndexByte(`{["`, text[0]) >= 0
	isDocument := isJSON && text[0] != '"' && json.Valid([]byte(text))
	if (s.all || !isDocument) && !s.lines(text) {
		return false
	}
	if isJSON {
		return s.literals(text)
	}
	// In environment variables, a PEM key is often one line, with \n in place of line feeds.
	lines := strings.ReplaceAll(text, `\n`, "\n")
	return lines == text || s.split(lines)
}

// lines yields text, its lines if there are several, and the passwords in them.
func (s splitter) lines(text string) bool {
	if !s.yield(text) || !s.password(text) {
		return false
	}
	if strings.IndexByte(text, '\n') < 0 {
		return true
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && (s.all || !isFrame(line)) && (!s.yield(line) || !s.password(line)) {
			return false
		}
	}
	return true
}

// literals splits the strings of the JSON in text, and yields its numbers, at any depth. If the JSON is broken, it handles the part before
// the defect.
func (s splitter) literals(text string) bool {
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '"':
			literal := literalOf(text[i:])
			if i += len(literal); literal == "" {
				return true
			}
			isKey := strings.HasPrefix(strings.TrimLeft(text[i:], " \t\r\n"), ":")
			if !isKey && !s.literal(literal) {
				return false
			}
		case s.all && (c == '-' || c >= '0' && c <= '9'):
			number := text[i : len(text)-len(strings.TrimLeft(text[i:], "+-.0123456789Ee"))]
			if i += len(number); !s.yield(number) {
				return false
			}
		default:
			i++
		}
	}
	return true
}

// literalOf returns the quoted string that text begins with, or "" if it is not terminated.
func literalOf(text string) string {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '"':
			return text[:i+1]
		case '\\':
			i++
		}
	}
	return ""
}

// literal splits the unescaped string, and yields the escaped one, which is the form in the base64 of the document.
func (s splitter) literal(quoted string) bool {
	written := quoted[1 : len(quoted)-1]
	meant := written
	if strings.IndexByte(written, '\\') >= 0 {
		_ = json.Unmarshal([]byte(quoted), &meant) //nolint:errcheck // if it is not valid JSON, meant stays as it is
	}
	return s.split(meant) && (meant == written || s.yield(strings.TrimSuffix(written, `\n`)))
}

// password yields the password of the URL or DSN in text, escaped and unescaped.
func (s splitter) password(text string) bool {
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(" \t?&;", r) }) {
		key, value, _ := strings.Cut(word, "=") // as in a query, and in a DSN of libpq or ODBC
		if value = strings.Trim(value, `'"`); (strings.EqualFold(key, "password") || strings.EqualFold(key, "pwd")) && !s.secret(value) {
			return false
		}
	}
	_, authority, isURL := strings.Cut(text, "://")
	if !isURL {
		if authority = text; !strings.Contains(text, ")/") { // as in a DSN of MySQL, user:password@tcp(host)/name
			return true
		}
	} else if end := strings.IndexAny(authority, "/?# \t\r\n"); end >= 0 && strings.IndexByte(authority[:end], '@') >= 0 {
		authority = authority[:end]
	} // else the password may contain a character that ends an authority
	at := strings.LastIndexByte(authority, '@')
	_, password, _ := strings.Cut(authority[:max(0, at)], ":")
	return s.secret(password)
}

// secret yields a password, and its unescaped form if it is escaped as in a URL.
func (s splitter) secret(text string) bool {
	meant, err := url.PathUnescape(text)
	return text == "" || s.yield(text) && (err != nil || meant == text || s.yield(meant))
}

// isFrame reports whether line is the BEGIN or END line of a PEM block.
func isFrame(line string) bool {
	const dashes = "-----"
	return strings.HasPrefix(line, dashes+"BEGIN ") && strings.HasSuffix(line, dashes) ||
		strings.HasPrefix(line, dashes+"END ") && strings.HasSuffix(line, dashes)
}

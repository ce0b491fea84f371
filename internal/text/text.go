// Package text trims text that people write: environment variables, files and credentials. Editors and echo add a byte order mark at the
// beginning and a newline at the end. Values that a server sends as JSON are not trimmed.
package text

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// byteOrderMark is U+FEFF in UTF-8. Windows editors write it at the beginning of a file.
const byteOrderMark = "\uFEFF"

// Trim returns s without one byte order mark at the beginning and one newline, "\n" or "\r\n", at the end. It keeps other white space,
// which may be part of a password. It returns s unchanged if s is not valid UTF-8: binary data may end in a newline byte.
func Trim(s string) string {
	line, ends := strings.CutSuffix(s, "\n")
	if ends {
		line = strings.TrimSuffix(line, "\r")
	}
	line, begins := strings.CutPrefix(line, byteOrderMark)
	if !ends && !begins || !utf8.ValidString(s) {
		return s
	}
	return line
}

// TrimToken is Trim for a token that is sent in a header: it also removes white space at both ends, where no token has any.
func TrimToken(s string) string { return strings.TrimSpace(Trim(s)) }

// IsUTF16 reports whether s begins with a byte order mark of UTF-16, which some Windows editors and shells write.
func IsUTF16(s string) bool {
	return strings.HasPrefix(s, "\xff\xfe") || strings.HasPrefix(s, "\xfe\xff")
}

// Printable returns s for an error or a log, quoted if it has unprintable characters: a file name or a variable must not add lines.
func Printable(s string) string {
	if strings.ContainsFunc(s, IsUnprintable) {
		return strconv.Quote(s)
	}
	return s
}

// IsUnprintable reports whether r is not a visible character.
func IsUnprintable(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }

// Package text has the one rule for what is read as text: the values of environment variables and files, and credentials. An editor and
// echo leave a byte order mark at the beginning and a newline at the end, which nobody means. What a server sends as JSON is no such text.
package text

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// byteOrderMark is U+FEFF in UTF-8. Editors on Windows begin a file with it.
const byteOrderMark = "\uFEFF"

// Trim returns s without one byte order mark at the beginning and without one newline, "\n" or "\r\n", at the end. White space stays: it
// may be a part of a password. What is not valid UTF-8 is not text, and returned as it is: its last byte may be a part of it.
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

// TrimToken returns s, a token that goes into a header, as Trim does, and without white space at either end: no token has any there.
func TrimToken(s string) string { return strings.TrimSpace(Trim(s)) }

// IsUTF16 reports whether s begins with the byte order mark of UTF-16, which some editors and shells of Windows write.
func IsUTF16(s string) bool {
	return strings.HasPrefix(s, "\xff\xfe") || strings.HasPrefix(s, "\xfe\xff")
}

// Printable returns s for an error or a log, quoted if it holds what is not printable: the name of a file, or the value of a variable,
// must not write lines of its own.
func Printable(s string) string {
	if strings.ContainsFunc(s, IsUnprintable) {
		return strconv.Quote(s)
	}
	return s
}

// IsUnprintable reports whether r would write more into a log than a character that is seen.
func IsUnprintable(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }

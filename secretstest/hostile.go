package secretstest

import (
	"net/url"
	"strings"

	"github.com/seed-5482dd03/secrets"
)

// hostilePaths returns names that lead elsewhere if a backend uses them as a path, a URL, a pattern, a variable or a line of text. Most are
// invalid keys; the others name documents that do not exist.
func hostilePaths() []string {
	return []string{
		// Empty names, dots and single characters.
		"", " ", ".", "..", "/", "//", "\\", "~", "*", "?", "#", "%", "-", "=", ":", ";", "|", "&", "$", "`", "'", `"`, "\x00", "\n",
		// Parent directories and absolute names, as paths and URLs write them.
		"../database", "../../etc/passwd", "../../../../../../../../etc/hostname", "database/..", "database/../database",
		"database/../../database", "text/../database", "./database", "database/.", "a/./b", "a/../../b", "..data/database",
		"..data/../database", "..2024_01_01/database", "...", ".../database", "..\\database", "..\\..\\windows\\win.ini",
		"text\\plain", "database\\..\\..", "C:\\windows\\win.ini", "C:database", "\\\\host\\share\\x", "//host/share/x",
		"/etc/passwd", "/proc/self/environ", "/dev/zero", "/dev/stdin", "file:///etc/passwd", "http://127.0.0.1/database",
		"~root/x", "~/.aws/credentials",
		// Empty segments, and slashes at the ends.
		"/database", "database/", "//database", "database//", "text//plain", "a//b", "a/b/", "/a/b", "a///b",
		// Escapes of URLs, single and double, and overlong UTF-8.
		"%2e%2e", "%2e%2e/database", "%2E%2E%2Fdatabase", "..%2fdatabase", "%252e%252e%252fdatabase", "database%00", "database%2f..",
		"%c0%ae%c0%ae/database", "%u002e%u002e/database", "%", "%2", "%zz", "%23database", "database%3Fversion=1", "database%3Fx",
		"database%23x", "datab%61se", "datab%2561se", "%64atabase", "text%2Fplain", "text%252fplain", "text/plain%3Fx", "text/plain%23x",
		"\xc0\xae\xc0\xae/database", "\xe0\x80\xaf", "\xed\xa0\x80",
		// NUL, line ends and other controls.
		"database\x00", "\x00database", "data\x00base", "database\x00.json", "database\n", "\ndatabase", "database\r\nX-Header: x",
		"database\r", "data\tbase", "data\bbase", "data\x1b[31mbase", "data\x7fbase", "data\u0085base", "data\u2028base", "data\u2029base",
		// Invisible characters, and those that change the text direction.
		"data\u200bbase", "data\u200dbase", "\ufeffdatabase", "\u202edatabase", "data\u2066base", "data\u00adbase", "data\U000e0041base",
		// Not UTF-8.
		"\xff", "database\xff", "data\x80base", "\xc3", "\xf8\x88\x80\x80\x80",
		// Queries and fields in odd places.
		"database?", "database?x", "database#x", "text/plain?x",
		"database?version=", "database?list=true", "database?version=1&version=2", "database?version=1?version=2",
		"?version=1", "#password", "database#a?version=1", "database?version=1%00", "database?version=../../x",
		"database?version=1/../..", "database?version=-1", "database?version=99999999999999999999", "database?version=1\n",
		"database?version=no-such-version",
		// Shell, SQL, templates and formats.
		"$(id)", "`id`", "${HOME}", "$HOME", "%s%s%s%n", "{{.}}", "a;b", "a|b", "a&b", "a b", "' OR 1=1 --", "a=b", "=", "a*", "[a-z]",
		"{a,b}", "database,text", "arn:aws:secretsmanager:::secret:x", "data/database", "metadata/database", "secret/data/database",
		"sys/health", "sys/internal/ui/mounts", "auth/token/lookup-self", "v1/sys/seal",
		// Names of devices, streams and variables.
		"CON", "nul", "LPT1", "database:stream", "database::$DATA", "database.", "database ", " database", "-rf", "--help",
		// Letters that look alike or fold to others.
		"databa\u0455e", "ｄａｔａｂａｓｅ", "databaſe", "e\u0301", "\u00e9", "İ", "a\u0338",
		// Long, wide and deep.
		strings.Repeat("a", 255), strings.Repeat("a", 256), strings.Repeat("a", 512), strings.Repeat("a", 513),
		strings.Repeat("a", 4097), strings.Repeat("a", 1<<16), strings.Repeat("a/", 255) + "a", strings.Repeat("../", 170) + "a",
		strings.Repeat("/", 512), strings.Repeat("é", 256), strings.Repeat("é", 257), strings.Repeat("%25", 170), strings.Repeat("日", 170),
	}
}

// unescaped returns the document that a backend reads if it puts path into a URL without escaping it. That is the name before a query or
// fragment, with all levels of escapes undone. It returns "" if there is none, or if path itself is a document.
func unescaped(path string) string {
	documents := standard()
	if _, own := documents[path]; own {
		return ""
	}
	for {
		cut := path
		if i := strings.IndexAny(cut, "?#"); i >= 0 {
			cut = cut[:i]
		}
		if _, found := documents[cut]; found {
			return cut
		}
		plain, err := url.PathUnescape(path)
		if err != nil {
			plain, err = url.PathUnescape(cut)
		}
		if err != nil || plain == path {
			return ""
		}
		path = plain
	}
}

// hostileRefs returns refs that only a layer can pass to a backend: the Client refuses most of them.
func hostileRefs() []secrets.Ref {
	var refs []secrets.Ref
	for _, path := range hostilePaths() {
		refs = append(refs,
			secrets.Ref{Path: path},
			secrets.Ref{Path: path, Version: "1"},
			secrets.Ref{Path: "database/" + path},
			secrets.Ref{Path: path + "/database"},
		)
		if path != "" {
			refs = append(refs, secrets.Ref{Path: "database", Version: path})
		}
	}
	return refs
}

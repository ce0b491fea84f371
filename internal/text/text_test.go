package text_test

import (
	"strings"
	"testing"

	"github.com/seed-5482dd03/secrets/internal/text"
)

func TestTrim(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"":                  "",
		"x":                 "x",
		"x\n":               "x",
		"x\r\n":             "x",
		"x\n\n":             "x\n",
		"x\r\n\r\n":         "x\r\n",
		"x\r":               "x\r",
		"x\r\r\n":           "x\r",
		"\n":                "",
		"\r\n":              "",
		"\tx \n":            "\tx ",
		"\nx":               "\nx",
		"\xff\xfe\n":        "\xff\xfe\n",
		"\xff\xfe\r\n":      "\xff\xfe\r\n",
		"größe\n":           "größe",
		"\ufeffx":           "x",
		"\ufeffx\r\n":       "x",
		"\ufeff":            "",
		"\ufeff\n":          "",
		"\ufeff\ufeffx":     "\ufeffx",
		"x\ufeff":           "x\ufeff",
		" \ufeffx":          " \ufeffx",
		"\ufeffbinary \xff": "\ufeffbinary \xff",
	} {
		if got := text.Trim(s); got != want {
			t.Errorf("Trim(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestTrimToken(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"": "", "hvs.x": "hvs.x", " hvs.x\t\r\n\n": "hvs.x", "\ufeffhvs.x\n": "hvs.x", "\ufeff \n": "", "a b": "a b", "a\nb": "a\nb",
	} {
		if got := text.TrimToken(s); got != want {
			t.Errorf("TrimToken(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestIsUTF16(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"": false, "x": false, "\xff": false, "\ufeffx": false, "\xef\xbb\xbf": false,
		"\xff\xfex\x00": true, "\xfe\xff\x00x": true, "\xff\xfe": true, "x\xff\xfe": false,
	} {
		if got := text.IsUTF16(s); got != want {
			t.Errorf("IsUTF16(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"": "", "/etc/tls.crt": "/etc/tls.crt", "größe \"x\"": "größe \"x\"", "a\nb": `"a\nb"`, "\x1b[31m": `"\x1b[31m"`, "\xff": `"\xff"`,
		"a\u202eb": `"a\u202eb"`,
	} {
		if got := text.Printable(s); got != want {
			t.Errorf("Printable(%q) = %s, want %s", s, got, want)
		}
	}
}

func FuzzTrim(f *testing.F) {
	for _, s := range []string{"", "\n", "x\r\n", "x\n\n", "\xff\n", "\ufeffx\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := text.Trim(s)
		begin, end, found := strings.Cut(s, got)
		if !found || begin != "" && begin != "\ufeff" && got != "" || end != "" && end != "\n" && end != "\r\n" && got != "" {
			t.Errorf("Trim(%q) = %q", s, got)
		}
		if got == "" && len(s) > len("\ufeff\r\n") {
			t.Errorf("Trim(%q) is empty", s)
		}
	})
}

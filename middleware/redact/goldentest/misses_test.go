package goldentest_test

import (
	"encoding/base32"
	"encoding/base64"
	"html/template"
	"mime/quotedprintable"
	"strings"
	"testing"
	"unicode/utf16"

	"al.essio.dev/pkg/shellescape"
)

// Some encodings are not found, as the package comment of redact says. If one is found in the future, move it to the table of writers.
func TestKnownMisses(t *testing.T) {
	css := template.Must(template.New("").Parse(`<style>p { content: "{{.}}" }</style>`))
	long := strings.Repeat("P@ssw0rd-", 6) + "2024"
	for _, c := range []struct{ name, value, text string }{
		{"quoted-printable", "s3cr3t=with=equals-9", printedBy(t, func(b *strings.Builder, s string) error {
			w := quotedprintable.NewWriter(b)
			if _, err := w.Write([]byte(s)); err != nil {
				return err
			}
			return w.Close()
		}, "s3cr3t=with=equals-9")},
		{"UTF-16", "P@ssw0rd!2024", inUTF16("P@ssw0rd!2024")},
		{"base32", "P@ssw0rd!2024", base32.StdEncoding.EncodeToString([]byte("P@ssw0rd!2024"))},
		{"%uXXXX of escape in JavaScript", "пароль-9-пароль",
			"%u043F%u0430%u0440%u043E%u043B%u044C-9-%u043F%u0430%u0440%u043E%u043B%u044C"},
		{"entities without a semicolon", "a<12&34>56b", "a&lt12&amp34&gt56b"},
		{"base64 of an escaped text", `P@ss"w0rd"2024`, base64.StdEncoding.EncodeToString([]byte(`{"v":"P@ss\"w0rd\"2024"}`))},
		{"base64 in lines of 32", long, inLines(base64.StdEncoding.EncodeToString([]byte(long)), 32, "\n")},
		{"shell quoting of a single quote", "it's-a-s3cret", shellescape.Quote("it's-a-s3cret")},
		{"strings in CSS", "P@ss/w0rd/12", printedBy(t, func(b *strings.Builder, s string) error {
			return css.Execute(b, s)
		}, "P@ss/w0rd/12")},
	} {
		r := knowing(c.value)
		if got := streamed(t, r, "before "+c.value+" after"); got != "before "+mark+" after" {
			t.Errorf("%s: the control: %q is masked as %q", c.name, c.value, got)
		}
		if got := streamed(t, r, "before "+c.text+" after"); got != "before "+c.text+" after" {
			t.Errorf("%s is documented as a miss, but %q is masked as %q", c.name, c.text, got)
		}
	}
}

func printedBy(t *testing.T, write func(b *strings.Builder, s string) error, s string) string {
	t.Helper()
	var b strings.Builder
	if err := write(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func inUTF16(s string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(s)) {
		b.Write([]byte{byte(unit), byte(unit >> 8)})
	}
	return b.String()
}

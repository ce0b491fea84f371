package redact_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/middleware/redact"
)

// found returns the texts that scrub masks exactly.
func found(scrub func(string) string, all ...string) (masked []string) {
	for _, text := range all {
		if scrub("is <"+text+"> wrong?") == "is <"+mark+"> wrong?" {
			masked = append(masked, text)
		}
	}
	return masked
}

// inLogs returns a func that masks a text with a Writer that knows value.
func inLogs(t *testing.T, value string) func(string) string {
	t.Helper()
	r := knowing(value)
	return func(text string) string { return streamed(t, r, text) }
}

func TestTheStringsOfADocumentAreMasked(t *testing.T) {
	const document = `{
		"user-name-1": "application-1",
		"password": "p\u0061ss\/word-9",
		"port": 5432123456789012345, "pin": 123456789, "small": 123,
		"on": true, "off": false, "none": null,
		"nested": {"list": [["deep-Down-1"], {"key-name-x": "deep-Down-2"}], "rate": -1.5e10},
		"inner": "{\"token-1-name\":\"inner-Token-1\",\"again\":\"[\\\"inner-Twice-2\\\"]\"}",
		"lines": "first-Line-1\nsecond-Line-2\r\n  third-Line-3  ",
		"words": "letters", "short": "ab-1",
		"url": "postgres://app:s3cr3t%2Fpa55@db/orders"
	}`
	strong := []string{
		"application-1", "pass/word-9", `p\u0061ss\/word-9`, "deep-Down-1", "deep-Down-2", "inner-Token-1", "inner-Twice-2", "first-Line-1",
		"second-Line-2", "third-Line-3", "s3cr3t%2Fpa55", "s3cr3t/pa55", "postgres://app:s3cr3t/pa55@db/orders",
	}
	weak := []string{"5432123456789012345", "123456789", "-1.5e10", "letters", "ab-1"}
	never := []string{"user-name-1", "password", "key-name-x", "token-1-name", "nested", "true", "false", "null", "123"}
	all := slices.Concat(strong, weak, never)
	is := is.New(t)
	is.Equal(found(inLogs(t, document), all...), strong)
	is.Equal(found(scrubber(document), all...), slices.Concat(strong, weak)) // in an error, all parts are masked
	is.Equal(found(inLogs(t, "another-value-1"), all...), nil)               // control

	// A whole document is no pattern in logs: the parts of it that are not secret stay.
	got := inLogs(t, document)(document)
	is.True(json.Valid([]byte(got)))
	is.True(strings.Contains(got, `"user-name-1": "[REDACTED]"`))
	is.True(strings.Contains(got, `"on": true, "off": false`))
	is.Equal(scrubber(document)(document), mark)
	is.Equal(scrubber(document)("\n "+document+"\n"), "\n "+mark+"\n")
}

// A text that is not valid JSON may still be a secret.
func TestABrokenDocumentIsMaskedAsFarAsItGoes(t *testing.T) {
	both, first := []string{"value-one-1", "value-two-2"}, []string{"value-one-1"}
	for document, want := range map[string][]string{
		`{"a":"value-one-1","b":"value-two-2"`:             both,
		`{"a":"value-one-1"}{"b":"value-two-2"}`:           both,
		`{"a":"value-one-1","a":"value-two-2"}`:            both,
		`["value-one-1", "value-two-2", "unfinished`:       both,
		` "value-one-1" "value-two-2"`:                     both,
		`{"a":"value-one-1", oh "value-two-2"}`:            both,
		`["value-one-1","value-two-2",]`:                   both,
		`["value-one-1","\x41","value-two-2"]`:             both,
		"[\"value-one-1\",\"\n\",\"value-two-2\"]":         both,
		`["value-one-1"]]"value-two-2"`:                    both,
		`["value-one-1","value-two-2`:                      first,
		`{"value-one-1" "value-two-2":1}`:                  first,
		"value-one-1\nvalue-two-2":                         both,
		"PASSWORD=value-one-1\nvalue-two-2\n":              both,
		strings.Repeat(`[`, 20_000) + `"value-one-1"`:      first,
		`{"a":{"b":["value-one-1"}],"value-two-2":"other"`: first,
		`{"value-two-2":"value-one-1"}`:                    first, // control: valid, and its key
	} {
		for _, scrub := range []func(string) string{inLogs(t, document), scrubber(document)} {
			if got := found(scrub, both...); !slices.Equal(got, want) {
				t.Errorf("%.60q: %q, want %q", document, got, want)
			}
		}
	}
}

// encoding/json stops at a depth of 10,000.
func TestDepthDoesNotEndADocument(t *testing.T) {
	is := is.New(t)
	const depth = 30_000
	array := strings.Repeat("[", depth) + `"value-one-1"` + strings.Repeat("]", depth)
	object := strings.Repeat(`{"a":`, depth) + `"value-one-1"` + strings.Repeat("}", depth)
	for _, document := range []string{array, object} {
		is.True(!json.Valid([]byte(document))) // control
		both := `["before-11",` + document + `,"after-22"]`
		for _, scrub := range []func(string) string{inLogs(t, both), scrubber(both)} {
			is.Equal(found(scrub, "before-11", "value-one-1", "after-22"), []string{"before-11", "value-one-1", "after-22"})
		}
	}
	nested := "value-one-1"
	for range 12 {
		nested = must(json.Marshal([]string{nested}))
	}
	is.Equal(found(inLogs(t, nested), "value-one-1"), []string{"value-one-1"})
}

func TestTheLinesOfAValueAreMasked(t *testing.T) {
	is := is.New(t)
	const key = "-----BEGIN PRIVATE KEY-----\r\n" + keyLine1 + "\r\n" + keyLine2 + "\r\n-----END PRIVATE KEY-----\r\n"
	logs, scrub := inLogs(t, key), scrubber(key)
	for _, mask := range []func(string) string{logs, scrub} {
		is.Equal(mask("at "+keyLine1+"\n"), "at "+mark+"\n")
		is.Equal(mask("at "+keyLine2+","), "at "+mark+",")
		is.Equal(mask(key), mark+"\r\n")
		is.Equal(mask(strings.ReplaceAll(key, "\r\n", "\n")), mark+"\n")
		is.Equal(mask(fmt.Sprintf("%q", key)), `"`+mark+`\r\n"`)
	}
	// The BEGIN and END lines are the same for all keys.
	spaced := strings.ReplaceAll(key, "\r\n", " ")
	is.Equal(logs(spaced), "-----BEGIN PRIVATE KEY----- "+mark+" "+mark+" -----END PRIVATE KEY----- ")
	is.Equal(scrub(spaced), mark+" "+mark+" "+mark+" "+mark+" ")
	is.Equal(logs("-----BEGIN PRIVATE KEY-----\n"), "-----BEGIN PRIVATE KEY-----\n")

	file := "USER=app\n# comment\nPASSWORD=hunter2-Zx9!\n  export TOKEN=t0ken-12345\n"
	is.Equal(found(inLogs(t, file), "PASSWORD=hunter2-Zx9!", "export TOKEN=t0ken-12345", "USER=app", "hunter2-Zx9!"),
		[]string{"PASSWORD=hunter2-Zx9!", "export TOKEN=t0ken-12345", "USER=app", "hunter2-Zx9!"})
}

func TestThePasswordOfAURLIsMasked(t *testing.T) {
	for _, c := range []struct {
		value  string
		masked []string
	}{
		{"postgres://app:s3cr3tPa55@db:5432/app", []string{"s3cr3tPa55"}},
		{"postgres://:s3cr3tPa55@db", []string{"s3cr3tPa55"}},
		{"postgres://app:s3cr3t%2FPa55@db/app", []string{"s3cr3t%2FPa55", "s3cr3t/Pa55"}},
		{"postgres://app:s3cr3t/Pa55@db/app", []string{"s3cr3t/Pa55"}},
		{"postgres://app:s3cr3t#Pa55@db/app?x=1", []string{"s3cr3t#Pa55"}},
		{"postgres://app:s3cr3t?Pa55@db/app", []string{"s3cr3t?Pa55"}},
		{"postgres://app:s3cr3t@Pa55@db/app", []string{"s3cr3t@Pa55"}},
		{"postgres://app:s3cr3t:Pa55@db/app", []string{"s3cr3t:Pa55"}},
		{"postgres://app:s3cr3t%zzPa55@db/app", []string{"s3cr3t%zzPa55"}},
		{"DATABASE_URL=postgres://app:s3cr3tPa55@db:5432/app", []string{"s3cr3tPa55"}},
		{"USER=app\nDATABASE_URL=postgres://app:s3cr3tPa55@db/app\nREDIS_URL=redis://:r3dis-Pa55@cache\n", []string{"s3cr3tPa55", "r3dis-Pa55"}},
		{`{"url":"postgres://app:s3cr3tPa55@db/app","other":["amqp://u:am9p-Pa55@mq"]}`, []string{"s3cr3tPa55", "am9p-Pa55"}},
		{`{"env":"A=postgres://app:s3cr3tPa55@db/app\nB=redis://:r3dis-Pa55@cache"}`, []string{"s3cr3tPa55", "r3dis-Pa55"}},
		{`{"url":"postgres:\/\/app:s3cr3t\u002FPa55@db"}`, []string{"s3cr3t/Pa55"}},
		{`"postgres://app:s3cr3tPa55@db:5432/app"`, []string{"s3cr3tPa55"}},
		{"app:s3cr3tPa55@tcp(host-name-1:3306)/app?parseTime=true", []string{"s3cr3tPa55"}}, // MySQL
		{"app:s3cr3t/Pa55@unix(/run/mysqld.sock)/app", []string{"s3cr3t/Pa55"}},
		{"host=host-name-1 user=user-name-1 password=s3cr3tPa55 sslmode=disable", []string{"s3cr3tPa55"}}, // libpq
		{"postgres://host-name-1/app?user=user-name-1&password=s3cr3t%2FPa55", []string{"s3cr3t%2FPa55", "s3cr3t/Pa55"}},
		{"Server=host-name-1;Uid=user-name-1;Pwd='s3cr3tPa55';", []string{"s3cr3tPa55"}}, // ODBC
		{"https://user-name-1@host-name-1/path-name-1?q=a@b", nil},
		{"postgres://app:letters@db", nil}, // weak
		{"see https://host-name-1/a:b and mail someone-1@host", nil},
	} {
		others := []string{"app", "user-name-1", "host-name-1", "path-name-1", "letters"}
		if got := found(inLogs(t, c.value), slices.Concat(c.masked, others)...); !slices.Equal(got, c.masked) {
			t.Errorf("%s: %q", c.value, got)
		}
		if got := found(scrubber(c.value), c.masked...); !slices.Equal(got, c.masked) {
			t.Errorf("%s, in an error: %q", c.value, got)
		}
	}
}

// Texts of only letters, only digits, or less than 8 bytes also occur in ordinary text.
func TestWeakTextsAreSkippedAndCounted(t *testing.T) {
	is := is.New(t)
	weak := []string{"short-1", "letters", "Buchstabenfolge", "пароль", "1234567890123", "  short-1  \n"}
	r := knowing(append(weak, "", "\n\n\n\n\n\n\n\n\n")...)
	text := strings.Join(weak, "|")
	is.Equal(streamed(t, r, text), text)
	stats := r.Stats()
	is.True(stats.Skipped >= len(weak))
	is.Equal(stats.Masked, uint64(0))
	r = knowing("letters-1") // control: one character more
	is.Equal(streamed(t, r, "letters-1"), mark)
	is.Equal(r.Stats().Skipped, 0)

	r = knowing(`{"a":"weak","b":"123456789","c":"strong-1","d":true,"e":["weak-2"]}`, "strong-2")
	is.Equal(r.Stats().Skipped, 3)
	is.Equal(r.Stats().Values, 2)
	is.Equal(streamed(t, r, "strong-1 strong-2 weak weak-2 123456789"), mark+" "+mark+" weak weak-2 123456789")
	is.Equal(r.Stats().Masked, uint64(2))
}

func TestTheShortestTextInAnErrorHas4Bytes(t *testing.T) {
	is := is.New(t)
	short := scrubber(`["abc","abcd","12","1234","é","éé"]`)
	is.Equal(found(short, "abc", "abcd", "12", "1234", "é", "éé"), []string{"abcd", "1234", "éé"})
	for _, value := range []string{"", "a", "ab", "abc", `"""`, "\x00", "日", "&&&", `{"port":"80"}`, "[1,22,333]", "a\nb\nc"} {
		for _, piece := range []string{"80", "333", "a", "abc"} {
			for _, form := range printed(piece) {
				detail := "the server said " + form + " and closed the connection"
				is.Equal(scrubber(value)(detail), detail)
			}
		}
	}
}

func TestPartsOfAValue(t *testing.T) {
	is := is.New(t)
	is.Equal(redact.Parts(`{"a":["x-1",2]}`, false), []string{"x-1"})
	is.Equal(redact.Parts(`{"a":["x-1",2]}`, true), []string{`{"a":["x-1",2]}`, "x-1", "2"})
	is.Equal(redact.Parts(" a://u:p%20w@h \n\n b ", false),
		[]string{"a://u:p%20w@h \n\n b", "p%20w", "p w", "a://u:p%20w@h", "p%20w", "p w", "b"})
	for _, nothing := range []string{"", " ", "\n\t", "{}", "[]", "[true,false,null]", `{"key":null}`} {
		is.Equal(redact.Parts(nothing, false), nil)
	}
}

// The time for the parts of any value is proportional to its length.
func TestPartsAreMadeInTime(t *testing.T) {
	for name, value := range map[string]string{
		"brackets":    strings.Repeat("[", 1<<18),
		"quotes":      strings.Repeat(`"`, 1<<18),
		"backslashes": `"` + strings.Repeat(`\`, 1<<18),
		"objects":     strings.Repeat(`{"a":`, 1<<16),
		"strings":     "[" + strings.Repeat(`"",`, 1<<17),
		"spaces":      "[" + strings.Repeat(`""   `, 1<<16),
		"lines":       strings.Repeat("\n", 1<<18),
		"URLs":        strings.Repeat("://:@\n", 1<<16),
		"numbers":     "[" + strings.Repeat("1,", 1<<17),
		"a number":    "[" + strings.Repeat("1", 1<<18),
		`\n`:          strings.Repeat(`\n`, 1<<17),
		`\n in JSON`:  `["` + strings.Repeat(`\n`, 1<<17),
		"at signs":    "a://:" + strings.Repeat("@", 1<<18),
	} {
		size := 0
		for _, part := range redact.Parts(value, true) {
			size += len(part)
		}
		if size > 40*len(value) {
			t.Errorf("%s: %d bytes of %d", name, size, len(value))
		}
	}
}

package secretstest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"maps"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// minSecret is the length in bytes of the shortest secret that is searched for. A shorter one could occur in any text by chance.
const minSecret = 6

// AssertNoLeak fails t if one of the outputs shows secret: plain, encoded or in part. Its messages quote neither. At least one output is
// required.
//
// A string or []byte output, such as a log, a page or a file, is searched as it is. An error is searched with all the errors that it wraps.
// An error or any other value is searched in these forms:
//
//   - formatted by fmt with all verbs that show content: directly, through a pointer, and as an unexported field of another struct, where
//     fmt cannot call its methods;
//   - encoded as JSON, XML and gob, logged by both log/slog handlers, and through its own methods for text, binary and SQL;
//   - read by reflection, as dumpers do, with unexported fields and pointers, to a depth of 32.
//
// The search ignores letter case, except in base64 and in plain parts. It finds:
//
//   - secret itself;
//   - hexadecimal, decimal, octal and binary lists of its bytes, as fmt, dumps and escapes write them;
//   - its forms in Go and JSON strings, XML and HTML, URL queries and paths;
//   - base64 in both alphabets, also if other text was encoded with it;
//   - any 8 consecutive bytes of it, plain, in hexadecimal or within base64: a truncated value is a leak too. Runs with fewer than 4
//     different bytes are ignored.
//
// Choose a secret of at least 6 bytes that occurs nowhere else, such as "canary-7f3Kq9ZxWv2m". One that contains "password" is found in
// every text with that word. For a document, pass each value in it, not the document.
//
// AssertNoLeak does not read an io.Reader; pass the bytes that were read. No other goroutine may write to an output during the call.
func AssertNoLeak(t testing.TB, secret string, outputs ...any) {
	t.Helper()
	if fault := secretFault(secret); fault != "" {
		t.Fatalf("secretstest: AssertNoLeak: %s", fault)
		return // a fake testing.TB may go on
	}
	if len(outputs) == 0 {
		t.Fatalf("secretstest: AssertNoLeak: no output to search; pass at least one")
		return
	}
	d := newDetector(secret)
	for i, output := range outputs {
		const maxReported = 10
		leaks := d.leaks(output)
		for _, leak := range leaks[:min(maxReported, len(leaks))] {
			t.Errorf("secretstest: output %d, a %T, leaks the secret: %s", i+1, output, leak)
		}
		if more := len(leaks) - maxReported; more > 0 {
			t.Errorf("secretstest: output %d, a %T, leaks the secret in %d more ways", i+1, output, more)
		}
	}
}

// Leaks describes each way in which output shows secret, by the rules of [AssertNoLeak]. It returns nothing if there is no leak. Use it in
// tests that expect a leak: the positive control of a check. A secret shorter than 6 bytes counts as a leak, so no test passes because of
// it.
func Leaks(secret string, output any) []string {
	if fault := secretFault(secret); fault != "" {
		return []string{fault}
	}
	return newDetector(secret).leaks(output)
}

func secretFault(secret string) string {
	if len(secret) < minSecret {
		return fmt.Sprintf("a secret of %d bytes is too short to search for: it could occur in any text by chance; "+
			"use one of at least %d bytes that occurs nowhere else", len(secret), minSecret)
	}
	return ""
}

// detector finds one secret in texts.
type detector struct {
	exact  []form // base64, where letter case matters
	folded []form // in lower case
	parts  []*parts
}

// form is one spelling of a secret.
type form struct{ how, text string }

// parts holds all runs of size bytes in one spelling of a secret.
type parts struct {
	how    string
	size   int
	folded bool
	runs   map[string]struct{}
	begins [1 << 10]uint64 // one bit per first two bytes of a run: it rules out most places in a text
}

func newDetector(secret string) *detector {
	d := &detector{}
	known := make(map[string]bool)
	add := func(how, text string) {
		text = lower(text)
		if !known[text] {
			known[text] = true
			d.folded = append(d.folded, form{how, text})
		}
	}
	head := head(secret)
	add("plain", head)
	addEscapes(head, add)
	addLists(head, add)

	const part = 8 // bytes
	plain := runsOf(secret, part)
	d.addParts("plain", part, false, plain)
	var hexes []string
	for run := range plain {
		hexes = append(hexes, hex.EncodeToString([]byte(run)))
	}
	d.addParts("in hexadecimal", 2*part, true, setOf(hexes))
	coded := make(map[string]struct{})
	const codedPart = part*4/3 + 1
	for offset := range 3 {
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			d.exact = append(d.exact, form{"in base64", base64Core(enc, head, offset)})
			maps.Copy(coded, runsOf(base64Core(enc, secret, offset), codedPart))
		}
	}
	d.addParts("in base64", codedPart, false, coded)
	return d
}

// head returns the beginning of a long secret. Any text with the whole secret contains it, and a megabyte need not be spelled in fifty
// ways.
func head(secret string) string {
	const maxHead = 1 << 10
	if len(secret) <= maxHead {
		return secret
	}
	cut := maxHead
	for back := range utf8.UTFMax - 1 {
		if utf8.RuneStart(secret[maxHead-back]) {
			cut = maxHead - back // not within a character: escapes write it as one
			break
		}
	}
	return secret[:cut]
}

func (d *detector) addParts(how string, size int, folded bool, runs map[string]struct{}) {
	if len(runs) == 0 {
		return
	}
	p := &parts{how: how, size: size, folded: folded, runs: runs}
	for run := range runs {
		word, bit := beginning(run)
		p.begins[word] |= bit
	}
	d.parts = append(d.parts, p)
}

// beginning returns the place of the first two bytes of run in parts.begins.
func beginning(run string) (word int, bit uint64) {
	n := int(run[0])<<8 | int(run[1])
	return n / 64, 1 << (n % 64)
}

func (p *parts) begin(run string) bool {
	word, bit := beginning(run)
	return p.begins[word]&bit != 0
}

// addEscapes adds the forms of notations that write one character as several.
func addEscapes(secret string, add func(how, text string)) {
	inner := func(quoted string) string { return quoted[1 : len(quoted)-1] }
	add("in a Go string", inner(strconv.Quote(secret)))
	add("in a Go string", inner(strconv.QuoteToASCII(secret)))
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, escapeHTML := range []bool{true, false} {
		b.Reset()
		enc.SetEscapeHTML(escapeHTML)
		if enc.Encode(secret) == nil { //nolint:errchkjson // it does not fail for a string
			add("in a JSON string", inner(strings.TrimSuffix(b.String(), "\n")))
		}
	}
	b.Reset()
	if xml.EscapeText(&b, []byte(secret)) == nil {
		add("in XML", b.String())
	}
	add("in HTML", html.EscapeString(secret))
	add("in a URL", url.QueryEscape(secret))
	add("in a URL", url.PathEscape(secret))
	add("in a URL", url.User(secret).String())
}

// addLists adds the lists of bytes that fmt, dumps and escapes write, and of runes where these differ.
func addLists(secret string, add func(how, text string)) {
	list := func(how, verb string, separators ...string) {
		bytewise := make([]string, len(secret))
		for i := range len(secret) {
			bytewise[i] = fmt.Sprintf(verb, secret[i])
		}
		var runewise []string
		for _, r := range secret {
			runewise = append(runewise, fmt.Sprintf(verb, r))
		}
		for _, s := range separators {
			add(how, strings.Join(bytewise, s))
			add(how, strings.Join(runewise, s))
		}
	}
	list("as hexadecimal bytes", "%02x", "", " ", ":", ",", ", ", "%", `\x`, " 0x", ", 0x", ",0x")
	list("as hexadecimal bytes", "%#x", " ", ", ", ",")
	list("as decimal bytes", "%d", " ", ", ", ",")
	list("as octal bytes", "%o", " ", ", ", ",")
	list("as octal bytes", `%03o`, `\`)
	list("as binary bytes", "%b", " ", ", ", ",")
	list("as code points", "%U", " ", ", ", ",")
	list("as single characters", "%c", " ", ", ", ",")
	list("as single characters", "%q", " ", ", ", ",")
}

// base64Core returns the characters in the encoding of secret that do not depend on the text before or after it. offset is the number of
// bytes between the start of a base64 group and secret.
func base64Core(enc *base64.Encoding, secret string, offset int) string {
	text := enc.EncodeToString(append(make([]byte, offset), secret...))
	from := (8*offset + 5) / 6
	to := 8 * (offset + len(secret)) / 6
	return text[from:to]
}

// runsOf returns the runs of size bytes in text that are varied enough to identify it. It returns nil for a text of up to size bytes: the
// whole text is searched for instead.
func runsOf(text string, size int) map[string]struct{} {
	if len(text) <= size {
		return nil
	}
	runs := make(map[string]struct{})
	for i := range len(text) - size + 1 {
		if run := text[i : i+size]; varied(run) {
			runs[run] = struct{}{}
		}
	}
	return runs
}

func varied(run string) bool {
	const minDifferent = 4
	var seen [256]bool
	n := 0
	for i := range len(run) {
		if !seen[run[i]] {
			seen[run[i]] = true
			n++
		}
	}
	return n >= minDifferent
}

func setOf(list []string) map[string]struct{} {
	set := make(map[string]struct{}, len(list))
	for _, s := range list {
		set[s] = struct{}{}
	}
	return set
}

// in returns the form in which text shows the secret, or "".
func (d *detector) in(text string) string {
	if len(text) < minSecret {
		return ""
	}
	low := lower(text)
	for _, f := range d.folded {
		if strings.Contains(low, f.text) {
			return f.how
		}
	}
	for _, f := range d.exact {
		if strings.Contains(text, f.text) {
			return f.how
		}
	}
	for _, p := range d.parts {
		where := text
		if p.folded {
			where = low
		}
		for i := range max(0, len(where)-p.size+1) {
			if run := where[i : i+p.size]; p.begin(run) {
				if _, found := p.runs[run]; found {
					return "a part of it " + p.how
				}
			}
		}
	}
	return ""
}

func (d *detector) leaks(output any) []string {
	return d.search(func(emit func(how, text string)) { render(output, emit) })
}

// search searches each different text that render emits, once.
func (d *detector) search(render func(emit func(how, text string))) []string {
	var leaks []string
	verdicts := make(map[string]string)
	known := make(map[string]bool)
	render(func(how, text string) {
		shown, seen := verdicts[text]
		if !seen {
			shown = d.in(text)
			verdicts[text] = shown
		}
		if leak := how + " shows it: " + shown; shown != "" && !known[leak] {
			known[leak] = true
			leaks = append(leaks, leak)
		}
	})
	return leaks
}

// lower lowers ASCII letters only: strings.ToLower would replace the bytes of a secret that is not UTF-8.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

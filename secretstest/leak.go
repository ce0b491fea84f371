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

// minSecret is the shortest secret that is looked for. Less would be found in any text by chance.
const minSecret = 6

// AssertNoLeak fails t if secret, or what gives it away, shows in one of the outputs. Its own messages quote neither. At
// least one output must be given: an assertion that looks at nothing proves nothing.
//
// An output that is a string or a []byte is searched as it is: a log, a page, a file. An error is searched with all that it
// wraps. Any other value, and an error too, is searched in every form in which a program might let it out:
//
//   - formatted by fmt with all verbs that show content, directly, through a pointer, and as an unexported field of
//     another struct, where fmt cannot call its methods;
//   - encoded as JSON, XML and gob, by log/slog in both handlers, and by its own methods for text, binary and SQL;
//   - read by reflection, to the unexported fields and through pointers, as dumpers do, to a depth of 32.
//
// A reader is not read; give what was read. A value that other goroutines still write must not be given.
//
// What is looked for, in any mixture of upper and lower case:
//
//   - secret itself;
//   - hexadecimal, decimal, octal and binary lists of its bytes, as fmt, dumps and escapes write them;
//   - its forms in Go and JSON strings, XML and HTML, URL queries and paths;
//   - base64 in both alphabets, also where it is encoded together with what stands before and behind it;
//   - any 8 bytes in a row of it, plain, as hexadecimal or within base64, since a cut value is a leak as well. Runs of
//     fewer than 4 different bytes are passed over.
//
// So secret should be a value that occurs nowhere else, such as "canary-7f3Kq9ZxWv2m": a secret that contains the word
// "password" is found in every text that has that word. It must have at least 6 bytes. For a secret that is a document, give
// each value in it, not the document.
func AssertNoLeak(t testing.TB, secret string, outputs ...any) {
	t.Helper()
	if fault := secretFault(secret); fault != "" {
		t.Fatalf("secretstest: AssertNoLeak: %s", fault)
		return // a fake testing.TB may go on
	}
	if len(outputs) == 0 {
		t.Fatalf("secretstest: AssertNoLeak: no output is given to look at")
		return
	}
	d := newDetector(secret)
	for i, output := range outputs {
		const most = 10
		leaks := d.leaks(output)
		for _, leak := range leaks[:min(most, len(leaks))] {
			t.Errorf("secretstest: output %d, a %T, leaks the secret: %s", i+1, output, leak)
		}
		if more := len(leaks) - most; more > 0 {
			t.Errorf("secretstest: output %d, a %T, leaks the secret in %d more ways", i+1, output, more)
		}
	}
}

// Leaks returns a description of each way in which output gives secret away, by the rules of [AssertNoLeak]; none, if it
// does not. It is for tests that expect a leak: the positive control that shows that a check can fail. A secret that is too
// short to look for is a leak by itself, so that no test passes by it.
func Leaks(secret string, output any) []string {
	if fault := secretFault(secret); fault != "" {
		return []string{fault}
	}
	return newDetector(secret).leaks(output)
}

func secretFault(secret string) string {
	if len(secret) < minSecret {
		return fmt.Sprintf("a secret of %d bytes is too short to look for, since it occurs in any text by chance; "+
			"use one of at least %d bytes that occurs nowhere else", len(secret), minSecret)
	}
	return ""
}

// detector finds one secret in texts.
type detector struct {
	exact  []form // base64, which has a meaning for each case
	folded []form // in lower case
	parts  []*parts
}

// form is one way in which a secret may be written.
type form struct{ how, text string }

// parts are all the runs of a length that occur in one way of writing a secret.
type parts struct {
	how    string
	size   int
	folded bool
	runs   map[string]struct{}
	begins [1 << 10]uint64 // a bit for each first two bytes of runs: most places in a text are passed over by them alone
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

// head returns the beginning of a long secret, which shows wherever the whole does, so that a megabyte is not written down
// in fifty ways.
func head(secret string) string {
	const most = 1 << 10
	if len(secret) <= most {
		return secret
	}
	cut := most
	for back := range utf8.UTFMax - 1 {
		if utf8.RuneStart(secret[most-back]) {
			cut = most - back // not within a character, which the escapes write as one
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

// beginning returns where the first two bytes of run are noted in parts.begins.
func beginning(run string) (word int, bit uint64) {
	n := int(run[0])<<8 | int(run[1])
	return n / 64, 1 << (n % 64)
}

func (p *parts) begin(run string) bool {
	word, bit := beginning(run)
	return p.begins[word]&bit != 0
}

// addEscapes adds the forms of the notations that write one character as several.
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

// addLists adds the lists of bytes, and of runes where these differ, that fmt, dumps and escapes write.
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

// base64Core returns the characters of the encoding of secret that do not depend on what stands before or behind it, if it
// begins offset bytes after the beginning of a group.
func base64Core(enc *base64.Encoding, secret string, offset int) string {
	text := enc.EncodeToString(append(make([]byte, offset), secret...))
	from := (8*offset + 5) / 6
	to := 8 * (offset + len(secret)) / 6
	return text[from:to]
}

// runsOf returns the runs of size bytes in text, without those of too little variety to tell anything. A text that is no
// longer than that has none: it is looked for as a whole.
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
	const least = 4
	var seen [256]bool
	n := 0
	for i := range len(run) {
		if !seen[run[i]] {
			seen[run[i]] = true
			n++
		}
	}
	return n >= least
}

func setOf(list []string) map[string]struct{} {
	set := make(map[string]struct{}, len(list))
	for _, s := range list {
		set[s] = struct{}{}
	}
	return set
}

// in returns how text shows the secret, or "".
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

// search looks through the texts that render emits, each different text once.
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

// lower changes ASCII letters alone: strings.ToLower would replace the bytes of a secret that is not UTF-8.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

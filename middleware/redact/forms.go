package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	redacted = "[REDACTED]"
	// shortest is the length in bytes of the shortest text that is looked for. A shorter one is found everywhere, and
	// tells little.
	shortest = 4
)

// forms returns the texts by which value is recognised, longest first.
func forms(value string) []string {
	found := make(map[string]struct{})
	for _, piece := range pieces(value) {
		for _, form := range encodings(piece) {
			if len(form) >= shortest {
				found[form] = struct{}{}
			}
		}
	}
	all := make([]string, 0, len(found))
	for form := range found {
		all = append(all, form)
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}

// pieces returns value and the parts of it that are secret on their own: its lines, and the strings and numbers of a JSON
// document.
func pieces(value string) []string {
	all := []string{value}
	decoder := json.NewDecoder(strings.NewReader(value))
	decoder.UseNumber()
	var document any
	if decoder.Decode(&document) == nil {
		all = leaves(all, document)
	}
	for _, piece := range slices.Clone(all) {
		if strings.Contains(piece, "\n") {
			for line := range strings.Lines(piece) {
				all = append(all, strings.TrimSpace(line))
			}
		}
	}
	return all
}

func leaves(all []string, v any) []string {
	switch v := v.(type) {
	case string:
		return append(all, v)
	case json.Number:
		return append(all, v.String())
	case []any:
		for _, element := range v {
			all = leaves(all, element)
		}
	case map[string]any:
		for _, member := range v {
			all = leaves(all, member)
		}
	}
	return all
}

// encodings returns s in the forms in which a library may print it.
func encodings(s string) []string {
	quoted := strconv.Quote(s)
	ascii := strconv.QuoteToASCII(s)
	hexed := hex.EncodeToString([]byte(s))
	all := []string{
		s,
		jsonText(s, true), jsonText(s, false),
		quoted[1 : len(quoted)-1], ascii[1 : len(ascii)-1],
		url.QueryEscape(s), url.PathEscape(s),
		hexed, strings.ToUpper(hexed),
	}
	var x bytes.Buffer
	if xml.EscapeText(&x, []byte(s)) == nil {
		all = append(all, x.String())
	}
	for shift := range 3 {
		core := base64Core(s, shift)
		all = append(all, core, strings.NewReplacer("+", "-", "/", "_").Replace(core))
	}
	return all
}

// jsonText returns s as encoding/json writes it, without the quotes.
func jsonText(s string, escapeHTML bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escapeHTML)
	if e.Encode(s) != nil {
		return ""
	}
	return b.String()[1 : b.Len()-2] // the quotes and the newline
}

// base64Core returns the characters of a base64 text that s alone decides, if shift bytes of something else come before it
// in a group of three. One of the three shifts is right wherever s stands in what was encoded.
func base64Core(s string, shift int) string {
	text := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), s...))
	from := (shift*8 + 5) / 6      // the first character without a bit of what comes before
	to := (shift + len(s)) * 8 / 6 // behind the last one without a bit of what comes after
	return text[min(from, to):to]
}

// mask returns text with every occurrence of the needles replaced. Overlapping ones are one replacement, so that no rest
// of a value remains between them.
func mask(text string, needles []string) string {
	hidden := make([]bool, len(text)) // bytes that belong to a value
	found := false
	for _, needle := range needles {
		for from := 0; ; {
			i := strings.Index(text[from:], needle)
			if i < 0 {
				break
			}
			found = true
			for k := from + i; k < from+i+len(needle); k++ {
				hidden[k] = true
			}
			from += i + 1
		}
	}
	if !found {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		if !hidden[i] {
			b.WriteByte(text[i])
			i++
			continue
		}
		b.WriteString(redacted)
		for i < len(text) && hidden[i] {
			i++
		}
	}
	return b.String()
}

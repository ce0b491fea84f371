package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"math/bits"
	"net/url"
	"strconv"
	"strings"
)

const (
	redacted = "[REDACTED]"
	// shortest is the length in bytes of the shortest text that is looked for. A shorter one is found everywhere, and
	// tells little.
	shortest = 4
)

const (
	// maxPieces and maxSteps bound the time and the memory that one value takes. A private key has some 50 lines, and a
	// bundle of all public certificate authorities 4,000.
	maxPieces = 4096
	maxSteps  = 16 * maxPieces
)

// needle is a text that is looked for in some of its forms: those that begin with start. Where start does not occur, none
// of these forms does, and none has to be made. So a needle is small, and most of them are passed over at once.
type needle struct {
	text  string
	start [shortest]byte
	forms uint32 // a bit for each place in what forms returns
}

// needles returns what a value is recognised by, or nothing if that is too much.
func needles(value string) (all []needle, complete bool) {
	pieces, complete := pieces(value)
	if !complete {
		return nil, false
	}
	for _, piece := range pieces {
		first := len(all)
		// A rune has at most four bytes, and no form makes less than one of it: this much decides how each form begins.
		head := piece[:min(4*shortest, len(piece))]
	next:
		for i, form := range forms(head, allForms) {
			if form == "" { // the form is the text itself so far
				form = head
			}
			start := [shortest]byte([]byte(form[:shortest]))
			for k := range all[first:] {
				if n := &all[first+k]; n.start == start {
					n.forms |= 1 << i
					continue next
				}
			}
			all = append(all, needle{piece, start, 1 << i})
		}
	}
	return all, true
}

// pieces returns value and the parts of it that are secret on their own: its lines, and the strings and numbers of a JSON
// document, also where a string is such a document again. There may be too many: then they are not complete.
func pieces(value string) (all []string, complete bool) {
	s := splitter{seen: make(map[string]struct{})}
	s.take(value)
	return s.pieces, s.step()
}

type splitter struct {
	pieces []string
	seen   map[string]struct{}
	steps  int // lines and tokens that were looked at
}

// step reports whether there may be more steps.
func (s *splitter) step() bool {
	s.steps++
	return s.steps <= maxSteps && len(s.pieces) <= maxPieces
}

func (s *splitter) take(piece string) {
	if !s.add(piece) {
		return
	}
	s.add(strings.TrimSpace(piece))
	for line := range strings.Lines(piece) {
		if !s.step() {
			return
		}
		s.add(strings.TrimSpace(line))
	}
	s.takeLeaves(piece)
}

// add reports whether piece is new.
func (s *splitter) add(piece string) bool {
	_, known := s.seen[piece]
	if known || len(piece) < shortest {
		return false
	}
	s.seen[piece] = struct{}{}
	s.pieces = append(s.pieces, piece)
	return true
}

// takeLeaves takes each string and number of the JSON in text. Strings are taken as they are written and as they are meant.
func (s *splitter) takeLeaves(text string) {
	for l := range leaves(text, s.step) {
		s.take(l.written)
		if !l.number {
			s.take(l.meant)
		}
	}
}

// A form is a way in which a library may print a text. Its number is a place in what forms returns.
const (
	plain = iota
	jsonString
	jsonStringForHTML
	goString
	goASCIIString
	xmlText
	xmlTextByNames
	xmlTextMixed
	jsonInJSON
	goInJSON
	urlWholePath
	urlFragment
	urlQuery
	urlQueryLower
	urlQueryWith20
	urlQueryWith20Lower
	urlPath
	urlPathLower
	urlUserinfo
	urlUserinfoLower
	hexLower
	hexUpper
	goBytes
	jsonBytes
	base64Std // 4 places: the whole, and the cores of the three shifts
)

const (
	base64Shifts = 3
	base64URL    = base64Std + 1 + base64Shifts
	formCount    = base64URL + 1 + base64Shifts
	allForms     = 1<<formCount - 1
)

// forms returns s, of at least shortest bytes, in those forms that wanted has a bit for. No form is shorter than s. Those
// that are s itself are empty, but for plain.
func forms(s string, wanted uint32) [formCount]string {
	const (
		escapes = 1<<hexLower - 1<<jsonString
		numbers = 1<<base64Std - 1<<hexLower
		base64s = allForms - 1<<base64Std + 1
	)
	var f [formCount]string
	if wanted&escapes != 0 && strings.ContainsFunc(s, isSpecial) {
		escape(&f, s)
	}
	if wanted&numbers != 0 {
		f[hexLower] = hex.EncodeToString([]byte(s))
		f[hexUpper] = strings.ToUpper(f[hexLower])
		f[goBytes] = inner(fmt.Sprint([]byte(s)))
		f[jsonBytes] = strings.ReplaceAll(f[goBytes], " ", ",")
	}
	if wanted&base64s != 0 {
		inBase64(f[base64Std:], base64.RawStdEncoding, s)
		inBase64(f[base64URL:], base64.RawURLEncoding, s)
	}
	f[plain] = s
	for i := range f {
		if i != plain && f[i] == s || wanted&(1<<i) == 0 {
			f[i] = ""
		}
	}
	return f
}

func inBase64(f []string, encoding *base64.Encoding, s string) {
	f[0] = encoding.EncodeToString([]byte(s))
	for shift := range base64Shifts {
		f[1+shift] = base64Core(encoding, s, shift)
	}
}

// isSpecial reports whether any of the escaping forms may change r.
func isSpecial(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

func escape(f *[formCount]string, s string) {
	f[jsonString], f[jsonStringForHTML] = jsonText(s, false), jsonText(s, true)
	f[goString], f[goASCIIString] = inner(strconv.Quote(s)), inner(strconv.QuoteToASCII(s))
	f[jsonInJSON], f[goInJSON] = jsonText(f[jsonStringForHTML], false), jsonText(f[goString], false)

	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) //nolint:errcheck // a strings.Builder never fails
	f[xmlText] = b.String()
	// encoding/xml writes these two as numbers, others by their names.
	f[xmlTextByNames] = strings.ReplaceAll(strings.ReplaceAll(f[xmlText], "&#34;", "&quot;"), "&#39;", "&apos;")
	f[xmlTextMixed] = strings.ReplaceAll(strings.ReplaceAll(f[xmlText], "&#34;", "&quot;"), "&#39;", "&#x27;")

	f[urlWholePath], f[urlFragment] = (&url.URL{Path: s}).EscapedPath(), (&url.URL{Fragment: s}).EscapedFragment()
	f[urlQuery], f[urlPath] = url.QueryEscape(s), url.PathEscape(s)
	f[urlQueryWith20] = strings.ReplaceAll(f[urlQuery], "+", "%20")
	f[urlUserinfo] = strings.TrimPrefix(url.UserPassword("", s).String(), ":")
	for _, i := range []int{urlQuery, urlQueryWith20, urlPath, urlUserinfo} {
		f[i+1] = lowerPercent(f[i])
	}
}

// inner returns a text without the quotes or brackets around it.
func inner(s string) string { return s[1 : len(s)-1] }

// jsonText returns s as encoding/json writes it, without the quotes.
func jsonText(s string, escapeHTML bool) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escapeHTML)
	_ = e.Encode(s) //nolint:errcheck,errchkjson // a string can always be encoded
	return inner(strings.TrimSuffix(b.String(), "\n"))
}

// lowerPercent returns s with its percent escapes in lower case.
func lowerPercent(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i:], bytes.ToLower(b[i:i+3]))
		}
	}
	return string(b)
}

// base64Core returns the characters of a base64 text that s alone decides, if shift bytes of something else come before it
// in a group of three. One of the three shifts is right wherever s stands in what was encoded.
func base64Core(encoding *base64.Encoding, s string, shift int) string {
	text := encoding.EncodeToString(append(make([]byte, shift), s...))
	from := (shift*8 + 5) / 6      // the first character without a bit of what comes before
	to := (shift + len(s)) * 8 / 6 // behind the last one without a bit of what comes after
	return text[min(from, to):to]
}

// masker notes which bytes of a text belong to values.
type masker struct {
	text   string
	hidden []bool // nil if none is
	// starts is a set of hashes of all pieces of the text that are as long as the start of a needle, sparse enough to have
	// few false members.
	starts []uint64
	shift  int // of a hash, to an index of a bit in starts
}

func newMasker(text string) *masker {
	const (
		bitsPerStart = 32
		least, most  = 14, 26 // 2 KiB, 8 MiB
	)
	log := min(max(least, bits.Len(uint(bitsPerStart*len(text)))), most)
	m := &masker{text: text, starts: make([]uint64, 1<<log/64), shift: 32 - log}
	for i := range len(text) - shortest + 1 {
		h := m.hash([shortest]byte([]byte(text[i : i+shortest])))
		m.starts[h/64] |= 1 << (h % 64)
	}
	return m
}

func (m *masker) hash(s [shortest]byte) uint32 {
	const golden = 0x9E3779B1 // 2³² divided by the golden ratio
	return binary.LittleEndian.Uint32(s[:]) * golden >> m.shift
}

// hide hides n, in all its forms. It returns how many bytes it has passed over for that, about.
func (m *masker) hide(n *needle) (work int) {
	if len(n.text) > len(m.text) {
		return 0
	}
	if h := m.hash(n.start); m.starts[h/64]&(1<<(h%64)) == 0 {
		return 0
	}
	work = len(m.text)
	if !strings.Contains(m.text, string(n.start[:])) {
		return work
	}
	for _, text := range forms(n.text, n.forms) {
		if text != "" {
			m.hideText(text)
			work += len(m.text)
		}
	}
	return work
}

// hideText hides all occurrences of text, also those that overlap. It takes a time that is linear in both texts, however
// often one repeats itself: it is the search of Knuth, Morris and Pratt, from the first occurrence on.
func (m *masker) hideText(text string) {
	first := strings.Index(m.text, text)
	if first < 0 {
		return
	}
	if m.hidden == nil {
		m.hidden = make([]bool, len(m.text))
	}
	borders := borders(text)
	matched := 0
	hidden := first // up to here it is done
	for i := first; i < len(m.text); i++ {
		for matched > 0 && m.text[i] != text[matched] {
			matched = borders[matched-1]
		}
		if m.text[i] == text[matched] {
			matched++
		}
		if matched == len(text) {
			for hidden = max(hidden, i+1-len(text)); hidden <= i; hidden++ {
				m.hidden[hidden] = true
			}
			matched = borders[matched-1]
		}
	}
}

// borders returns, for each beginning of text, the length of the longest shorter text that it both begins and ends with.
func borders(text string) []int {
	all := make([]int, len(text))
	matched := 0
	for i := 1; i < len(text); i++ {
		for matched > 0 && text[i] != text[matched] {
			matched = all[matched-1]
		}
		if text[i] == text[matched] {
			matched++
		}
		all[i] = matched
	}
	return all
}

// String returns the text with a mark in the place of each stretch of hidden bytes.
func (m *masker) String() string {
	if m.hidden == nil {
		return m.text
	}
	var b strings.Builder
	for i := range len(m.text) {
		switch {
		case !m.hidden[i]:
			b.WriteByte(m.text[i])
		case i == 0 || !m.hidden[i-1]:
			b.WriteString(redacted)
		}
	}
	return b.String()
}

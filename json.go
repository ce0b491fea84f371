package secrets

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	textrule "github.com/seed-5482dd03/secrets/internal/text"
)

// This file parses the JSON of a secret by hand. encoding/json takes the last of duplicate keys, replaces lone surrogates and invalid
// UTF-8, and quotes the document in its errors. json.Valid checks the syntax first; the scanner relies on that.

// maxDepth is the maximum nesting of objects and arrays in a document. Every version of encoding/json allows at least that.
const maxDepth = 10_000

func malformed(detail string) *Error { return NewError(ErrMalformed, detail) }

// checkDocument returns an error unless text is one JSON value in valid UTF-8, without lone surrogates. Objects, at any depth, must not
// have two keys that encoding/json takes for the same.
func checkDocument(text string) *Error {
	if err := checkSyntax(text); err != nil {
		return err
	}
	s := scanner{text: text, strict: true, folded: true}
	s.value()
	return s.err
}

func checkSyntax(text string) *Error {
	switch {
	case textrule.IsUTF16(text):
		return malformed("the document is in UTF-16; JSON must be in UTF-8")
	case !utf8.ValidString(text):
		return malformed("the document is not valid UTF-8")
	case strings.HasPrefix(text, "\ufeff"):
		return malformed("the document begins with a byte order mark; JSON must not")
	}
	if tooDeep(text) {
		return malformed("the document is nested more than " + strconv.Itoa(maxDepth) + " levels deep")
	}
	if !json.Valid([]byte(text)) {
		return malformed("the document is not JSON, or not JSON alone")
	}
	return nil
}

// tooDeep reports whether the nesting of text exceeds maxDepth. text may be invalid JSON.
func tooDeep(text string) bool {
	if len(text) <= maxDepth {
		return false
	}
	depth := 0
	for i := 0; i < len(text) && depth <= maxDepth; i++ {
		switch text[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		}
	}
	return depth > maxDepth
}

// object maps the keys of a JSON object to the raw texts of their values.
type object map[string]string

// parseObject parses text as a JSON object. The rules are those of [checkDocument], except that keys may differ only in case:
// [Secret.Field] distinguishes them.
func parseObject(text string) (object, *Error) {
	if err := checkSyntax(text); err != nil {
		return nil, err
	}
	s := scanner{text: text, strict: true}
	if s.space(); s.peek() != '{' {
		return nil, malformed("the document is not a JSON object")
	}
	o := make(object)
	s.members(func(key string) bool {
		if _, twice := o[key]; twice {
			s.err = twiceInOne()
		}
		o[key] = s.value()
		return true
	})
	return o, s.err
}

// field returns the value of a field; see [Secret.Field].
func (o object) field(name string) (string, *Error) {
	raw, found := o[name]
	if !found {
		first, rest, _ := strings.Cut(name, ".")
		if raw, found = o[first]; found {
			raw, found = descend(raw, rest)
		}
	}
	switch {
	case !found:
		return "", &Error{Err: ErrFieldNotFound, Detail: "the document has no field " + printable(name) + "; " + o.fields(name)}
	case raw == "null":
		return "", &Error{Err: ErrFieldNotFound, Detail: "the field " + printable(name) + " is null"}
	case raw[0] == '"':
		s := scanner{text: raw}
		return s.string(), nil
	default:
		return raw, nil
	}
}

// maxListed is the maximum number of fields that an error lists. More would fill a screen, and take time to sort.
const maxListed = 16

// fields lists the fields of o, or suggests the one that name probably means. Names of fields are not secret.
func (o object) fields(name string) string {
	var near, all []string
	for field := range o {
		if sameLetters(field, name) {
			near = append(near, printable(field))
		}
		if len(o) <= maxListed {
			all = append(all, printable(field))
		}
	}
	slices.Sort(near)
	slices.Sort(all)
	switch {
	case len(near) > 0:
		return "did you mean " + near[0] + "?"
	case len(o) == 0:
		return "it has none"
	case len(o) == 1:
		return "its one field is " + all[0]
	case len(all) > 0:
		return "its fields are " + strings.Join(all, ", ")
	default:
		return "it has " + strconv.Itoa(len(o)) + " others"
	}
}

// sameLetters reports whether a and b differ only in case or in the separators of words: dbPassword, DB_PASSWORD.
func sameLetters(a, b string) bool {
	plain := strings.NewReplacer("_", "", "-", "", ".", "", " ", "")
	return strings.EqualFold(plain.Replace(a), plain.Replace(b))
}

// descend returns the raw text at a dotted path in text, which is valid JSON. It scans each part of text once, for any length of path.
func descend(text, path string) (raw string, found bool) {
	s := scanner{text: text}
	for step := range strings.SplitSeq(path, ".") {
		if !s.enter(step) {
			return "", false
		}
	}
	return s.value(), true
}

// scanner scans text that json.Valid has accepted. If strict is set, it records in err what json.Valid accepts and a secret must not have:
// duplicate keys and lone surrogates. If folded is set, keys that differ only in case are duplicates too. Each method starts at pos and
// sets pos to the end of what it has read.
type scanner struct {
	text   string
	pos    int
	strict bool
	folded bool
	err    *Error
}

func (s *scanner) peek() byte { return s.text[s.pos] }

func (s *scanner) space() {
	for s.pos < len(s.text) && strings.IndexByte(" \t\r\n", s.text[s.pos]) >= 0 {
		s.pos++
	}
}

// value reads one value and the space around it, and returns the raw text of the value.
func (s *scanner) value() string {
	s.space()
	start := s.pos
	switch s.peek() {
	case '{':
		var seen map[string]string
		if s.strict {
			seen = make(map[string]string)
		}
		s.members(func(key string) bool {
			if s.strict {
				s.note(seen, key)
			}
			s.value()
			return true
		})
	case '[':
		s.elements(func(int) bool {
			s.value()
			return true
		})
	case '"':
		s.string()
	default:
		for s.pos < len(s.text) && strings.IndexByte(" \t\r\n,]}", s.text[s.pos]) < 0 {
			s.pos++
		}
	}
	raw := s.text[start:s.pos]
	s.space()
	return raw
}

// note adds key to the seen keys of one object. A duplicate sets err.
func (s *scanner) note(seen map[string]string, key string) {
	name := key
	if s.folded {
		name = fold(key)
	}
	switch other, twice := seen[name]; {
	case !twice:
		seen[name] = key
	case other == key:
		s.err = twiceInOne()
	default:
		s.err = malformed("the keys " + keyName(other) + " and " + keyName(key) + " of one object differ only in case; " +
			"remove one of them, or read the field with Secret.Field")
	}
}

// fold returns the same text for all keys that encoding/json matches to one field of a struct.
func fold(key string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, key)
}

// enter moves to the member name of the object at pos, or to the element with the index name of the array at pos.
func (s *scanner) enter(name string) (found bool) {
	s.space()
	switch s.peek() {
	case '{':
		s.members(func(key string) bool {
			if found = key == name; !found {
				s.value()
			}
			return !found
		})
	case '[':
		index, err := strconv.Atoi(name)
		if err != nil || strconv.Itoa(index) != name {
			return false
		}
		s.elements(func(i int) bool {
			if found = i == index; !found {
				s.value()
			}
			return !found
		})
	}
	return found
}

// members calls yield before the value of each member of an object. yield must read the value, or return false to stop.
func (s *scanner) members(yield func(key string) bool) {
	s.pos++ // {
	for s.space(); s.peek() != '}'; s.space() {
		key := s.string()
		s.space()
		s.pos++ // :
		if !yield(key) {
			return
		}
		if s.peek() == ',' {
			s.pos++
		}
	}
	s.pos++
}

// elements calls yield before each element of an array. yield must read the element, or return false to stop.
func (s *scanner) elements(yield func(i int) bool) {
	s.pos++ // [
	s.space()
	for i := 0; s.peek() != ']'; i++ {
		if !yield(i) {
			return
		}
		if s.peek() == ',' {
			s.pos++
		}
	}
	s.pos++
}

func twiceInOne() *Error { return malformed("the document has the same key twice in one object") }

// string reads a string literal and returns it unquoted.
func (s *scanner) string() string {
	s.pos++ // "
	start := s.pos
	for s.peek() != '"' && s.peek() != '\\' {
		s.pos++
	}
	if s.peek() == '"' { // no escapes
		s.pos++
		return s.text[start : s.pos-1]
	}
	var b strings.Builder
	b.WriteString(s.text[start:s.pos])
	for s.peek() != '"' {
		if s.peek() == '\\' {
			b.WriteRune(s.escape())
			continue
		}
		b.WriteByte(s.peek())
		s.pos++
	}
	s.pos++
	return b.String()
}

// escape reads one escape sequence, or the two of a surrogate pair.
func (s *scanner) escape() rune {
	c := s.text[s.pos+1]
	s.pos += 2
	if i := strings.IndexByte(`bfnrt`, c); i >= 0 {
		return rune("\b\f\n\r\t"[i])
	}
	if c != 'u' {
		return rune(c)
	}
	r := s.hex4()
	if !utf16.IsSurrogate(r) {
		return r
	}
	if strings.HasPrefix(s.text[s.pos:], `\u`) {
		before := s.pos
		s.pos += 2
		if pair := utf16.DecodeRune(r, s.hex4()); pair != utf8.RuneError {
			return pair
		}
		s.pos = before
	}
	s.err = malformed("the document has half of a surrogate pair")
	return utf8.RuneError
}

func (s *scanner) hex4() rune {
	n, _ := strconv.ParseUint(s.text[s.pos:s.pos+4], 16, 16) //nolint:errcheck // json.Valid has checked the digits
	s.pos += 4
	return rune(n)
}

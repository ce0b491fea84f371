package secrets

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The JSON of a secret is read here by hand where encoding/json would change it silently: it takes the last of duplicate
// keys, replaces lone surrogates and invalid UTF-8, and quotes the document in its errors. What is valid JSON remains the
// judgement of encoding/json, so that the scanner below need not check syntax.

func malformed(detail string) *Error { return &Error{Err: ErrMalformed, Detail: detail} }

// checkDocument returns an error unless text is one JSON value in valid UTF-8, without duplicate keys at any depth and
// without lone surrogates.
func checkDocument(text string) *Error {
	if !utf8.ValidString(text) {
		return malformed("the document is not valid UTF-8")
	}
	if !json.Valid([]byte(text)) {
		return malformed("the document is not JSON, or not JSON alone")
	}
	s := scanner{text: text, strict: true}
	s.value()
	return s.err
}

// selectField returns the value of a field of the JSON object text; see [Secret.Field].
func selectField(text, field string) (string, *Error) {
	if err := checkDocument(text); err != nil {
		return "", err
	}
	if strings.TrimLeft(text, " \t\r\n")[0] != '{' {
		return "", malformed("the document is not a JSON object")
	}
	raw, found := member(text, field)
	if !found {
		raw, found = text, true
		for step := range strings.SplitSeq(field, ".") {
			if raw, found = member(raw, step); !found {
				break
			}
		}
	}
	switch {
	case !found:
		return "", &Error{Err: ErrFieldNotFound, Detail: "the document has no field " + printable(field)}
	case raw == "null":
		return "", &Error{Err: ErrFieldNotFound, Detail: "the field " + printable(field) + " is null"}
	case raw[0] == '"':
		s := scanner{text: raw}
		return s.string(), nil
	default:
		return raw, nil
	}
}

// member returns the raw text of the member name of an object, or of the element with that index of an array. The text
// has passed checkDocument.
func member(text, name string) (raw string, found bool) {
	s := scanner{text: text}
	s.space()
	switch s.peek() {
	case '{':
		s.object(func(key, value string) {
			if key == name {
				raw, found = value, true
			}
		})
	case '[':
		index, err := strconv.Atoi(name)
		if err != nil || strconv.Itoa(index) != name {
			return "", false
		}
		s.array(func(i int, value string) {
			if i == index {
				raw, found = value, true
			}
		})
	}
	return raw, found
}

// scanner walks over text that json.Valid has accepted. A strict one notes in err what json.Valid lets pass and a secret
// must not have. Each method starts at pos and leaves it behind what it has read.
type scanner struct {
	text   string
	pos    int
	strict bool
	err    *Error
}

func (s *scanner) peek() byte { return s.text[s.pos] }

func (s *scanner) space() {
	for s.pos < len(s.text) && strings.IndexByte(" \t\r\n", s.text[s.pos]) >= 0 {
		s.pos++
	}
}

// value reads one value with the space around it and returns its raw text.
func (s *scanner) value() string {
	s.space()
	start := s.pos
	switch s.peek() {
	case '{':
		if !s.strict {
			s.object(func(string, string) {})
			break
		}
		seen := make(map[string]struct{})
		s.object(func(key, _ string) {
			if _, twice := seen[key]; twice {
				s.err = malformed("the document has the same key twice in one object")
			}
			seen[key] = struct{}{}
		})
	case '[':
		s.array(func(int, string) {})
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

func (s *scanner) object(each func(key, value string)) {
	s.pos++ // {
	for s.space(); s.peek() != '}'; s.space() {
		key := s.string()
		s.space()
		s.pos++ // :
		each(key, s.value())
		if s.peek() == ',' {
			s.pos++
		}
	}
	s.pos++
}

func (s *scanner) array(each func(i int, value string)) {
	s.pos++ // [
	s.space()
	for i := 0; s.peek() != ']'; i++ {
		each(i, s.value())
		if s.peek() == ',' {
			s.pos++
		}
	}
	s.pos++
}

// string reads a string literal and returns what it stands for.
func (s *scanner) string() string {
	s.pos++ // "
	start := s.pos
	for s.peek() != '"' && s.peek() != '\\' {
		s.pos++
	}
	if s.peek() == '"' { // no escape in it
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

// escape reads one escape sequence, or two that are the halves of a surrogate pair.
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
	n, _ := strconv.ParseUint(s.text[s.pos:s.pos+4], 16, 16) //nolint:errcheck // json.Valid has seen to the digits
	s.pos += 4
	return rune(n)
}

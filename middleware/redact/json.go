package redact

import (
	"encoding/json"
	"iter"
	"strings"
	"unicode/utf8"
)

// leaf is a string or a number of a JSON document.
type leaf struct {
	written, meant string // what is meant is for strings only
	number         bool
}

// leaves returns each string and number of the JSON in text, as far as it is JSON: a document that is broken further on is
// still a secret. Keys are not secret. It ends where step, which is called for each token, returns false.
func leaves(text string, step func() bool) iter.Seq[leaf] {
	return func(yield func(leaf) bool) {
		s := scanner{text: text}
		if c := s.peek(); c != '{' && c != '[' && c != '"' {
			return // a number is all of its text, and the rest has no leaves
		}
		for step() {
			found, ok := s.next()
			if !ok || found.written != "" && !yield(found) {
				return
			}
		}
	}
}

// isDocument reports whether text is a JSON object or array.
func isDocument(text string) bool {
	s := scanner{text: text}
	if c := s.peek(); c != '{' && c != '[' {
		return false
	}
	for {
		if _, ok := s.next(); !ok {
			return false
		}
		if len(s.open) == 0 {
			return s.peek() == 0 && s.pos == len(text)
		}
	}
}

// scanner reads JSON token by token, to any depth. The depth at which encoding/json gives up depends on the version of Go,
// so encoding/json judges only single strings, numbers and words here.
type scanner struct {
	text  string
	pos   int
	open  []byte // the '{' and '[' that are not closed yet
	state state
}

// state is where a scanner stands between two tokens.
type state int

const (
	atStart state = iota // of the text, an object or an array
	afterKey
	afterValue
)

// peek skips space and returns the next byte, or 0 at the end of the text.
func (s *scanner) peek() byte {
	for s.pos < len(s.text) && strings.IndexByte(" \t\r\n", s.text[s.pos]) >= 0 {
		s.pos++
	}
	if s.pos == len(s.text) {
		return 0
	}
	return s.text[s.pos]
}

// next reads one token, with the comma before it and the colon after it. It returns an empty leaf for all but strings and
// numbers, and false where the text ends or stops being JSON. Values may follow one another without a comma outside of
// objects and arrays.
func (s *scanner) next() (found leaf, ok bool) {
	c := s.peek()
	var in byte
	if n := len(s.open); n > 0 {
		in = s.open[n-1]
	}
	if s.state != afterKey && (in == '{' && c == '}' || in == '[' && c == ']') {
		s.open = s.open[:len(s.open)-1]
		s.pos++
		s.state = afterValue
		return leaf{}, true
	}
	if s.state == afterValue && in != 0 {
		if c != ',' {
			return leaf{}, false
		}
		s.pos++
		c = s.peek()
	}
	if s.state != afterKey && in == '{' {
		return leaf{}, c == '"' && s.key()
	}
	return s.value(c)
}

// value reads a string or a word, or the beginning of an object or array. It begins with c.
func (s *scanner) value(c byte) (found leaf, ok bool) {
	s.state = afterValue
	switch c {
	case '{', '[':
		s.open = append(s.open, c)
		s.pos++
		s.state = atStart
		return leaf{}, true
	case '"':
		return s.string()
	default:
		return s.word()
	}
}

// key reads a key and the colon after it.
func (s *scanner) key() (ok bool) {
	if _, ok = s.string(); !ok || s.peek() != ':' {
		return false
	}
	s.pos++
	s.state = afterKey
	return true
}

// string reads a string literal. encoding/json decodes it if it is more than what is written.
func (s *scanner) string() (found leaf, ok bool) {
	start, plain := s.pos, true
	for s.pos++; s.pos < len(s.text) && s.text[s.pos] != '"'; s.pos++ {
		switch c := s.text[s.pos]; {
		case c == '\\':
			s.pos++
			plain = false
		case c < ' ':
			return leaf{}, false
		}
	}
	if s.pos >= len(s.text) {
		return leaf{}, false
	}
	s.pos++
	literal := s.text[start:s.pos]
	found = leaf{written: inner(literal), meant: inner(literal)}
	if plain && utf8.ValidString(literal) {
		return found, true
	}
	return found, json.Unmarshal([]byte(literal), &found.meant) == nil
}

// word reads a number, true, false or null.
func (s *scanner) word() (found leaf, ok bool) {
	letters, number := "aeflnrstu", false
	if c := s.peek(); c < 'a' {
		letters, number = "+-.0123456789Ee", true
	}
	text := s.text[s.pos:]
	literal := text[:len(text)-len(strings.TrimLeft(text, letters))]
	s.pos += len(literal)
	if number {
		found = leaf{written: literal, number: true}
	}
	return found, json.Valid([]byte(literal))
}

package appjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of a file. What is larger is an error, and is not read further.
const (
	MaxBytes  = 1 << 20
	maxDepth  = 32
	maxValues = 1 << 16
)

var bom = []byte("\xef\xbb\xbf")

// A kind is what a value of JSON is.
type kind string

const (
	isObject kind = "an object"
	isArray  kind = "an array"
	isString kind = "a string"
	isNumber kind = "a number"
	isBool   kind = "true or false"
	isNull   kind = "null"
)

// A node is a value, and where in the text it begins.
type node struct {
	kind    kind
	at      int
	text    string // of a string; of a number, true and false as it is written
	members []member
	elems   []*node
}

type member struct {
	key string
	at  int
	*node
}

// scalar tells whether a value can be read as text.
func (n *node) scalar() bool { return n.kind == isString || n.kind == isNumber || n.kind == isBool }

// A syntaxError ends the reading of a text.
type syntaxError struct {
	at   int
	path string
	text string
}

func (e *syntaxError) Error() string { return e.text }

// scanner reads JSON as RFC 8259 has it, with the place of every value and what a person did wrong.
type scanner struct {
	b      []byte
	i      int
	values int
	twice  func(m member, path string) // is told of a key that was there before
}

func (s *scanner) fail(at int, path, format string, args ...any) error {
	return &syntaxError{at, path, fmt.Sprintf(format, args...)}
}

// document reads the whole text as one value.
func (s *scanner) document() (*node, error) {
	s.space()
	n, err := s.value("", 0)
	if err != nil {
		return nil, err
	}
	s.space()
	if s.i < len(s.b) {
		return nil, s.unexpected("", "after the end of the file's value")
	}
	return n, nil
}

func (s *scanner) space() {
	for s.i < len(s.b) && strings.IndexByte(" \t\r\n", s.b[s.i]) >= 0 {
		s.i++
	}
}

// next is the next character that is no space; 0 is the end.
func (s *scanner) next() byte {
	s.space()
	if s.i == len(s.b) {
		return 0
	}
	return s.b[s.i]
}

func (s *scanner) value(path string, depth int) (*node, error) {
	if s.values++; s.values > maxValues {
		return nil, s.fail(s.i, path, "the file has more than %d values, the limit", maxValues)
	}
	if depth > maxDepth {
		return nil, s.fail(s.i, "", "objects and arrays are in each other more than %d deep, the limit", maxDepth)
	}
	n := &node{at: s.i}
	switch c := s.next(); {
	case c == '{':
		return s.object(n, path, depth)
	case c == '[':
		return s.array(n, path, depth)
	case c == '"':
		text, err := s.str(path)
		n.kind, n.text = isString, text
		return n, err
	case c == '-' || '0' <= c && c <= '9':
		return s.number(n, path)
	}
	for word, k := range map[string]kind{"true": isBool, "false": isBool, "null": isNull} {
		if bytes.HasPrefix(s.b[s.i:], []byte(word)) && !letter(s.b, s.i+len(word)) {
			n.kind, n.text = k, word
			s.i += len(word)
			return n, nil
		}
	}
	return nil, s.unexpected(path, "where a value should be")
}

func letter(b []byte, i int) bool {
	return i < len(b) && (b[i]|0x20 >= 'a' && b[i]|0x20 <= 'z' || b[i] >= '0' && b[i] <= '9' || b[i] == '_')
}

func (s *scanner) object(n *node, path string, depth int) (*node, error) {
	n.kind = isObject
	seen := map[string]int{} // where in members
	s.i++
	for s.next() != '}' {
		if len(n.members) > 0 {
			if err := s.comma(path, '}'); err != nil {
				return nil, err
			}
		}
		at := s.i
		if s.next() != '"' {
			return nil, s.unexpected(path, "where a key in double quotes should be")
		}
		key, err := s.str(path)
		if err != nil {
			return nil, err
		}
		inner := below(path, key)
		if s.next() != ':' {
			return nil, s.unexpected(inner, "where the colon after the key should be")
		}
		s.i++
		s.space()
		v, err := s.value(inner, depth+1)
		if err != nil {
			return nil, err
		}
		m := member{key, at, v}
		if i, twice := seen[key]; twice {
			s.twice(m, inner)
			n.members[i] = m
			continue
		}
		seen[key] = len(n.members)
		n.members = append(n.members, m)
	}
	s.i++
	return n, nil
}

func (s *scanner) array(n *node, path string, depth int) (*node, error) {
	n.kind = isArray
	s.i++
	for s.next() != ']' {
		if len(n.elems) > 0 {
			if err := s.comma(path, ']'); err != nil {
				return nil, err
			}
		}
		v, err := s.value(element(path, len(n.elems)), depth+1)
		if err != nil {
			return nil, err
		}
		n.elems = append(n.elems, v)
	}
	s.i++
	return n, nil
}

// comma reads what stands between two members.
func (s *scanner) comma(path string, end byte) error {
	if s.next() != ',' {
		return s.unexpected(path, fmt.Sprintf("where a comma or %q should be", string(end)))
	}
	at := s.i
	s.i++
	if s.next() == end {
		return s.fail(at, path, "a comma stands before the closing %q: remove it", string(end))
	}
	return nil
}

// str reads a string: what it means, not how it is written.
func (s *scanner) str(path string) (string, error) {
	start := s.i
	for s.i++; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '\\':
			s.i++
		case c == '\n' || c == '\r':
			return "", s.fail(start, path, `the line ends within a string: its closing quote is missing, or write \n for a line break`)
		case c < ' ':
			return "", s.fail(s.i, path, `the control character %q stands within a string: write \u%04x`, c, c)
		case c == '"':
			s.i++
			var text string
			if err := json.Unmarshal(s.b[start:s.i], &text); err != nil {
				return "", s.fail(start, path, "the string has a backslash before a character that needs none, or no four digits behind \\u")
			}
			return text, nil
		}
	}
	return "", s.fail(start, path, "the file ends within a string: its closing quote is missing")
}

func (s *scanner) number(n *node, path string) (*node, error) {
	start := s.i
	for s.i < len(s.b) && (letter(s.b, s.i) || strings.IndexByte("+-.", s.b[s.i]) >= 0) {
		s.i++
	}
	n.kind, n.text = isNumber, string(s.b[start:s.i])
	if !json.Valid(s.b[start:s.i]) {
		return nil, s.fail(start, path, "%s is no number as JSON has them", quoted(n.text))
	}
	return n, nil
}

// unexpected says what stands somewhere, and what is wrong with it when we know.
func (s *scanner) unexpected(path, where string) error {
	rest := s.b[s.i:]
	r, size := utf8.DecodeRune(rest)
	switch {
	case len(rest) == 0:
		return s.fail(s.i, path, "the file ends %s", where)
	case rest[0] == '/' || rest[0] == '#':
		return s.fail(s.i, path, "JSON has no comments, and one stands %s: remove it", where)
	case rest[0] == '\'' || r == '“' || r == '”' || r == '‘':
		return s.fail(s.i, path, "%s stands %s: JSON has straight double quotes only", quoted(string(r)), where)
	case letter(rest, 0):
		word := 0
		for letter(rest, word) {
			word++
		}
		return s.fail(s.i, path, "%s stands %s, and is in no quotes", quoted(string(rest[:word])), where)
	}
	return s.fail(s.i, path, "%s stands %s", quoted(string(rest[:size])), where)
}

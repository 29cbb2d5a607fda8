package cnb

import (
	"bytes"
	"fmt"
)

// checkShape scans TOML text for nesting and number of keys without building anything, because parsers
// take quadratic time or deep recursion on such text. It need not judge syntax: where the text is not TOML
// it may stop early, as the parser will. An empty what means that the limits hold.
func checkShape(b []byte) (line int, what string) {
	s := shape{b: b, line: 1}
	for s.what == "" && s.i < len(s.b) {
		s.statement()
	}
	return s.line, s.what
}

type shape struct {
	b      []byte
	i      int
	line   int
	keys   int
	header int // segments of the table header in force
	what   string
}

// statement reads one header or one key with its value.
func (s *shape) statement() {
	switch c := s.b[s.i]; {
	case c == '\n':
		s.line++
		s.i++
	case c == ' ' || c == '\t' || c == '\r':
		s.i++
	case c == '#':
		s.comment()
	case c == '[':
		s.i++
		if s.i < len(s.b) && s.b[s.i] == '[' {
			s.i++
		}
		s.header = s.key(']', 0)
		for s.i < len(s.b) && s.b[s.i] != '\n' { // the closing bracket and what may follow it
			if s.b[s.i] == '#' {
				s.comment()
				return
			}
			s.i++
		}
	default:
		n := s.key('=', s.header)
		s.i++ // '='
		s.value(s.header + n)
	}
}

// key reads a dotted key up to (not including) end or the end of the line, below depth outer keys.
func (s *shape) key(end byte, outer int) int {
	n := 1
	s.count(1, outer+n)
	for s.i < len(s.b) && s.what == "" {
		switch c := s.b[s.i]; c {
		case end, '\n':
			return n
		case '.':
			n++
			s.count(1, outer+n)
			s.i++
		case '"', '\'':
			s.str()
		default:
			s.i++
		}
	}
	return n
}

func (s *shape) count(keys, depth int) {
	s.keys += keys
	switch {
	case depth > maxDepth:
		s.what = fmt.Sprintf("nested deeper than %d levels", maxDepth)
	case s.keys > maxKeys:
		s.what = fmt.Sprintf("more than %d keys", maxKeys)
	}
}

// value reads to the end of a value, arrays and inline tables included. depth is the number of keys around it.
func (s *shape) value(depth int) {
	type level struct {
		table bool
		keys  int // segments of the key being read inside an inline table
	}
	var stack []level
	inKey := false
	for s.i < len(s.b) && s.what == "" {
		c := s.b[s.i]
		switch {
		case c == '"' || c == '\'':
			s.str()
			continue
		case c == '#':
			s.comment()
			continue
		case c == '\n':
			if len(stack) == 0 {
				return
			}
			s.line++
		case c == '[' || c == '{':
			stack = append(stack, level{table: c == '{'})
			depth++
			s.count(0, depth)
			inKey = c == '{'
		case (c == ']' || c == '}') && len(stack) > 0:
			depth -= 1 + stack[len(stack)-1].keys
			stack = stack[:len(stack)-1]
			inKey = false
		case c == ',' && len(stack) > 0:
			top := &stack[len(stack)-1]
			depth -= top.keys
			top.keys = 0
			inKey = top.table
		case inKey && c != ' ' && c != '\t' && c != '\r':
			n := s.key('=', depth)
			stack[len(stack)-1].keys = n
			depth += n
			inKey = false
			continue
		}
		s.i++
	}
}

func (s *shape) comment() {
	if n := bytes.IndexByte(s.b[s.i:], '\n'); n >= 0 {
		s.i += n
	} else {
		s.i = len(s.b)
	}
}

// str reads one string of any of TOML's four kinds. An unterminated one ends the scan or the line.
func (s *shape) str() {
	q := s.b[s.i]
	triple := []byte{q, q, q}
	if bytes.HasPrefix(s.b[s.i:], triple) {
		s.i += 3
		for s.i < len(s.b) {
			switch {
			case bytes.HasPrefix(s.b[s.i:], triple):
				for s.i < len(s.b) && s.b[s.i] == q { // up to five quotes may end it
					s.i++
				}
				return
			case s.b[s.i] == '\\' && q == '"':
				s.i++
			}
			if s.i < len(s.b) {
				if s.b[s.i] == '\n' {
					s.line++
				}
				s.i++
			}
		}
		return
	}
	for s.i++; s.i < len(s.b) && s.b[s.i] != '\n'; s.i++ {
		switch {
		case s.b[s.i] == q:
			s.i++
			return
		case s.b[s.i] == '\\' && q == '"':
			s.i++
			if s.i < len(s.b) && s.b[s.i] == '\n' {
				return
			}
		}
	}
}

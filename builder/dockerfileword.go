package builder

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// check makes sure that an instruction exists and has the arguments without which it means nothing.
func (i dockerInstruction) check(escape byte) error {
	switch i.name {
	case "FROM":
		return nil // read with its place in the file
	case "RUN", "CMD", "ENTRYPOINT":
	case "MAINTAINER", "EXPOSE", "USER", "VOLUME", "WORKDIR", "STOPSIGNAL", "HEALTHCHECK", "ONBUILD", "ARG", "ENV", "LABEL", "ADD", "COPY", "SHELL":
		if i.args == "" {
			return fmt.Errorf("%s without an argument", i.name)
		}
	default:
		return fmt.Errorf("there is no instruction %s", clipped(i.name))
	}
	words, _ := dockerWords(i.args, escape)
	switch i.name {
	case "ARG":
		return named(i.name, words)
	case "ENV", "LABEL":
		if len(words) > 0 && !strings.Contains(words[0], "=") { // the older form, NAME value
			if len(dockerSpace.Split(i.args, 2)) < 2 {
				return fmt.Errorf("%s of %s without a value", i.name, clipped(i.args))
			}
			return nil
		}
		for _, w := range words {
			if !strings.Contains(w, "=") {
				return fmt.Errorf("%s: %s has no =", i.name, clipped(w))
			}
		}
		return named(i.name, words)
	case "ADD", "COPY":
		if n, ok := stringArray(i.args); ok && n < 2 || !ok && len(dockerSpace.Split(i.args, -1)) < 2 {
			return fmt.Errorf("%s without a destination", i.name)
		}
	case "SHELL":
		if n, ok := stringArray(i.args); !ok || n == 0 {
			return fmt.Errorf("SHELL wants a JSON array of strings")
		}
	case "ONBUILD":
		return onbuild(i.args)
	}
	return nil
}

func named(instruction string, words []string) error {
	for _, w := range words {
		if strings.HasPrefix(w, "=") {
			return fmt.Errorf("%s of a variable without a name", instruction)
		}
	}
	return nil
}

func onbuild(args string) error {
	switch name := strings.ToUpper(dockerSpace.Split(args, 2)[0]); name {
	case "ONBUILD", "FROM", "MAINTAINER":
		return fmt.Errorf("ONBUILD of %s", name)
	}
	return nil
}

// stringArray reads s as a JSON array of strings and counts them.
func stringArray(s string) (int, bool) {
	var a []string
	if !strings.HasPrefix(s, "[") || json.Unmarshal([]byte(s), &a) != nil {
		return 0, false
	}
	return len(a), true
}

func isStringArray(s string) bool {
	_, ok := stringArray(s)
	return ok
}

func isDockerSpace(c byte) bool { return strings.IndexByte(" \t\v\f\r\n", c) >= 0 }

// dockerWords splits at spaces outside of quotes; quotes and escape characters stay. closed is false where a quote
// has no end.
func dockerWords(s string, escape byte) (words []string, closed bool) {
	for {
		for s != "" && isDockerSpace(s[0]) {
			s = s[1:]
		}
		if s == "" {
			return words, true
		}
		n := wordEnd(s, escape)
		words = append(words, s[:n])
		if n == len(s) {
			return words, quotesClosed(s, escape)
		}
		s = s[n:]
	}
}

// wordEnd is the length of the word at the beginning of s.
func wordEnd(s string, escape byte) int {
	n, _ := scanWord(s, escape)
	return n
}

func quotesClosed(word string, escape byte) bool {
	_, closed := scanWord(word, escape)
	return closed
}

func scanWord(s string, escape byte) (n int, closed bool) {
	var quote byte
	for ; n < len(s); n++ {
		c := s[n]
		switch {
		case c == escape && quote != '\'':
			n++ // whatever comes next is part of the word
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case isDockerSpace(c):
			return n, true
		}
	}
	return len(s), quote == 0
}

// A heredoc is the beginning of a here-document, "<<NAME" or "<<-NAME".
type heredoc struct {
	name string
	tabs bool // tabs before the end marker do not count
}

var heredocWord = regexp.MustCompile(`^\d*<<(-?)\s*([^<]*)$`)

// heredocs finds the here-documents that a line begins. A line with an open quote has none.
func heredocs(line string) []heredoc {
	words, closed := dockerWords(line, '\\')
	if !closed {
		return nil
	}
	var out []heredoc
	for _, w := range words {
		if m := heredocWord.FindStringSubmatch(w); m != nil {
			if name := unquoted(m[2]); name != "" {
				out = append(out, heredoc{name: name, tabs: m[1] == "-"})
			}
		}
	}
	return out
}

// unquoted is a word as a shell would read it.
func unquoted(s string) string {
	var b strings.Builder
	var quote byte
	for n := 0; n < len(s); n++ {
		c := s[n]
		switch {
		case c == '\\' && quote == 0 && n+1 < len(s):
			n++
			b.WriteByte(s[n])
		case c == '\\' && quote == '"' && n+1 < len(s) && strings.IndexByte("\"$\\", s[n+1]) >= 0:
			n++
			b.WriteByte(s[n])
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// skipHeredoc reads to the end marker; it reports false where there is none.
func (r *dockerReader) skipHeredoc(h heredoc) bool {
	for r.at < len(r.lines) {
		line := bytes.TrimRight(r.lines[r.at], "\r\n")
		r.at++
		if h.tabs {
			line = bytes.TrimLeft(line, "\t")
		}
		if string(line) == h.name {
			return true
		}
	}
	return false
}

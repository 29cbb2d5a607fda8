package builder

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A dockerfile is what of a Dockerfile matters before somebody applies it: its stages and what stands in them. The
// arguments of most instructions are looked at only as far as it takes to tell where the next instruction is.
type dockerfile struct {
	args   []string // names of the first variable of each ARG before the first FROM
	stages []dockerStage
}

// A dockerStage is a FROM with the instructions behind it.
type dockerStage struct {
	base         string // as written: no variable is replaced
	instructions []dockerInstruction
}

// A dockerInstruction is one instruction, its continuation lines joined.
type dockerInstruction struct {
	name string // in capitals
	line int    // where it starts, from 1
	args string // flags left out
	json bool   // args is a JSON array
}

// parseDockerfile reads a Dockerfile. An error names the line.
func parseDockerfile(b []byte) (dockerfile, error) {
	r := dockerReader{lines: bytes.SplitAfter(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), []byte("\n")), escape: '\\'}
	if err := r.directives(); err != nil {
		return dockerfile{}, err
	}
	var out dockerfile
	for {
		text, line, ok := r.next()
		if !ok {
			break
		}
		i, err := r.instruction(text, line)
		if err == nil {
			err = out.add(i)
		}
		if err != nil {
			return dockerfile{}, fmt.Errorf("line %d: %w", line, err)
		}
	}
	if len(out.stages) == 0 && len(out.args) == 0 {
		return dockerfile{}, fmt.Errorf("it has no instructions")
	}
	return out, nil
}

func (f *dockerfile) add(i dockerInstruction) error {
	switch {
	case i.name == "FROM":
		base, err := fromArgs(i.args)
		f.stages = append(f.stages, dockerStage{base: base})
		return err
	case len(f.stages) > 0:
		s := &f.stages[len(f.stages)-1]
		s.instructions = append(s.instructions, i)
		return nil
	case i.name == "ARG":
		words, _ := dockerWords(i.args, '\\')
		name, _, _ := strings.Cut(words[0], "=")
		f.args = append(f.args, name)
		return nil
	}
	return fmt.Errorf("%s stands before the first FROM", i.name)
}

var stageName = regexp.MustCompile(`^[a-z][a-z0-9_.-]*$`)

// fromArgs reads what follows FROM: an image, and maybe "AS name".
func fromArgs(args string) (string, error) {
	words := dockerSpace.Split(args, -1)
	switch {
	case args != "" && len(words) == 1:
	case len(words) != 3 || !strings.EqualFold(words[1], "as"):
		return "", fmt.Errorf("FROM wants an image, or an image with AS and a name")
	case !stageName.MatchString(strings.ToLower(words[2])):
		return "", fmt.Errorf("%s is no name for a stage", clipped(words[2]))
	}
	return words[0], nil
}

// clipped shows a piece of a file in a message: on one line and not longer than a reader wants.
func clipped(s string) string {
	if len(s) > 100 {
		return strconv.Quote(s[:100]) + "..."
	}
	return strconv.Quote(s)
}

// dockerReader takes instructions out of a file.
type dockerReader struct {
	lines  [][]byte
	at     int // lines that were read
	escape byte
}

var (
	dockerSpace     = regexp.MustCompile(`[\t\v\f\r ]+`)
	dockerDirective = regexp.MustCompile(`^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$`)
)

// directives reads the comments at the very beginning that change how the rest is read.
func (r *dockerReader) directives() error {
	seen := map[string]bool{}
	for ; r.at < len(r.lines); r.at++ {
		m := dockerDirective.FindSubmatch(bytes.TrimSpace(r.lines[r.at]))
		if m == nil {
			return nil
		}
		key, value := strings.ToLower(string(m[1])), string(m[2])
		switch {
		case key != "escape" && key != "syntax" && key != "check":
			return nil
		case seen[key]:
			return fmt.Errorf("line %d: a second directive %s", r.at+1, key)
		case key == "escape" && value != "`" && value != `\`:
			return fmt.Errorf("line %d: escape is %s, which is neither \\ nor `", r.at+1, clipped(value))
		case key == "escape":
			r.escape = value[0]
		}
		seen[key] = true
	}
	return nil
}

// next is the next instruction with its continuation lines, and the line where it starts. Empty lines and comments
// are left out, between the lines of an instruction too.
func (r *dockerReader) next() (text string, start int, ok bool) {
	var b strings.Builder
	open := false // a continuation is expected
	for r.at < len(r.lines) {
		line := bytes.TrimRight(r.lines[r.at], "\r\n")
		r.at++
		trimmed := bytes.TrimSpace(line)
		if len(trimmed) == 0 || trimmed[0] == '#' {
			continue
		}
		if !open {
			line, start = bytes.TrimLeft(line, " \t\v\f\r"), r.at
		}
		line, open = r.continued(line)
		b.Write(line)
		if !open {
			return b.String(), start, true
		}
	}
	return b.String(), start, start > 0
}

// continued takes the escape character off a line that goes on in the next one. A doubled one does not count.
func (r *dockerReader) continued(line []byte) ([]byte, bool) {
	t := bytes.TrimRight(line, " \t")
	n := len(t) - 1
	if n < 0 || t[n] != r.escape || n > 0 && t[n-1] == r.escape {
		return line, false
	}
	return t[:n], true
}

// instruction reads one joined line, and the here-documents behind it.
func (r *dockerReader) instruction(text string, line int) (dockerInstruction, error) {
	i := splitInstruction(text, r.escape)
	i.line = line
	if err := i.check(r.escape); err != nil {
		return i, err
	}
	inner := i
	if i.name == "ONBUILD" {
		inner = splitInstruction(i.args, r.escape)
	}
	if !slices.Contains([]string{"ADD", "COPY", "RUN"}, inner.name) || inner.json {
		return i, nil
	}
	for _, h := range heredocs(text) {
		if !r.skipHeredoc(h) {
			return i, fmt.Errorf("the here-document %s has no end", clipped(h.name))
		}
	}
	return i, nil
}

func splitInstruction(text string, escape byte) dockerInstruction {
	parts := dockerSpace.Split(strings.TrimSpace(text), 2)
	i := dockerInstruction{name: strings.ToUpper(parts[0])}
	if len(parts) > 1 {
		i.args = strings.TrimSpace(withoutFlags(parts[1], escape))
	}
	i.json = isStringArray(i.args)
	return i
}

// withoutFlags takes words that begin with "--" off the front; "--" alone ends them.
func withoutFlags(s string, escape byte) string {
	for {
		s = strings.TrimLeft(s, " \t\v\f\r")
		if !strings.HasPrefix(s, "--") {
			return s
		}
		n := wordEnd(s, escape)
		last := s[:n] == "--"
		if s = s[n:]; last {
			return s
		}
	}
}

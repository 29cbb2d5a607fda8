package base

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"
)

// tail passes messages on and remembers the last ones, for the error. Safe for concurrent use.
type tail struct {
	to    io.Writer // may be nil
	mu    sync.Mutex
	first []string // lines that say what went wrong; what follows them may push them out of lines
	lines []string
	part  []byte
}

const (
	tailCauses = 4
	tailLines  = 12
	tailBytes  = 1000 // of one line
)

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for rest := p; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		t.part = append(t.part, line[:min(len(line), max(0, tailBytes-len(t.part)))]...)
		if whole {
			if isCause(t.part) && len(t.first) < tailCauses {
				t.first = append(t.first, string(t.part))
			}
			t.lines = append(t.lines, string(t.part))
			t.lines = t.lines[max(0, len(t.lines)-tailLines):]
			t.part = t.part[:0]
		}
		rest = after
	}
	if t.to == nil {
		return len(p), nil
	}
	return t.to.Write(p)
}

// isCause knows the lines by which dpkg and apt say what failed, long before they give up.
func isCause(line []byte) bool {
	for _, prefix := range []string{"dpkg: error", "dpkg-deb: error", "Err:", "E: "} {
		if bytes.HasPrefix(line, []byte(prefix)) {
			return true
		}
	}
	return false
}

// String is the lines that say what went wrong and the last lines, each indented on a line of its own.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	causes := slices.DeleteFunc(slices.Clone(t.first), func(l string) bool { return slices.Contains(t.lines, l) })
	for _, l := range slices.Concat(causes, t.lines, []string{string(t.part)}) {
		if strings.TrimSpace(l) != "" {
			b.WriteString("\n    " + l)
		}
	}
	return b.String()
}

package base

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// tail passes messages on and remembers the last ones, for the error. Safe for concurrent use.
type tail struct {
	to    io.Writer // may be nil
	mu    sync.Mutex
	lines []string
	part  []byte
}

const (
	tailLines = 12
	tailBytes = 1000 // of one line
)

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for rest := p; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		t.part = append(t.part, line[:min(len(line), max(0, tailBytes-len(t.part)))]...)
		if whole {
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

// String is the last lines, each indented on a line of its own.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, l := range append(t.lines, string(t.part)) {
		if strings.TrimSpace(l) != "" {
			b.WriteString("\n    " + l)
		}
	}
	return b.String()
}

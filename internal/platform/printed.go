package platform

import (
	"bytes"
	"io"
	"sync"

	"github.com/slipway-build/slipway/internal/agent"
)

// shown is where one stream of an executable goes: to the UI, and its last lines to a place of their own. It is an
// agent.BoundedWriter for a UI that has one, and never full for another.
type shown struct {
	ui   io.Writer
	last *locked
}

func (s *shown) Write(p []byte) (int, error) {
	if n, err := s.ui.Write(p); err != nil {
		return n, err
	}
	return s.last.Write(p)
}

// Full asks the UI: the last lines are in any output's end.
func (s *shown) Full() bool {
	b, ok := s.ui.(agent.BoundedWriter)
	return ok && b.Full()
}

// Skip tells the UI.
func (s *shown) Skip(bytes, lines int64) {
	if b, ok := s.ui.(agent.BoundedWriter); ok {
		b.Skip(bytes, lines)
	}
}

// locked serialises the two streams of one process into one writer.
type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// capped keeps the first MiB written to it.
type capped struct {
	buf  bytes.Buffer
	lost bool
}

const maxDetectOutput = 1 << 20

func (c *capped) Write(p []byte) (int, error) {
	if room := maxDetectOutput - c.buf.Len(); len(p) <= room {
		c.buf.Write(p)
	} else {
		c.buf.Write(p[:room])
		c.lost = true
	}
	return len(p), nil
}

func (c *capped) bytes() []byte {
	if c.lost {
		c.buf.WriteString("\n[output beyond 1 MiB was left out]\n")
	}
	return c.buf.Bytes()
}

// lines keeps the last few lines written to it, each cut at 1,000 bytes.
type lines struct {
	done [][]byte
	cur  []byte
}

const (
	keptLines = 10
	keptWidth = 1000
)

func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	if at := lastLines(p); at > 0 {
		l.cur, p = l.cur[:0], p[at:]
	}
	for len(p) > 0 {
		line, rest, ended := bytes.Cut(p, []byte("\n"))
		if room := keptWidth - len(l.cur); room > 0 {
			l.cur = append(l.cur, line[:min(room, len(line))]...)
		}
		if ended {
			l.end()
		}
		p = rest
	}
	return n, nil
}

// lastLines is where the last lines of p begin that are kept; 0 if there are not as many, and what was before counts.
func lastLines(p []byte) int {
	end := bytes.LastIndexByte(p, '\n')
	for found := 0; found < keptLines; {
		if end < 0 {
			return 0
		}
		begin := bytes.LastIndexByte(p[:end], '\n')
		if len(bytes.TrimSpace(p[begin+1:end])) > 0 {
			found++
		}
		end = begin
	}
	return end + 1
}

func (l *lines) end() {
	if s := bytes.TrimSpace(l.cur); len(s) > 0 {
		if len(l.done) < keptLines {
			l.done = append(l.done, nil)
		} else {
			first := l.done[0]
			copy(l.done, l.done[1:])
			l.done[keptLines-1] = first
		}
		last := &l.done[len(l.done)-1]
		*last = append((*last)[:0], s...)
	}
	l.cur = l.cur[:0]
}

// all is the kept lines, the oldest first.
func (l *lines) all() (all []string) {
	l.end()
	for _, line := range l.done {
		all = append(all, string(line))
	}
	return all
}

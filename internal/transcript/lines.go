package transcript

import (
	"bytes"
	"sync"
)

// MaxLine is where a line without an end is cut (and goes on in the next).
const MaxLine = 10_000

// A LineWriter cuts what a program prints into lines. A carriage return starts the line anew, as on a
// terminal, so that of a progress bar its last state stays. It may be used by several goroutines.
type LineWriter struct {
	// Emit gets each line without its end, one at a time.
	Emit func(line string)
	// EmitBytes gets them in place of Emit if it is not nil. A line is valid until it returns.
	EmitBytes func(line []byte)

	mu  sync.Mutex
	buf []byte
}

func (l *LineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(p)
	for {
		line, rest, ok := bytes.Cut(p, []byte("\n"))
		if ok && len(l.buf) == 0 && len(line) <= MaxLine {
			l.emit(line)
			p = rest
			continue
		}
		l.add(line)
		if !ok {
			return n, nil
		}
		l.end()
		p = rest
	}
}

func (l *LineWriter) add(b []byte) {
	for {
		room := MaxLine - len(l.buf)
		if len(b) <= room {
			l.buf = append(l.buf, b...)
			return
		}
		l.buf = append(l.buf, b[:room]...)
		b = b[room:]
		l.end()
	}
}

func (l *LineWriter) end() {
	l.emit(l.buf)
	l.buf = l.buf[:0]
}

func (l *LineWriter) emit(b []byte) {
	b = bytes.TrimRight(b, "\r")
	b = b[bytes.LastIndexByte(b, '\r')+1:]
	if l.EmitBytes != nil {
		l.EmitBytes(b)
		return
	}
	l.Emit(string(b))
}

// Flush ends a last line that has no newline.
func (l *LineWriter) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buf) > 0 {
		l.end()
	}
	return nil
}

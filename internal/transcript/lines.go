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

	mu  sync.Mutex
	buf []byte
}

func (l *LineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(p)
	for {
		line, rest, ok := bytes.Cut(p, []byte("\n"))
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
	b := bytes.TrimRight(l.buf, "\r")
	b = b[bytes.LastIndexByte(b, '\r')+1:]
	l.Emit(string(b))
	l.buf = l.buf[:0]
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

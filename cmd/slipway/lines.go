package main

import (
	"bytes"
	"sync"
)

// maxLine is where a line without an end is cut (and goes on in the next).
const maxLine = 10_000

// lineWriter cuts what a program prints into lines. A carriage return starts the line anew, as on a
// terminal, so that of a progress bar its last state stays. It may be used by several goroutines.
type lineWriter struct {
	emit func(line string)

	mu  sync.Mutex
	buf []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
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

func (l *lineWriter) add(b []byte) {
	for {
		room := maxLine - len(l.buf)
		if len(b) <= room {
			l.buf = append(l.buf, b...)
			return
		}
		l.buf = append(l.buf, b[:room]...)
		b = b[room:]
		l.end()
	}
}

func (l *lineWriter) end() {
	b := bytes.TrimRight(l.buf, "\r")
	b = b[bytes.LastIndexByte(b, '\r')+1:]
	l.emit(string(b))
	l.buf = l.buf[:0]
}

// Flush ends a last line that has no newline.
func (l *lineWriter) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buf) > 0 {
		l.end()
	}
	return nil
}

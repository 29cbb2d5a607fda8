package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/slipway-build/slipway/internal/build"
)

// A runLog is the end of what an app prints for as long as it runs, in two files: when the newer one is full it takes the
// place of the older one. Writing never fails: what cannot be written is lost, and the app goes on.
type runLog struct {
	path string

	mu     sync.Mutex
	file   *os.File // nil: it could not be opened, or the log is closed
	size   int64    // of the newer file
	older  int64    // of the other one
	start  int64    // where the older one begins, in bytes that were ever printed in this process
	grown  chan struct{}
	closed bool
}

const olderSuffix = ".1"

// half is how large one of the files may be.
const half = maxLog / 2

func logPath(dir string, app build.ID) string { return filepath.Join(dir, string(app)+".log") }

func removeLog(dir string, app build.ID) error {
	var errs []error
	for _, suffix := range []string{"", olderSuffix} {
		if err := os.Remove(logPath(dir, app) + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// log is the log of an app; one that has printed nothing has none, if it is not to be made.
func (h *Host) log(app build.ID, make bool) (*runLog, error) {
	if _, err := build.ParseID(string(app)); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.logs[app]; l != nil {
		return l, nil
	}
	l := &runLog{path: logPath(h.o.Dir, app), grown: newSignal()}
	flags := os.O_RDWR | os.O_APPEND
	if make {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(l.path, flags, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the log of the app: %w", build.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("the log of the app: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the log of the app: %w", err), f.Close())
	}
	l.file, l.size = f, info.Size()
	if old, err := os.Stat(l.path + olderSuffix); err == nil {
		l.older = old.Size()
	}
	h.logs[app] = l
	return l, nil
}

func newSignal() chan struct{} { return make(chan struct{}) }

// Write is io.Writer's, and has no error.
func (l *runLog) Write(p []byte) (int, error) {
	n := len(p)
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(p) > 0 && !l.closed {
		if (l.size >= half || l.file == nil) && !l.turn() {
			break
		}
		part := p[:min(int64(len(p)), half-l.size)]
		wrote, err := l.file.Write(part)
		l.size += int64(wrote)
		if err != nil {
			break
		}
		p = p[len(part):]
	}
	close(l.grown)
	l.grown = newSignal()
	return n, nil
}

// turn begins a new file, or tries that again. The caller has locked l.
func (l *runLog) turn() bool {
	if l.file != nil {
		if err := os.Rename(l.path, l.path+olderSuffix); err != nil {
			return false
		}
		l.file.Close() // all that is written is written
		l.start += l.older
		l.older, l.size = l.size, 0
	}
	var err error
	if l.file, err = os.OpenFile(l.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		l.file = nil
	}
	return l.file != nil
}

func (l *runLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	if l.file != nil {
		l.file.Close()
	}
	close(l.grown)
	l.grown = newSignal()
}

// read is what there is from a place on, at most so much, and where that begins: later, where the log has moved on. more is
// closed when there is more.
func (l *runLog) read(from int64, most int64) (text []byte, at int64, more <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from = max(from, l.start)
	middle, end := l.start+l.older, l.start+l.older+l.size
	if l.closed || l.file == nil || from >= end {
		if l.closed {
			return nil, from, nil, io.EOF
		}
		return nil, from, l.grown, nil
	}
	f, offset, stop := l.file, from-middle, end
	if from < middle {
		if f, err = os.Open(l.path + olderSuffix); err != nil {
			return nil, middle, l.grown, nil
		}
		defer f.Close()
		offset, stop = from-l.start, middle
	}
	text = make([]byte, min(most, stop-from))
	n, err := f.ReadAt(text, offset)
	if n == 0 && err != nil {
		return nil, from, nil, fmt.Errorf("the log of the app: %w", err)
	}
	return text[:n], from, l.grown, nil
}

// CopyLog writes the last lines of what an app that runs here has printed to w, and with follow what it prints from then
// on, until ctx ends or the app is deleted. Who is too slow misses some. ErrNotFound tells that it has never run here.
func (h *Host) CopyLog(ctx context.Context, app build.ID, lines int, follow bool, w io.Writer) error {
	l, err := h.log(app, false)
	if err != nil {
		return err
	}
	var all []byte
	at := int64(0)
	for {
		text, from, _, err := l.read(at, maxLog)
		if err != nil || len(text) == 0 {
			break
		}
		all, at = append(all, text...), from+int64(len(text))
	}
	if _, err := w.Write(lastLines(all, lines)); err != nil {
		return err
	}
	for follow {
		text, from, more, err := l.read(at, 64<<10)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if from > at {
			if _, err := fmt.Fprintf(w, "\n[%d bytes are left out here]\n", from-at); err != nil {
				return err
			}
		}
		at = from + int64(len(text))
		if len(text) > 0 {
			if _, err := w.Write(text); err != nil {
				return err
			}
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// lastLines cuts off what is before them.
func lastLines(text []byte, n int) []byte {
	end := len(text)
	if end > 0 && text[end-1] == '\n' {
		end--
	}
	for ; n > 0; n-- {
		i := bytes.LastIndexByte(text[:end], '\n')
		if i < 0 {
			return text
		}
		end = i
	}
	return text[min(end+1, len(text)):]
}

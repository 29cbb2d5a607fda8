package logs

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/slipway-build/slipway/internal/build"
)

// The sizes of a log that Options does not set.
const (
	DefaultLimit = 64 << 20
	tailSize     = 64 << 10
)

// Options say how a log is written.
type Options struct {
	Masker *Masker // nil: there are no secrets
	Limit  int64   // how long the log may become, but for its last 64 KiB and our own lines; 0: DefaultLimit
	// Warn, if not nil, is told once when the log cannot be written: the build goes on. It must not use the Writer.
	Warn func(error)
	// Volatile has Close not wait for the disk: for a log without anything in it but a line of ours, whose end Recover
	// records again where a power failure has lost it.
	Volatile bool
}

// A Writer writes the log of one attempt of a build. It is safe for concurrent use; each Write is one piece. Writing
// never fails the build: what cannot be written, as on a full disk, is left out, Options.Warn is told, and when the
// disk can be written again, the log says how much is missing.
type Writer struct {
	dir      *Dir
	log      *log
	warn     func(error)
	limit    int64
	volatile bool
	dirty    chan struct{} // holds one: there is something to sync
	stop     chan struct{} // closed by Close
	sync     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	mask   *MaskWriter
	last   byte // of the log
	full   bool // what comes now goes to the tail
	tail   tail
	lost   int64     // bytes that could not be written
	failed time.Time // when that was last tried
	warned bool
}

// Create begins the log of a build, or goes on with it for a further attempt, behind what is there. A log has one
// Writer at a time (ErrWriting) and none when it has ended (ErrEnded). That the file cannot be made is an error.
func (d *Dir) Create(id build.ID, o Options) (*Writer, error) {
	l, torn, err := d.open(id)
	if err != nil {
		return nil, err
	}
	w := &Writer{
		dir: d, log: l, warn: o.Warn, limit: o.Limit, last: l.lastByte(),
		dirty: make(chan struct{}, 1), stop: make(chan struct{}), volatile: o.Volatile,
	}
	if w.limit == 0 {
		w.limit = DefaultLimit
	}
	w.mask = o.Masker.Writer((*kept)(w))
	w.sync.Go(w.syncAll)
	if torn {
		w.note("the build service stopped here: the end of what was printed may be missing")
	}
	return w, nil
}

// open takes a log for writing, and tells whether its last writer's process died.
func (d *Dir) open(id build.ID) (l *log, torn bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l, err = d.use(id, true)
	if err != nil {
		return nil, false, err
	}
	torn, err = l.begin()
	if err != nil {
		return nil, false, errors.Join(fmt.Errorf("writing the log of build %s: %w", id, err), d.drop(l))
	}
	return l, torn, nil
}

// Write adds to the log. It fails only when the Writer is closed.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, fmt.Errorf("writing the log of build %s: it is closed: %w", w.log.id, ErrEnded)
	}
	return w.mask.Write(p)
}

// Full reports whether the log has reached its limit: of what is written from now on only the end stays.
func (w *Writer) Full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.full
}

// Skip tells of n bytes that were printed here and are not written, because the log is Full and they are not its end.
// What is between two secrets' halves is not known: neither half is a secret then, as at the end of a log.
func (w *Writer) Skip(n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || n <= 0 {
		return
	}
	w.mask.Close() // kept has no errors
	if w.full {
		w.tail.skip(n)
		return
	}
	w.note(fmt.Sprintf("%d bytes are left out here", n))
}

// kept is a Writer behind its masker.
type kept Writer

// Write keeps the first part of a log in the file and of the rest the end.
func (k *kept) Write(b []byte) (int, error) {
	w, n := (*Writer)(k), len(b)
	if w.full {
		w.tail.add(b)
		return n, nil
	}
	if room := w.limit - w.log.size; int64(len(b)) > room {
		at := cut(b, int(max(0, room)), w.last)
		w.put(b[:at])
		w.note(fmt.Sprintf("the log has reached its limit of %d bytes: from here on only the end is kept, and added when the build ends", w.limit))
		w.full = true
		w.tail.add(b[at:])
		return n, nil
	}
	w.put(b)
	return n, nil
}

// cut is where to divide b, which follows the byte last, so that the first part has at most n bytes: at a line's end
// or, in a line that is very long, between characters.
func cut(b []byte, n int, last byte) int {
	end := bytes.LastIndexByte(b[:n], '\n') + 1
	if end > 0 || last == '\n' && n < 4<<10 {
		return end
	}
	for back := 0; back < utf8.UTFMax && n-back > 0; back++ {
		if utf8.RuneStart(b[n-back]) {
			return n - back
		}
	}
	return n
}

// put appends to the file, or counts what is lost. A disk that was full is tried again every second.
func (w *Writer) put(b []byte) {
	if len(b) == 0 {
		return
	}
	if w.lost > 0 && (time.Since(w.failed) < time.Second || !w.noteLoss()) {
		w.lost += int64(len(b))
		return
	}
	n, err := w.log.append(b)
	if n > 0 {
		w.last = b[n-1]
		select {
		case w.dirty <- struct{}{}:
		default:
		}
	}
	w.lost += int64(len(b) - n)
	w.fail(err)
}

// fail remembers that the log could not be written, and tells it once.
func (w *Writer) fail(err error) {
	if err == nil {
		return
	}
	w.failed = time.Now()
	if !w.warned && w.warn != nil {
		w.warn(fmt.Errorf("the log of build %s is incomplete: %w", w.log.id, err))
	}
	w.warned = true
}

// noteLoss says in the log how much is missing, if it can be written again.
func (w *Writer) noteLoss() bool {
	text := line(w.last, fmt.Sprintf("%d bytes are missing here: the log could not be written", w.lost))
	n, err := w.log.append(text)
	w.fail(err)
	if n > 0 {
		w.last = text[n-1]
	}
	if err == nil {
		w.lost = 0
	}
	return err == nil
}

// note writes a line of our own.
func (w *Writer) note(text string) { w.put(line(w.last, text)) }

func line(last byte, text string) []byte {
	text = "--- " + text + " ---\n"
	if last != '\n' {
		text = "\n" + text
	}
	return []byte(text)
}

// Close ends the Writer: with a terminal state the log has ended with it, and its followers get that state; with
// another, the log waits for a further attempt. The caller makes that state durable first: a log that has ended cannot
// go on, while one whose end was not recorded is ended by Recover. An error says that the log may be incomplete; all
// the same it is closed, and its followers know. Closing again does nothing.
func (w *Writer) Close(state build.State) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	w.mask.Close() // kept has no errors
	if w.full {
		end, left := w.tail.end()
		if left > 0 {
			w.note(fmt.Sprintf("%d bytes are left out here", left))
		}
		w.put(end)
	}
	if w.lost > 0 {
		w.noteLoss()
	}
	close(w.stop)
	w.mu.Unlock() // syncAll may want it
	w.sync.Wait()
	w.mu.Lock()
	err := w.log.end(state, !w.volatile)
	if err == nil && !w.volatile {
		err = w.dir.syncNames()
	}
	if err = errors.Join(err, w.dir.leave(w.log)); err != nil {
		return fmt.Errorf("closing the log of build %s: %w", w.log.id, err)
	}
	return nil
}

// syncNames makes the names in the directory durable.
func (d *Dir) syncNames() error {
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncAll syncs what was written, a second after it was, until Close; which syncs for the last time.
func (w *Writer) syncAll() {
	for {
		select {
		case <-w.dirty:
		case <-w.stop:
			return
		}
		select {
		case <-time.After(time.Second):
		case <-w.stop:
			return
		}
		if err := w.log.file.Sync(); err != nil {
			w.mu.Lock()
			w.fail(err)
			w.mu.Unlock()
		}
	}
}

// A tail keeps the end of what is added.
type tail struct {
	buf     []byte // at most twice tailSize
	dropped int64
}

func (t *tail) add(b []byte) {
	if over := len(b) - tailSize; over > 0 {
		t.dropped += int64(len(t.buf) + over)
		t.buf, b = t.buf[:0], b[over:]
	}
	if over := len(t.buf) + len(b) - 2*tailSize; over > 0 {
		t.drop(len(t.buf) + len(b) - tailSize)
	}
	t.buf = append(t.buf, b...)
}

// skip leaves out n bytes, and with them all that was before.
func (t *tail) skip(n int64) {
	t.dropped += int64(len(t.buf)) + n
	t.buf = t.buf[:0]
}

func (t *tail) drop(n int) {
	t.dropped += int64(n)
	t.buf = append(t.buf[:0], t.buf[n:]...)
}

// end is what was kept, from a line's beginning on if something is left out, and how much is.
func (t *tail) end() (kept []byte, dropped int64) {
	if over := len(t.buf) - tailSize; over > 0 {
		t.drop(over)
	}
	if t.dropped > 0 {
		if i := bytes.IndexByte(t.buf, '\n'); i >= 0 && i+1 < len(t.buf) {
			t.drop(i + 1)
		}
	}
	return t.buf, t.dropped
}

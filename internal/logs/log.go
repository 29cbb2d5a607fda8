package logs

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

const (
	headerSize  = 128
	headerMagic = "slipway-log/1"

	stateOpen    = "open"
	stateWaiting = "waiting"
)

// pause is how long what is written may wait, so that a build that prints line after line wakes its followers twenty
// times a second and not for each. What comes after a longer silence does not wait.
const pause = 50 * time.Millisecond

// A log is one build's, shared by its writer and its followers.
type log struct {
	id    build.ID
	file  *os.File
	users int // guarded by Dir.mu

	mu      sync.Mutex
	size    int64 // bytes written
	shown   int64 // of these, what followers know of
	state   build.State
	torn    bool // the process that wrote it died
	writing bool
	removed bool
	changed chan struct{} // closed when followers should look again; nil: none waits
	wokeAt  time.Time
	waking  *time.Timer // nil: all is shown
}

// load reads the header, or writes the first one.
func (l *log) load() error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < headerSize { // nobody got to write into it
		return l.mark(stateWaiting, 0)
	}
	var head [headerSize]byte
	if _, err := l.file.ReadAt(head[:], 0); err != nil {
		return err
	}
	fields := strings.Fields(string(head[:]))
	if len(fields) != 3 || fields[0] != headerMagic {
		return fmt.Errorf("%s is no log: its header is damaged", l.file.Name())
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return fmt.Errorf("%s is no log: its header is damaged", l.file.Name())
	}
	l.size = info.Size() - headerSize
	switch state := fields[1]; state {
	case stateOpen:
		l.torn = true
	case stateWaiting:
	default:
		l.state, l.size = build.State(state), min(l.size, size)
	}
	l.shown = l.size
	return nil
}

// mark writes the header: less than a disk's sector, so all or nothing.
func (l *log) mark(state string, size int64) error {
	head := fmt.Sprintf("%s %s %020d", headerMagic, state, size)
	head += strings.Repeat(" ", headerSize-1-len(head)) + "\n"
	_, err := l.file.WriteAt([]byte(head), 0)
	return err
}

// begin gives a log to a writer.
func (l *log) begin() (torn bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state != "":
		return false, ErrEnded
	case l.writing:
		return false, ErrWriting
	}
	if err := l.mark(stateOpen, 0); err != nil {
		return false, err
	}
	torn, l.torn, l.writing = l.torn, false, true
	return torn, nil
}

// end records how a log stands that nobody writes any more, for its followers and, if that is durable, on disk.
func (l *log) end(state build.State, durable bool) error {
	word := stateWaiting
	if state.Terminal() {
		word = string(state)
	}
	sync := func() error {
		if durable {
			return l.file.Sync()
		}
		return nil
	}
	err := sync()
	if err == nil {
		err = l.mark(word, l.size)
	}
	if err == nil {
		err = sync()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if state.Terminal() {
		l.state = state
	}
	l.writing = false
	l.show()
	return err
}

// append adds bytes, all or, if there is an error, n; what got into the file beyond is written over. Only the writer
// calls it.
func (l *log) append(b []byte) (n int, err error) {
	n, err = l.file.WriteAt(b, headerSize+l.size)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size += int64(n)
	if l.waking != nil {
		return n, err
	}
	if wait := pause - time.Since(l.wokeAt); wait > 0 {
		l.waking = time.AfterFunc(wait, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.show()
		})
	} else {
		l.show()
	}
	return n, err
}

// show lets followers see all there is. The caller has locked l.mu.
func (l *log) show() {
	if l.waking != nil {
		l.waking.Stop()
		l.waking = nil
	}
	l.wokeAt = time.Now()
	l.shown = l.size
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// look tells a follower who has read up to an offset how far it may read on. If that is nowhere, and the log has not
// ended, changed says when to look again.
func (l *log) look(from int64) (shown int64, state build.State, changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.removed:
		return 0, "", nil, fmt.Errorf("the log of build %s was removed: %w", l.id, build.ErrNotFound)
	case from < 0 || from > l.size:
		return 0, "", nil, fmt.Errorf("following the log of build %s from %d of %d: %w", l.id, from, l.size, ErrOffset)
	}
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.shown, l.state, l.changed, nil
}

func (l *log) remove() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writing {
		return ErrWriting
	}
	l.removed = true
	l.show()
	return nil
}

// lastByte is the byte that the log ends with: a line end if it is empty.
func (l *log) lastByte() byte {
	b := []byte{'\n'}
	if l.size > 0 {
		if _, err := l.file.ReadAt(b, headerSize+l.size-1); err != nil && err != io.EOF {
			return 0
		}
	}
	return b[0]
}

// Package logs keeps what builds print: append-only, with secrets masked before anything is kept, for one writer and
// any number of followers. It knows nothing of lines or times: a log is the bytes that were printed.
//
// # On disk
//
// A Dir is a directory with one file per build, <id>.log: a header of 128 bytes, and from there on the log itself, raw
// (tail -c +129 shows it). Offsets, everywhere, count bytes of the log. The header is one line of text:
//
//	slipway-log/1 <state> <size>
//
// where state is "open" while somebody writes, "waiting" when nobody does and the log may go on (a build that waits,
// for the first or the next attempt), and the final state of the build when the log has ended; only then size says
// how long it is. What a build prints cannot forge an end, because nothing of the log is ever written there.
//
// Bytes are only ever added, so whoever reads from an offset sees the same, now or later: followers read the file,
// and nothing is kept for them elsewhere. What is left out of a log that is too long is left out before it is
// written: its first part goes to the file as it comes, its last part (64 KiB) is kept in memory and added when the
// log is closed, behind a line that says how much is missing. A follower therefore sees that part at the end too.
//
// # What a crash loses
//
// What was written is in the file when Write returns, but for what the Masker holds back, and survives the end of the
// process. It is synced to disk when the log is closed and about a second after it was written; so a power failure may
// cost a second. The end is recorded in the header after the log was synced, and then synced itself. A log that was
// open when the process died is found by its header: see Dir.Recover. What the masker held back is lost with the
// process, and so is the last part of a log that was too long: never written, they cannot leak. After a power failure
// a follower may come back with an offset that the log does not have any more: ErrOffset.
//
// A log that cannot be written, because the disk is full, does not fail its build: see Writer.
package logs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// What callers tell apart. That there is no log is build.ErrNotFound.
var (
	ErrEnded   = errors.New("the log has ended")
	ErrWriting = errors.New("the log is being written")
	ErrOffset  = errors.New("the log has no such offset")
)

// A Dir is the logs of all builds, and the only one to use its directory. It is safe for concurrent use.
type Dir struct {
	root   *os.Root
	chunks sync.Pool // *[chunk]byte

	mu   sync.Mutex
	logs map[build.ID]*log // which somebody writes or follows
}

// Open opens a directory, made if it is not there.
func Open(dir string) (*Dir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of logs: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the directory of logs: %w", err)
	}
	d := &Dir{root: root, logs: map[build.ID]*log{}}
	d.chunks.New = func() any { return new([chunk]byte) }
	return d, nil
}

// Close closes the directory, not the logs in use.
func (d *Dir) Close() error { return d.root.Close() }

const suffix = ".log"

// fileName is the only maker of names of files here.
func fileName(id build.ID) (string, error) {
	if _, err := build.ParseID(string(id)); err != nil {
		return "", fmt.Errorf("naming a log: %w", err)
	}
	return string(id) + suffix, nil
}

// use finds the log of a build, for one more user; make is for one that need not be there. The caller has locked d.
func (d *Dir) use(id build.ID, make bool) (*log, error) {
	if l := d.logs[id]; l != nil {
		l.users++
		return l, nil
	}
	name, err := fileName(id)
	if err != nil {
		return nil, err
	}
	flag := os.O_RDWR
	if make {
		flag |= os.O_CREATE
	}
	f, err := d.root.OpenFile(name, flag, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the log of build %s: %w", id, build.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the log of build %s: %w", id, err)
	}
	l := &log{id: id, file: f, users: 1}
	if err := l.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the log of build %s: %w", id, err), f.Close())
	}
	d.logs[id] = l
	return l, nil
}

func (d *Dir) find(id build.ID) (*log, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.use(id, false)
}

// leave is the end of what use and find began.
func (d *Dir) leave(l *log) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.drop(l)
}

// drop is leave for a caller who has locked d.
func (d *Dir) drop(l *log) error {
	l.users--
	if l.users > 0 {
		return nil
	}
	if d.logs[l.id] == l {
		delete(d.logs, l.id)
	}
	return l.file.Close()
}

// Ensure makes the log of a build that was accepted, empty, so that it can be followed before anybody writes it.
func (d *Dir) Ensure(id build.ID) error {
	d.mu.Lock()
	l, err := d.use(id, true)
	d.mu.Unlock()
	if err != nil {
		return err
	}
	return d.leave(l)
}

// Info is a log as it stands.
type Info struct {
	Size    int64
	State   build.State // the final state of the build; empty while the log may grow
	Writing bool        // somebody writes it
}

// Stat tells how a log stands.
func (d *Dir) Stat(id build.ID) (Info, error) {
	l, err := d.find(id)
	if err != nil {
		return Info{}, err
	}
	l.mu.Lock()
	info := Info{Size: l.size, State: l.state, Writing: l.writing}
	l.mu.Unlock()
	return info, d.leave(l)
}

// MaxPage is how much of a log Page returns at most.
const MaxPage = 1 << 20

// A Page is a part of a log.
type Page struct {
	From int64
	Data []byte
	Info
}

// Page reads up to limit bytes of a log from an offset on. At the end, and behind what is written so far, there are
// none.
func (d *Dir) Page(id build.ID, from, limit int64) (Page, error) {
	l, err := d.find(id)
	if err != nil {
		return Page{}, err
	}
	l.mu.Lock()
	p := Page{From: from, Info: Info{Size: l.size, State: l.state, Writing: l.writing}}
	l.mu.Unlock()
	if from < 0 || from > p.Size {
		return Page{}, errors.Join(fmt.Errorf("reading the log of build %s at %d of %d: %w", id, from, p.Size, ErrOffset), d.leave(l))
	}
	p.Data = make([]byte, max(0, min(limit, MaxPage, p.Size-from)))
	_, err = l.file.ReadAt(p.Data, headerSize+from)
	if err = errors.Join(err, d.leave(l)); err != nil {
		return Page{}, fmt.Errorf("reading the log of build %s: %w", id, err)
	}
	return p, nil
}

// Remove removes a log that nobody writes. Who follows it gets build.ErrNotFound.
func (d *Dir) Remove(id build.ID) error {
	name, err := fileName(id)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := d.logs[id]; l != nil {
		if err := l.remove(); err != nil {
			return fmt.Errorf("removing the log of build %s: %w", id, err)
		}
		delete(d.logs, id)
	}
	err = d.root.Remove(name)
	if errors.Is(err, os.ErrNotExist) {
		err = build.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("removing the log of build %s: %w", id, err)
	}
	return nil
}

// Prune removes the logs that nobody writes and that were last written before a time, and says how many bytes that
// freed.
func (d *Dir) Prune(before time.Time) (freed int64, err error) {
	err = d.each(func(id build.ID, entry os.DirEntry) error {
		info, err := entry.Info()
		if err != nil || !info.ModTime().Before(before) {
			return nil // it is gone, or young
		}
		err = d.Remove(id)
		if errors.Is(err, ErrWriting) || errors.Is(err, build.ErrNotFound) {
			return nil
		}
		if err == nil {
			freed += info.Size()
		}
		return err
	})
	return freed, err
}

// each calls f for every log. What else is in the directory is left alone.
func (d *Dir) each(f func(build.ID, os.DirEntry) error) error {
	dir, err := d.root.Open(".")
	if err != nil {
		return fmt.Errorf("listing logs: %w", err)
	}
	defer dir.Close()
	var errs []error
	for {
		entries, err := dir.ReadDir(1000)
		for _, e := range entries {
			if id, ok := logID(e.Name()); ok && e.Type().IsRegular() {
				errs = append(errs, f(id, e))
			}
		}
		if err == io.EOF {
			return errors.Join(errs...)
		}
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("listing logs: %w", err))...)
		}
	}
}

func logID(name string) (build.ID, bool) {
	id, err := build.ParseID(name[:max(0, len(name)-len(suffix))])
	return id, err == nil && string(id)+suffix == name
}

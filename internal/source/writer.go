package source

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	maxName  = 4096
	maxDepth = 256
)

// A writer puts entries below a directory, which no name and no link leaves.
type writer struct {
	ctx      context.Context
	root     *os.Root
	uid, gid int // -1: not changed
	limits   Limits
	keep     *filter
	res      *Result
	self     os.FileInfo // of the directory itself, which a source may contain
	entries  map[string]*entry
	left     map[string]*entry // directories that are made only if something in them is kept
	count    int
	buf      []byte
	// parent is the directory of the last entry and open, so that its path is not walked again for each file.
	parent     *os.Root
	parentName string
}

// An entry is what was made. Directories get their mode and time at the end, when nothing more is put into them.
type entry struct {
	kind  byte // 'd', 'f', 'l'
	mode  fs.FileMode
	mtime time.Time
	link  string
	sum   [sha256.Size]byte
	size  int64
}

func newWriter(ctx context.Context, req Request, limits Limits, keep *filter, res *Result) (*writer, error) {
	root, err := os.OpenRoot(req.Dest)
	if err != nil {
		return nil, fmt.Errorf("open the app directory: %w", err)
	}
	self, err := root.Stat(".")
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("open the app directory: %w", err)
	}
	w := &writer{
		ctx: ctx, self: self, left: map[string]*entry{}, root: root, uid: req.UID, gid: req.GID, limits: limits, keep: keep, res: res,
		entries: map[string]*entry{}, buf: make([]byte, 256<<10),
	}
	if os.Geteuid() != 0 && (w.uid == os.Geteuid() || w.uid == -1) && (w.gid == os.Getegid() || w.gid == -1) {
		w.uid, w.gid = -1, -1 // already so; others than root may not ask for it
	}
	return w, nil
}

func (w *writer) close() {
	if w.parent != nil {
		w.parent.Close()
	}
	w.root.Close()
}

// at is the open directory of an entry, and the entry's name in it. Directories that were made stay.
func (w *writer) at(name string) (*os.Root, string, error) {
	dir, base := path.Split(name)
	if dir == "" {
		return w.root, base, nil
	}
	if w.parent == nil || w.parentName != dir {
		r, err := w.root.OpenRoot(strings.TrimSuffix(dir, "/"))
		if err != nil {
			return nil, "", fmt.Errorf("open directory %q: %w", short(dir), err)
		}
		if w.parent != nil {
			w.parent.Close()
		}
		w.parent, w.parentName = r, dir
	}
	return w.parent, base, nil
}

// clean checks an entry's name: relative, inside, and in one form. "" is the root itself.
func clean(name string) (string, error) {
	switch {
	case strings.ContainsRune(name, 0):
		return "", fmt.Errorf("entry %q: the name has a NUL byte", short(name))
	case len(name) > maxName:
		return "", fmt.Errorf("entry %q: the name is longer than %d bytes", short(name), maxName)
	case strings.HasPrefix(name, "/"):
		return "", fmt.Errorf("entry %q: an absolute name leaves the app directory", short(name))
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", fmt.Errorf("entry %q: the name leaves the app directory", short(name))
	}
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if strings.Count(name, "/") >= maxDepth {
		return "", fmt.Errorf("entry %q: deeper than %d directories", short(name), maxDepth)
	}
	return name, nil
}

// short keeps a name of a message on one screen.
func short(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}

// next counts an entry and stops at the limit or when the caller gave up.
func (w *writer) next() error {
	if w.count++; w.count > w.limits.Files {
		return fmt.Errorf("more than %d entries, the limit", w.limits.Files)
	}
	return context.Cause(w.ctx)
}

// dir makes a directory, or gives an existing one its mode and time.
func (w *writer) dir(name string, mode fs.FileMode, mtime time.Time) error {
	if err := w.next(); err != nil || name == "" {
		return err
	}
	if w.keep.match != nil && !w.keep.keeps(name, true) {
		w.left[name] = &entry{kind: 'd', mode: mode.Perm(), mtime: mtime}
		return nil
	}
	if err := w.mkdir(name); err != nil {
		return err
	}
	e := w.entries[name]
	e.mode, e.mtime = mode.Perm(), mtime
	return nil
}

// mkdir makes a directory and those above it. One that is made only for what is in it has mode 0755.
func (w *writer) mkdir(name string) error {
	if e := w.entries[name]; e != nil {
		if e.kind != 'd' {
			return fmt.Errorf("entry %q: is below or in place of something that is no directory", short(name))
		}
		return nil
	}
	if parent := path.Dir(name); parent != "." {
		if err := w.mkdir(parent); err != nil {
			return err
		}
	}
	if err := w.root.Mkdir(name, 0o700); err != nil {
		return fmt.Errorf("make directory %q: %w", short(name), err)
	}
	e := w.left[name]
	if e == nil {
		e = &entry{kind: 'd', mode: 0o755}
	}
	delete(w.left, name)
	w.entries[name] = e
	return nil
}

// place makes room for a file or link: its parents are there and an earlier entry of that name is not.
// ok is false where the entry is filtered away.
func (w *writer) place(name string) (ok bool, err error) {
	if err := w.next(); err != nil {
		return false, err
	}
	if name == "" {
		return false, fmt.Errorf("an entry has no name")
	}
	if !w.keep.keeps(name, false) {
		return false, nil
	}
	if parent := path.Dir(name); parent != "." {
		if err := w.mkdir(parent); err != nil {
			return false, err
		}
	}
	if old := w.entries[name]; old != nil {
		if old.kind == 'd' {
			return false, fmt.Errorf("entry %q: is both a directory and a file", short(name))
		}
		if err := w.root.Remove(name); err != nil {
			return false, fmt.Errorf("replace %q: %w", short(name), err)
		}
		if old.kind == 'f' {
			w.res.Files--
		}
		delete(w.entries, name)
	}
	return true, nil
}

// file makes a regular file of what r gives. Setuid, setgid and sticky bits are dropped.
func (w *writer) file(name string, mode fs.FileMode, mtime time.Time, r io.Reader) (err error) {
	ok, err := w.place(name)
	if !ok || err != nil {
		return err
	}
	dir, base, err := w.at(name)
	if err != nil {
		return err
	}
	f, err := dir.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("write %q: %w", short(name), err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	left := w.limits.Bytes - w.res.Bytes
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, h)}, &ctxReader{w.ctx, io.LimitReader(r, left+1)}, w.buf)
	if err != nil {
		return fmt.Errorf("write %q: %w", short(name), err)
	}
	if n > left {
		return fmt.Errorf("%q: the files have more than %d bytes together, the limit for this source", short(name), w.limits.Bytes)
	}
	if w.uid != -1 || w.gid != -1 {
		if err := f.Chown(w.uid, w.gid); err != nil {
			return fmt.Errorf("set the owner of %q: %w", short(name), err)
		}
	}
	if err := f.Chmod(mode.Perm()); err != nil {
		return fmt.Errorf("set the mode of %q: %w", short(name), err)
	}
	if err := dir.Chtimes(base, mtime, mtime); err != nil {
		return fmt.Errorf("set the time of %q: %w", short(name), err)
	}
	w.res.Files++
	w.res.Bytes += n
	e := &entry{kind: 'f', mode: mode.Perm(), size: n}
	h.Sum(e.sum[:0])
	w.entries[name] = e
	return nil
}

// ctxReader ends a copy when its context is done.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *ctxReader) Read(b []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

// symlink makes a link; one that leads out of the app is an error.
func (w *writer) symlink(name, target string) error {
	ok, err := w.place(name)
	if !ok || err != nil {
		return err
	}
	switch {
	case target == "" || len(target) >= maxName || strings.ContainsRune(target, 0):
		return fmt.Errorf("link %q: its target %q is not a path", short(name), short(target))
	case strings.HasPrefix(target, "/"), !inside(name, target):
		return leadsOut(name, target)
	}
	dir, base, err := w.at(name)
	if err != nil {
		return err
	}
	if err := dir.Symlink(target, base); err != nil {
		return fmt.Errorf("make link %q: %w", short(name), err)
	}
	if w.uid != -1 || w.gid != -1 {
		if err := dir.Lchown(base, w.uid, w.gid); err != nil {
			return fmt.Errorf("set the owner of %q: %w", short(name), err)
		}
	}
	w.entries[name] = &entry{kind: 'l', link: target}
	return nil
}

func leadsOut(name, target string) error {
	return fmt.Errorf("link %q leads out of the app directory, to %q: remove it or add it to exclude in %s", short(name), short(target), DescriptorName)
}

// inside tells whether a relative link stays below the root, going by names alone.
func inside(name, target string) bool {
	depth := strings.Count(name, "/")
	for p := range strings.SplitSeq(target, "/") {
		switch p {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return false
			}
		default:
			depth++
		}
	}
	return true
}

// hardlink gives a file that was made a second name.
func (w *writer) hardlink(name, target string) error {
	ok, err := w.place(name)
	if !ok || err != nil {
		return err
	}
	e := w.entries[target]
	if e == nil || e.kind != 'f' {
		return fmt.Errorf("hard link %q: its target %q is not a file that comes before it in the archive (or it is excluded)", short(name), short(target))
	}
	if err := w.root.Link(target, name); err != nil {
		return fmt.Errorf("make hard link %q: %w", short(name), err)
	}
	w.res.Files++
	w.entries[name] = e
	return nil
}

// skip notes something that cannot be part of an app and does no harm by being left out.
func (w *writer) skip(name string) error {
	if len(w.res.Skipped) < 20 && w.keep.keeps(name, false) {
		w.res.Skipped = append(w.res.Skipped, name)
	}
	return w.next()
}

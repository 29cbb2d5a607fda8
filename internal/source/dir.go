package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/builder/cnb"
)

// dirReader reads a directory, which may change while it is read: every name is opened below its own directory,
// so that nothing outside is reached, and what is opened decides what it is.
type dirReader struct{ path string }

func (d *dirReader) told(_ context.Context, name string) ([]byte, error) {
	b, err := cnb.ReadFile(d.path, name, cnb.MaxDescriptor)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

func (d *dirReader) each(_ context.Context, w *writer) error {
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return err
	}
	defer root.Close()
	return d.walk(w, root, "")
}

// walk gives the entries of the directory dir, whose name from the top is prefix, sorted by name.
func (d *dirReader) walk(w *writer, dir *os.Root, prefix string) error {
	f, err := dir.Open(".")
	if err != nil {
		return fmt.Errorf("read directory %q: %w", short(prefix), err)
	}
	entries, err := f.ReadDir(-1)
	f.Close()
	if err != nil {
		return fmt.Errorf("read directory %q: %w", short(prefix), err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		name, err := clean(path.Join(prefix, e.Name()))
		if err == nil {
			err = d.one(w, dir, e, name)
		}
		if err != nil && !errors.Is(err, errGone) {
			return err
		}
	}
	return nil
}

// errGone says that an entry was removed after its directory was listed.
var errGone = errors.New("the entry is gone")

func gone(what, name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errGone
	}
	return fmt.Errorf("%s %q: %w", what, short(name), err)
}

func (d *dirReader) one(w *writer, dir *os.Root, e fs.DirEntry, name string) error {
	switch t := e.Type(); {
	case t.IsDir():
		if w.keep.prunes(name) {
			return nil
		}
		sub, err := dir.OpenRoot(e.Name())
		if err != nil {
			return gone("read directory", name, err)
		}
		defer sub.Close()
		fi, err := sub.Stat(".")
		if err != nil {
			return gone("read directory", name, err)
		}
		if os.SameFile(fi, w.self) {
			return nil // the build's own directory is in the source
		}
		if err := w.dir(name, fi.Mode(), fi.ModTime()); err != nil {
			return err
		}
		return d.walk(w, sub, name)
	case t&fs.ModeSymlink != 0:
		target, err := dir.Readlink(e.Name())
		if err != nil {
			return gone("read link", name, err)
		}
		return w.symlink(name, target)
	case t.IsRegular():
		return d.file(w, dir, e.Name(), name)
	case t&(fs.ModeSocket|fs.ModeNamedPipe) != 0:
		return w.skip(name)
	}
	if !w.keep.keeps(name, false) {
		return w.next()
	}
	return fmt.Errorf("%q is a device: remove it or add it to exclude in %s", short(name), DescriptorName)
}

func (d *dirReader) file(w *writer, dir *os.Root, base, name string) error {
	if !w.keep.keeps(name, false) {
		return w.next()
	}
	f, err := dir.OpenFile(base, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return gone("read", name, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read %q: %w", short(name), err)
	}
	if !fi.Mode().IsRegular() { // replaced since its directory was listed
		return w.skip(name)
	}
	if left := w.limits.Bytes - w.res.Bytes; fi.Size() > left { // also for a sparse file: at once
		return fmt.Errorf("%q: the files have more than %d bytes together, the limit for this source", short(name), w.limits.Bytes)
	}
	return w.file(name, fi.Mode(), fi.ModTime(), io.Reader(f))
}

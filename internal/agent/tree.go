package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxTreeDepth bounds what measure walks: it keeps one directory open per level.
const maxTreeDepth = 4096

// leastFile is what an empty file or a link counts for, so that a limit of bytes bounds inodes too: a file system may
// run out of them before it is full.
const leastFile = 4096

const openDir = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK

// measure sums trees that may change while they are read. It follows no link, opens nothing but directories and does
// not go where another file system is mounted.
func measure(ctx context.Context, dirs []string) (Usage, error) {
	m := &meter{ctx: ctx, seen: map[[2]uint64]bool{}}
	var fds []int
	for _, dir := range dirs {
		fd, err := unix.Open(dir, openDir, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		var st unix.Stat_t
		if err == nil {
			fds = append(fds, fd)
			err = unix.Fstat(fd, &st)
		}
		if err != nil {
			closeAll(fds)
			return Usage{}, fmt.Errorf("measure %s: %w", dir, err)
		}
		m.seen[[2]uint64{st.Dev, st.Ino}] = true
	}
	for i, fd := range fds {
		var st unix.Stat_t
		err := unix.Fstat(fd, &st)
		m.dev = st.Dev
		if err == nil {
			err = m.dir(fd, "a build's directory", 0)
		}
		if err != nil {
			closeAll(fds[i+1:])
			return Usage{}, fmt.Errorf("measure %s: %w", dirs, err)
		}
	}
	return m.sum, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

type meter struct {
	ctx  context.Context // of this one measurement
	sum  Usage
	dev  uint64             // of the file system that is measured
	seen map[[2]uint64]bool // files with several names, and the trees' own directories: counted once
}

// dir adds an open directory's contents and closes it.
func (m *meter) dir(fd int, name string, depth int) error {
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if depth > maxTreeDepth {
		return fmt.Errorf("directories are nested deeper than %d", maxTreeDepth)
	}
	for {
		names, err := f.Readdirnames(1024)
		for _, n := range names {
			if err := m.entry(fd, n, depth); err != nil {
				return err
			}
		}
		if err == io.EOF || errors.Is(err, unix.ENOENT) {
			return context.Cause(m.ctx)
		}
		if err != nil {
			return err
		}
	}
}

func (m *meter) entry(fd int, name string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil // gone
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	key := [2]uint64{st.Dev, st.Ino}
	switch {
	case m.seen[key]:
		return nil
	case isDir && st.Dev != m.dev: // a mount
		return nil
	case !isDir && st.Nlink > 1:
		m.seen[key] = true
	}
	m.sum.Files++
	m.sum.Bytes += max(st.Blocks*512, leastFile)
	if !isDir {
		return nil
	}
	sub, err := unix.Openat(fd, name, openDir, 0)
	if err != nil {
		return nil // gone, or a link by now
	}
	return m.dir(sub, name, depth+1)
}

// maxOpenDepth is how deep remove goes with one open directory per level.
const maxOpenDepth = 100

// remove deletes a tree of any depth in bounded memory and descriptors: what is deeper than maxOpenDepth is moved to
// the top first.
func remove(ctx context.Context, dir string) error {
	if !filepath.IsAbs(dir) || strings.Count(filepath.Clean(dir), "/") < 2 {
		return fmt.Errorf("remove %q: want an absolute path of a build", dir)
	}
	top, err := unix.Open(dir, openDir, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(top), dir)
	defer f.Close()
	r := &remover{ctx: ctx, top: top}
	for {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("remove %s: %w", dir, err)
		}
		names, err := f.Readdirnames(4096)
		if err != nil && err != io.EOF {
			return fmt.Errorf("remove %s: %w", dir, err)
		}
		if len(names) == 0 {
			break
		}
		for _, name := range names {
			if err := r.entry(top, name, 0); err != nil {
				return fmt.Errorf("remove %s: %w", filepath.Join(dir, name), err)
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, unix.EBUSY) { // busy: it is a mount point, and now empty
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}

type remover struct {
	ctx context.Context // of this one removal
	top int
	n   int // names given to directories that were moved up
}

// entry deletes one entry of dir and what is below it.
func (r *remover) entry(dir int, name string, depth int) error {
	if err := context.Cause(r.ctx); err != nil {
		return err
	}
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	for {
		err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
		switch {
		case err == nil || errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST):
			return err
		case depth == maxOpenDepth:
			return r.lift(dir, name)
		}
		if err := r.contents(dir, name, depth); err != nil {
			return err
		}
	}
}

// contents empties the directory name in dir.
func (r *remover) contents(dir int, name string, depth int) error {
	sub, err := unix.Openat(dir, name, openDir, 0)
	if errors.Is(err, unix.EACCES) && unix.Fchmodat(dir, name, 0o700, 0) == nil { // root needs none of this
		sub, err = unix.Openat(dir, name, openDir, 0)
	}
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(sub), name)
	defer f.Close()
	for {
		names, err := f.Readdirnames(1024)
		for _, n := range names {
			if err := r.entry(sub, n, depth+1); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// lift moves a directory to the top under a name that is free.
func (r *remover) lift(dir int, name string) error {
	for {
		r.n++
		err := unix.Renameat2(dir, name, r.top, ".rm-"+strconv.Itoa(r.n), unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
}

// Package watch tells which files change in trees of this machine, soon after and not for each write. It reads names
// alone, and never what is in a file.
package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// How long changes are gathered: an editor writes a file in several steps, and a checkout many files. A set is told
// when nothing happened for settle, and at the latest after patience.
const (
	settle   = 25 * time.Millisecond
	patience = 300 * time.Millisecond
)

// A Tree is a directory, or a file, whose changes count.
type Tree struct {
	Path string
	// Skip says of what is below Path, by its slash-separated path there, that changes of it do not count. A directory
	// that is skipped is not looked into. May be nil.
	Skip func(name string, isDir bool) bool
}

// A Watcher gathers changes from the moment it is opened, whether or not somebody waits for them.
type Watcher struct {
	fs    *fsnotify.Watcher
	trees []Tree
}

// Open begins to watch trees, which have to be there. Close the Watcher in the end.
func Open(trees ...Tree) (*Watcher, error) {
	n, err := fsnotify.NewBufferedWatcher(4096) // as many as a checkout touches while a build is under way
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", limits(err))
	}
	w := &Watcher{fs: n}
	for _, t := range trees {
		if t.Path, err = filepath.Abs(t.Path); err != nil {
			return nil, errors.Join(fmt.Errorf("watch %s: %w", t.Path, err), n.Close())
		}
		w.trees = append(w.trees, t)
	}
	if err := w.all(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return w, nil
}

// Close ends it.
func (w *Watcher) Close() error { return w.fs.Close() }

// all watches every directory of every tree, and the directory above each, in which a tree may be replaced.
func (w *Watcher) all() error {
	for _, t := range w.trees {
		if err := w.fs.Add(filepath.Dir(t.Path)); err != nil {
			return fmt.Errorf("watch %s: %w", filepath.Dir(t.Path), limits(err))
		}
		if _, err := os.Lstat(t.Path); err != nil {
			return fmt.Errorf("watch %s: %w", t.Path, err)
		}
		if err := w.below(t, t.Path); err != nil {
			return fmt.Errorf("watch %s: %w", t.Path, limits(err))
		}
	}
	return nil
}

// below watches the directory at, which is in tree t, and those in it. What goes meanwhile is no error. Links are not
// followed, but the tree itself may be one.
func (w *Watcher) below(t Tree, at string) error {
	if at == t.Path {
		if real, err := filepath.EvalSymlinks(at); err == nil && real != at {
			return w.linked(t, real)
		}
	}
	return filepath.WalkDir(at, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil || !d.IsDir() {
			return err
		}
		if name := t.name(p); name != "" && t.skips(name, true) {
			return fs.SkipDir
		}
		if err := w.fs.Add(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// linked watches what a tree's own link leads to: under its real name, by which changes are told then.
func (w *Watcher) linked(t Tree, real string) error {
	t.Path = real
	if !slices.ContainsFunc(w.trees, func(o Tree) bool { return o.Path == real }) {
		w.trees = append(w.trees, t)
	}
	return w.below(t, real)
}

// name is a path's name in the tree; "" of the tree itself.
func (t Tree) name(p string) string {
	rel, err := filepath.Rel(t.Path, p)
	if err != nil || rel == "." {
		return ""
	}
	return filepath.ToSlash(rel)
}

func (t Tree) skips(name string, isDir bool) bool { return t.Skip != nil && t.Skip(name, isDir) }

// has says whether the path is in the tree and counts.
func (t Tree) has(p string, isDir bool) bool {
	if p == t.Path {
		return true
	}
	name, inside := strings.CutPrefix(p, strings.TrimSuffix(t.Path, "/")+"/")
	if !inside {
		return false
	}
	for i, r := range name {
		if r == '/' && t.skips(name[:i], true) {
			return false
		}
	}
	return !t.skips(name, isDir)
}

// Next waits for changes and returns the paths of what was made, written, renamed or removed, sorted. Where the kernel
// lost count of them it is the trees. It returns ctx's cause when ctx ends.
func (w *Watcher) Next(ctx context.Context) ([]string, error) {
	changed := map[string]bool{}
	var quiet, late <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case e, ok := <-w.fs.Events:
			if !ok {
				return nil, fs.ErrClosed
			}
			if !w.take(e, changed) {
				continue
			}
		case err, ok := <-w.fs.Errors:
			if !ok {
				return nil, fs.ErrClosed
			}
			if err := w.lost(err, changed); err != nil {
				return nil, err
			}
		case <-quiet:
			return sorted(changed), nil
		case <-late:
			return sorted(changed), nil
		}
		quiet = time.After(settle)
		if late == nil {
			late = time.After(patience)
		}
	}
}

// take notes an event, and says whether it counts. A new directory is watched before anybody is told of it, so that what
// is put into it later is seen.
func (w *Watcher) take(e fsnotify.Event, changed map[string]bool) bool {
	fi, err := os.Lstat(e.Name)
	isDir := err == nil && fi.IsDir()
	counts := false
	for _, t := range slices.Clone(w.trees) {
		if !t.has(e.Name, isDir) {
			continue
		}
		counts = true
		if isDir && e.Has(fsnotify.Create) {
			_ = w.below(t, e.Name) // what could not be watched is seen when something above it changes
		}
	}
	if counts {
		changed[e.Name] = true
	}
	return counts
}

// lost deals with an error of the kernel's queue: after an overflow nobody knows what changed, or where there are new
// directories.
func (w *Watcher) lost(err error, changed map[string]bool) error {
	if !errors.Is(err, fsnotify.ErrEventOverflow) {
		return fmt.Errorf("watch files: %w", limits(err))
	}
	for _, t := range w.trees {
		changed[t.Path] = true
	}
	return w.all()
}

func sorted(set map[string]bool) []string {
	var out []string
	for p := range set {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// limits says of an error which limit of the kernel is behind it, where it is one.
func limits(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("more directories than the kernel lets a user watch: leave some out (exclude in project.toml), or raise fs.inotify.max_user_watches (%w)", err)
	case errors.Is(err, unix.EMFILE):
		return fmt.Errorf("more watchers than the kernel lets a user have: end some, or raise fs.inotify.max_user_instances (%w)", err)
	}
	return err
}

package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fsnotify/fsnotify"
)

// until gathers changes until one of them is the path last.
func until(t *testing.T, w *Watcher, last string) []string {
	t.Helper()
	var all []string
	for !slices.Contains(all, last) {
		changed, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, changed...)
	}
	return all
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
	return path
}

func watching(t *testing.T, trees ...Tree) *Watcher {
	t.Helper()
	w, err := Open(trees...)
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	return w
}

// TestChanges does one thing after the other, each of which has to be told before the next.
func TestChanges(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tree")
	file := write(t, filepath.Join(dir, "bin", "detect"), "one")
	w := watching(t, Tree{Path: dir})
	for name, do := range map[string]func(){
		"written": func() { write(t, file, "two") },
		"mode":    func() { must(t, os.Chmod(file, 0o755)) },
		"renamed over, as editors save": func() {
			must(t, os.Rename(write(t, file+"~", "three"), file))
		},
		"removed and made again": func() {
			must(t, os.Remove(file))
			write(t, file, "four")
		},
	} {
		do()
		if got := until(t, w, file); len(got) == 0 {
			t.Errorf("%s: nothing was told", name)
		}
	}
	must(t, os.Remove(file))
	until(t, w, file)
}

// TestNewDirectories has files in directories that were made after the start, and those that were moved in.
func TestNewDirectories(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tree")
	write(t, filepath.Join(dir, "file"), "")
	w := watching(t, Tree{Path: dir})
	must(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755))
	until(t, w, filepath.Join(dir, "a"))
	until(t, w, write(t, filepath.Join(dir, "a", "b", "c"), "new"))
	outside := filepath.Join(filepath.Dir(dir), "outside")
	write(t, filepath.Join(outside, "deep", "file"), "")
	must(t, os.Rename(outside, filepath.Join(dir, "moved")))
	until(t, w, filepath.Join(dir, "moved"))
	until(t, w, write(t, filepath.Join(dir, "moved", "deep", "file"), "changed"))
}

// TestSkipped changes what does not count, and then something that does.
func TestSkipped(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tree")
	huge := write(t, filepath.Join(dir, "node_modules", "x", "index.js"), "")
	write(t, filepath.Join(dir, "file"), "")
	w := watching(t, Tree{Path: dir, Skip: func(name string, isDir bool) bool {
		return isDir && name == "node_modules" || strings.HasSuffix(name, ".log")
	}})
	for _, p := range w.fs.WatchList() {
		if strings.Contains(p, "node_modules") {
			t.Errorf("%s is watched", p)
		}
	}
	write(t, huge, "other")
	write(t, filepath.Join(dir, "node_modules", "y", "index.js"), "new")
	write(t, filepath.Join(dir, "a.log"), "line")
	write(t, filepath.Join(filepath.Dir(dir), "beside"), "no part of it")
	last := write(t, filepath.Join(dir, "sub", "file"), "changed")
	for _, p := range until(t, w, filepath.Dir(last)) {
		if strings.Contains(p, "node_modules") || strings.HasSuffix(p, ".log") || strings.HasSuffix(p, "beside") {
			t.Errorf("%s was told", p)
		}
	}
}

// TestReplaced has a tree that goes and comes back, as when a branch is checked out, and one that is a file.
func TestReplaced(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	dir, file := filepath.Join(parent, "tree"), write(t, filepath.Join(parent, "app.zip"), "")
	write(t, filepath.Join(dir, "file"), "")
	w := watching(t, Tree{Path: dir}, Tree{Path: file})
	must(t, os.Rename(dir, dir+".old"))
	until(t, w, dir)
	write(t, filepath.Join(dir, "sub", "file"), "back")
	until(t, w, dir)
	until(t, w, write(t, filepath.Join(dir, "sub", "file"), "again"))
	until(t, w, write(t, file, "zip"))
}

// TestLinked follows the tree's own link, and none in it.
func TestLinked(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	real := filepath.Join(parent, "real", "tree")
	write(t, filepath.Join(real, "sub", "file"), "")
	must(t, os.Symlink("/", filepath.Join(real, "root")), os.Symlink(real, filepath.Join(parent, "link")))
	w := watching(t, Tree{Path: filepath.Join(parent, "link")})
	if n := len(w.fs.WatchList()); n > 4 {
		t.Errorf("%d directories are watched", n)
	}
	until(t, w, write(t, filepath.Join(real, "sub", "file"), "changed"))
}

// TestOverflow has everything changed when the kernel lost count, and a directory that it did not tell of.
func TestOverflow(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tree")
	write(t, filepath.Join(dir, "lost", "file"), "")
	w := watching(t, Tree{Path: dir})
	must(t, w.fs.Remove(filepath.Join(dir, "lost")))
	changed := map[string]bool{}
	must(t, w.lost(fmt.Errorf("read: %w", fsnotify.ErrEventOverflow), changed))
	if !changed[dir] {
		t.Errorf("changed %v", changed)
	}
	until(t, w, write(t, filepath.Join(dir, "lost", "file"), "found"))
}

func TestEnd(t *testing.T) {
	t.Parallel()
	w := watching(t, Tree{Path: t.TempDir()})
	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if _, err := w.Next(ctx); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	if _, err := Open(Tree{Path: filepath.Join(t.TempDir(), "nowhere")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v of a tree that is not there", err)
	}
}

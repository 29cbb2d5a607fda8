package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"

	"github.com/slipway-build/slipway/builder/cnb"
)

const (
	ignoreName     = ".gitignore"
	maxIgnore      = 1 << 20
	maxIgnoreLines = 20_000
)

// An ignore is the .gitignore files that count for a directory: its own, those in it, and those above it in the same
// repository. What one of them takes away with its directory, none in it brings back.
type ignore struct {
	above    []string // the directory's path in its repository
	patterns []gitignore.Pattern
}

// ignoreAbove reads the files above dir, from the top of the repository down.
func ignoreAbove(dir string) (*ignore, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	i := &ignore{}
	var dirs []string
	for d := abs; ; d = filepath.Dir(d) {
		if _, err := os.Lstat(filepath.Join(d, ".git")); err == nil {
			break
		}
		if d == filepath.Dir(d) {
			return i, nil // no repository: what lies above means nothing
		}
		dirs = append(dirs, filepath.Dir(d))
		i.above = append(i.above, filepath.Base(d))
	}
	slices.Reverse(dirs)
	slices.Reverse(i.above)
	for n, d := range dirs {
		b, err := cnb.ReadFile(d, ignoreName, maxIgnore)
		if err == nil {
			err = i.read(b, i.above[:n])
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read %s: %w", filepath.Join(d, ignoreName), err)
		}
	}
	return i, nil
}

// add reads the file in a directory, whose name from the top of the source is given.
func (i *ignore) add(dir *os.Root, name string) error {
	b, err := cnb.ReadFileIn(dir, ignoreName, maxIgnore)
	if err == nil {
		err = i.read(b, i.path(name))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read %q: %w", short(strings.TrimPrefix(name+"/"+ignoreName, "/")), err)
	}
	return nil
}

func (i *ignore) read(b []byte, domain []string) error {
	for l := range strings.Lines(string(b)) {
		l = strings.TrimRight(l, "\r\n")
		if strings.TrimSpace(l) == "" || strings.HasPrefix(l, "#") {
			continue
		}
		if len(i.patterns) == maxIgnoreLines {
			return fmt.Errorf("the %s files have more than %d patterns", ignoreName, maxIgnoreLines)
		}
		i.patterns = append(i.patterns, gitignore.ParsePattern(strings.TrimPrefix(l, "\\"), domain))
	}
	return nil
}

// path is an entry's path in the repository.
func (i *ignore) path(name string) []string {
	if name == "" {
		return i.above
	}
	return append(slices.Clip(i.above), strings.Split(name, "/")...)
}

func (i *ignore) has(name string, isDir bool) bool {
	return i != nil && gitignore.NewMatcher(i.patterns).Match(i.path(name), isDir)
}

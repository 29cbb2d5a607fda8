package launch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Limits of an env directory: what Linux takes as one string of an environment, and a number of files that
// no honest buildpack reaches.
const (
	maxEnvValue = 128 << 10
	maxEnvFiles = 512
)

// ReadEnvDir reads the files of an env directory, sorted by name; directories in it are left out. It is empty
// where dir does not exist. A file that is not regular is an error, and never blocks.
func ReadEnvDir(dir string) ([]EnvFile, error) {
	return readEnvDir(dir, func(name string, flag int) (*os.File, error) { return os.OpenFile(name, flag, 0) })
}

// ReadEnvDirIn is ReadEnvDir for a directory below root that other people's code wrote: no link is followed
// out of root.
func ReadEnvDirIn(root *os.Root, dir string) ([]EnvFile, error) {
	return readEnvDir(dir, func(name string, flag int) (*os.File, error) { return root.OpenFile(name, flag, 0) })
}

func readEnvDir(dir string, open func(name string, flag int) (*os.File, error)) ([]EnvFile, error) {
	entries, err := readDir(dir, open)
	if err != nil {
		return nil, err
	}
	var out []EnvFile
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		v, isDir, err := readValue(filepath.Join(dir, e.Name()), open)
		if err != nil {
			return nil, err
		}
		if isDir {
			continue
		}
		if out = append(out, EnvFile{e.Name(), v}); len(out) > maxEnvFiles {
			return nil, fmt.Errorf("%s: more than %d env files", dir, maxEnvFiles)
		}
	}
	return out, nil
}

// readDir lists dir sorted by name; nothing where there is no such directory.
func readDir(dir string, open func(name string, flag int) (*os.File, error)) ([]fs.DirEntry, error) {
	f, err := open(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read directory: %w", err)
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", dir, err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// readValue reads one env file. isDir tells that it is a link to a directory, which is no variable.
func readValue(name string, open func(name string, flag int) (*os.File, error)) (v string, isDir bool, err error) {
	f, err := open(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY)
	if err != nil {
		return "", false, fmt.Errorf("read env file: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	switch {
	case err != nil:
		return "", false, fmt.Errorf("read env file: %w", err)
	case fi.IsDir():
		return "", true, nil
	case !fi.Mode().IsRegular():
		return "", false, fmt.Errorf("env file %q: not a regular file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxEnvValue+1))
	if err != nil {
		return "", false, fmt.Errorf("read env file: %w", err)
	}
	if len(b) > maxEnvValue {
		return "", false, fmt.Errorf("env file %q: more than %d bytes, the limit for a variable", name, maxEnvValue)
	}
	return string(b), false, nil
}

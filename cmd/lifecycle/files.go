package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/slipway-build/slipway/builder/cnb"
)

// maxFile bounds the platform's files; analyzed.toml holds the metadata of a whole image.
const maxFile = 16 * cnb.MaxDescriptor

// readFile reads one of the platform's files: a regular file, also behind a link, of bounded size. Nothing blocks.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case fi.Size() > maxFile:
		return nil, fmt.Errorf("%s has %d bytes, more than %d", path, fi.Size(), int64(maxFile))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", path, int64(maxFile))
	}
	return b, err
}

// read decodes a file that has to be there. what names it in the error: "group", "order".
func read[T any](what, path string, decode func(string, []byte) (T, error)) (T, error) {
	var none T
	b, err := readFile(path)
	if err != nil {
		return none, fmt.Errorf("failed to read %s file: %w", what, err)
	}
	v, err := decode(path, b)
	if err != nil {
		return none, fmt.Errorf("failed to read %s file: %w", what, tomlPhrase(err, b))
	}
	return v, nil
}

// readIfThere is read, with the zero value for a file that is not there; absent says so.
func readIfThere[T any](what, path string, decode func(string, []byte) (T, error), absent func(string, ...any), format string) (T, error) {
	v, err := read(what, path, decode)
	if errors.Is(err, fs.ErrNotExist) {
		absent(format, path)
		return v, nil
	}
	return v, err
}

// write writes one of the platform's files and the directory that it is in.
func write(what, path string, b []byte, err error) error {
	if err == nil {
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			err = os.WriteFile(path, b, 0o644)
		}
	}
	if err != nil {
		return fmt.Errorf("failed to write %s file: %w", what, err)
	}
	return nil
}

func (c *command) readAnalyzed() (cnb.Analyzed, error) {
	return readIfThere("analyzed", c.Analyzed, cnb.DecodeAnalyzed, c.log.warnf, "No analyzed metadata found at path %q")
}

func (c *command) writeAnalyzed(a cnb.Analyzed) error {
	b, err := cnb.EncodeAnalyzed(a)
	return write("analyzed", c.Analyzed, b, err)
}

// readGroup reads group.toml and makes sure that its buildpacks speak an API we know.
func (c *command) readGroup() (cnb.Group, error) {
	g, err := read("group", c.Group, cnb.DecodeGroup)
	if err != nil {
		return g, err
	}
	for _, e := range g.Elements {
		if !e.Extension {
			if err := checkBuildpackAPI(e); err != nil {
				return g, err
			}
		}
	}
	return g, nil
}

// runImages is the run images that the platform names: run.toml, or stack.toml before Platform API 0.12.
func (c *command) runImages() ([]cnb.RunImageName, error) {
	if c.API.AtLeast(0, 12) {
		return readIfThere("run", c.Run, cnb.DecodeRun, c.log.infof, "No run metadata found at path %q")
	}
	stack, err := readIfThere("stack", c.Stack, cnb.DecodeStack, c.log.infof, "No stack metadata found at path %q")
	if err != nil || stack.Image == "" {
		return nil, err
	}
	return []cnb.RunImageName{stack}, nil
}

package index

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// A Fault is what is wrong at one place of an index. Everything else of it counts.
type Fault struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"` // 0: the file
	Reason string `json:"reason"`
}

func (f Fault) String() string {
	if f.Line == 0 {
		return f.File + ": " + f.Reason
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Reason)
}

// What an index may be at most.
const (
	maxLine     = 64 << 10
	maxFile     = 64 << 20
	maxVersions = 4_000_000
	maxFiles    = 500_000
	maxFaults   = 100 // that are kept; more are counted
)

// A Tree is an index as it was read.
type Tree struct {
	Buildpacks []Buildpack // by name
	Versions   int
	Faults     []Fault
	MoreFaults int // that were not kept
}

// ReadDir reads the index in a directory. Links are not followed.
func ReadDir(ctx context.Context, dir string) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	defer root.Close()
	t := newReading()
	err = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if p != "." && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || !strings.Contains(p, "/") {
			return nil
		}
		f, err := root.Open(p)
		if err != nil {
			return err
		}
		return errors.Join(t.file(p, f), f.Close())
	})
	tree, err := t.done(err)
	if err != nil {
		return nil, fmt.Errorf("read index %s: %w", dir, err)
	}
	return tree, nil
}

// ReadTar reads the index in a tar, plain or compressed by gzip or zstd. Its files may lie in one directory on top.
func ReadTar(ctx context.Context, r io.Reader) (*Tree, error) {
	plain, err := decompress(r)
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	defer plain.Close()
	t := newReading()
	tree, err := t.done(t.tar(ctx, tar.NewReader(plain)))
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	return tree, nil
}

func (t *reading) tar(ctx context.Context, tr *tar.Reader) error {
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is no tar archive: %w", err)
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		p := path.Clean(strings.TrimPrefix(h.Name, "./"))
		if h.Typeflag != tar.TypeReg || strings.HasPrefix(p, ".") || !strings.Contains(p, "/") {
			continue
		}
		if err := t.file(p, tr); err != nil {
			return err
		}
	}
}

func decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	magic, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(br)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(br, zstd.WithDecoderMaxMemory(64<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(br), nil
}

// ReadPath reads the index at a path: a directory, or a tar.
func ReadPath(ctx context.Context, at string) (*Tree, error) {
	fi, err := os.Stat(at)
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	if fi.IsDir() {
		return ReadDir(ctx, at)
	}
	f, err := os.Open(filepath.Clean(at))
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	defer f.Close()
	t, err := ReadTar(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	return t, nil
}

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
	"slices"
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

	repositories map[string]bool // that were found good
}

func (t *Tree) fault(file string, line int, reason error) {
	if len(t.Faults) == maxFaults {
		t.MoreFaults++
		return
	}
	t.Faults = append(t.Faults, Fault{File: file, Line: line, Reason: reason.Error()})
}

// ReadDir reads the index in a directory. Links are not followed.
func ReadDir(ctx context.Context, dir string) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	defer root.Close()
	t := &Tree{repositories: map[string]bool{}}
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
	if err != nil {
		return nil, fmt.Errorf("read index %s: %w", dir, err)
	}
	return t.done(), nil
}

// ReadTar reads the index in a tar, plain or compressed by gzip or zstd. Its files may lie in one directory on top.
func ReadTar(ctx context.Context, r io.Reader) (*Tree, error) {
	plain, err := decompress(r)
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	defer plain.Close()
	t := &Tree{repositories: map[string]bool{}}
	for tr := tar.NewReader(plain); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return t.done(), nil
		}
		if err != nil {
			return nil, fmt.Errorf("read index: it is no tar archive: %w", err)
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		p := path.Clean(strings.TrimPrefix(h.Name, "./"))
		if h.Typeflag != tar.TypeReg || strings.HasPrefix(p, ".") || !strings.Contains(p, "/") {
			continue
		}
		if err := t.file(p, tr); err != nil {
			return nil, fmt.Errorf("read index: %w", err)
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

// file reads the file at p, of which the last two or three parts say whose it is. Other files are none of an index's.
func (t *Tree) file(p string, r io.Reader) error {
	ns, name, ok := strings.Cut(path.Base(p), "_")
	if !ok {
		return nil
	}
	n, err := ParseName(ns + "/" + name)
	if err != nil {
		t.fault(p, 0, err)
		return nil
	}
	if want := n.Path(); p != want && !strings.HasSuffix(p, "/"+want) {
		t.fault(p, 0, fmt.Errorf("the versions of %s belong into %s", n, want))
		return nil
	}
	if len(t.Buildpacks) == maxFiles {
		return fmt.Errorf("more than %d buildpacks", maxFiles)
	}
	b, err := t.lines(p, n, r)
	if err != nil {
		return err
	}
	for _, twice := range b.arrange() {
		t.fault(p, 0, twice)
	}
	if t.Versions += len(b.Versions); t.Versions > maxVersions {
		return fmt.Errorf("more than %d versions", maxVersions)
	}
	t.Buildpacks = append(t.Buildpacks, b)
	return nil
}

func (t *Tree) lines(p string, n Name, r io.Reader) (Buildpack, error) {
	b := Buildpack{Name: n}
	limited := &io.LimitedReader{R: r, N: maxFile}
	br := bufio.NewReaderSize(limited, maxLine)
	for no := 1; ; no++ {
		text, err := br.ReadSlice('\n')
		long := err == bufio.ErrBufferFull
		for err == bufio.ErrBufferFull { // the rest of it
			_, err = br.ReadSlice('\n')
		}
		text = bytes.TrimSpace(text)
		switch {
		case long:
			t.fault(p, no, fmt.Errorf("the line has %d bytes or more", maxLine))
		case len(text) > 0:
			v, verr := parseLine(text, n, t.repositories)
			if verr != nil {
				t.fault(p, no, verr)
				break
			}
			b.Versions = append(b.Versions, v)
		}
		if err == io.EOF {
			if limited.N == 0 {
				t.fault(p, no, fmt.Errorf("the file is larger than %d bytes: the rest was not read", maxFile))
			}
			return b, nil
		}
		if err != nil {
			return b, fmt.Errorf("%s: %w", p, err)
		}
	}
}

func (t *Tree) done() *Tree {
	slices.SortFunc(t.Buildpacks, func(a, b Buildpack) int { return strings.Compare(a.Name.String(), b.Name.String()) })
	var last Name
	t.Buildpacks = slices.DeleteFunc(t.Buildpacks, func(b Buildpack) bool {
		twice := b.Name == last
		if last = b.Name; twice {
			t.fault(b.Name.Path(), 0, fmt.Errorf("the file is there in more than one directory: the first counts"))
		}
		return twice || len(b.Versions) == 0
	})
	return t
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

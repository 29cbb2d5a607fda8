// Package source puts an app's source, a directory, a zip file or a tar file, into a directory of a build. What
// it reads is other people's work and may be hostile or change meanwhile; it may run as root. It does not fetch
// anything and runs no program.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A Kind is a form of source.
type Kind string

// The kinds of source. A tar file may be compressed with gzip.
const (
	Dir Kind = "dir"
	Zip Kind = "zip"
	Tar Kind = "tar"
)

// DescriptorName is the project descriptor's usual name.
const DescriptorName = "project.toml"

// LockName is the file beside it that says which buildpacks of indexes the app's builds take (package index).
const LockName = "slipway.lock"

// toldNames are the files in the root of a source that are read apart from it.
var toldNames = []string{DescriptorName, LockName}

// Limits bound what a source may cost. A zero field means the default: for archives 512 MiB in, 2 GiB and
// 200,000 entries out and a ratio of 200 to 1; for a directory, which its user has on disk already, 64 GiB
// and 2,000,000 entries.
type Limits struct {
	Archive int64 // bytes of the archive
	Bytes   int64 // bytes of all files
	Files   int   // entries
	Ratio   int64 // bytes of all files per byte of the archive
}

func (l Limits) or(d Limits) Limits {
	if l.Archive == 0 {
		l.Archive = d.Archive
	}
	if l.Bytes == 0 {
		l.Bytes = d.Bytes
	}
	if l.Files == 0 {
		l.Files = d.Files
	}
	if l.Ratio == 0 {
		l.Ratio = d.Ratio
	}
	return l
}

// A Request says what to unpack, and where.
type Request struct {
	Path string // directory or archive
	Dest string // an existing, empty directory
	// UID and GID become the owner of everything in Dest and of Dest; -1 leaves the caller's.
	UID, GID int
	// Descriptor is the text of a project descriptor that is not the source's own project.toml, if any.
	Descriptor     []byte
	DescriptorPath string // its name in errors; "" means project.toml
	// Include and Exclude replace the descriptor's, if one of them is not empty.
	Include, Exclude []string
	Limits           Limits
	// Unwrap takes of an archive whose entries are all in one directory that directory's content. See unwrapped.
	Unwrap bool
}

// A Result says what was unpacked.
type Result struct {
	Kind Kind
	// Digest is "sha256:..." of names, modes, link targets and contents, in an order of its own: the same files
	// have the same digest in whatever form they come. Times and owners are not part of it.
	Digest string
	Files  int   // regular files
	Bytes  int64 // in them
	// Descriptor is the project descriptor that counts: the request's, else the source's project.toml, else nil.
	Descriptor []byte
	Git        *GitInfo // nil where the source has no .git directory
	Skipped    []string // sockets and FIFOs, at most 20 of them, that were left out
}

// KindOf tells what kind of source a path is; the error says what is wrong with it.
func KindOf(path string) (Kind, error) {
	f, fi, err := open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return kindOf(f, fi, path)
}

// open opens a source without ever waiting for a FIFO's other end.
func open(path string) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("source %s: no such file or directory: %w", path, os.ErrNotExist)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open source: %w", err)
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("open source: %w", err)
	}
	return f, fi, nil
}

func kindOf(f *os.File, fi os.FileInfo, path string) (Kind, error) {
	switch {
	case fi.IsDir():
		return Dir, nil
	case !fi.Mode().IsRegular():
		return "", fmt.Errorf("source %s: neither a directory nor a regular file", path)
	}
	head := make([]byte, 262)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("read source: %w", err)
	}
	head = head[:n]
	switch {
	case len(head) == 0:
		return "", fmt.Errorf("source %s: the file is empty", path)
	case strings.HasPrefix(string(head), "PK\x03\x04"), strings.HasPrefix(string(head), "PK\x05\x06"):
		return Zip, nil
	case strings.HasPrefix(string(head), "\x1f\x8b"), len(head) == 262 && string(head[257:262]) == "ustar":
		return Tar, nil
	}
	return "", fmt.Errorf("source %s: not a directory, a zip file, a tar file or a tar file compressed with gzip", path)
}

// Unpack puts the source at req.Path into req.Dest. On an error Dest holds whatever was unpacked so far: the
// caller removes it.
func Unpack(ctx context.Context, req Request) (*Result, error) {
	r, kind, limits, closer, err := req.open()
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	res := &Result{Kind: kind}
	keep, err := req.filter(ctx, r, res)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", req.Path, err)
	}
	w, err := newWriter(ctx, req, limits, keep, res)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := r.each(ctx, w); err != nil {
		return nil, fmt.Errorf("source %s: %w", req.Path, err)
	}
	if err := w.finish(); err != nil {
		return nil, fmt.Errorf("source %s: %w", req.Path, err)
	}
	if kind == Dir {
		res.Git = gitBelow(req.Path)
	}
	return res, nil
}

// open finds out what kind of source there is and what limits it has.
func (req Request) open() (reader, Kind, Limits, io.Closer, error) {
	f, fi, err := open(req.Path)
	if err != nil {
		return nil, "", Limits{}, nil, err
	}
	kind, err := kindOf(f, fi, req.Path)
	if err != nil {
		return nil, "", Limits{}, nil, errors.Join(err, f.Close())
	}
	limits := req.Limits.or(Limits{Archive: 512 << 20, Bytes: 2 << 30, Files: 200_000, Ratio: 200})
	if kind == Dir {
		limits = req.Limits.or(Limits{Bytes: 64 << 30, Files: 2_000_000})
	} else if fi.Size() > limits.Archive {
		err := fmt.Errorf("source %s: the archive has %d bytes, the limit is %d", req.Path, fi.Size(), limits.Archive)
		return nil, "", Limits{}, nil, errors.Join(err, f.Close())
	} else if byRatio := max(fi.Size(), 64<<10) * limits.Ratio; byRatio < limits.Bytes {
		limits.Bytes = byRatio
	}
	switch kind {
	case Zip:
		return &zipReader{f: f, size: fi.Size(), limits: limits, unwrap: req.Unwrap, most: cnb.MaxDescriptor}, kind, limits, f, nil
	case Tar:
		return &tarReader{f: f, limits: limits, unwrap: req.Unwrap, names: toldNames, most: cnb.MaxDescriptor}, kind, limits, f, nil
	}
	return &dirReader{path: req.Path}, kind, limits, f, nil
}

// Told is what the root of a source says of its builds. What is not there is nil.
type Told struct {
	Descriptor []byte // project.toml
	Lock       []byte // slipway.lock
}

// Tell reads what the source at path says of its builds and nothing else. unwrap is Request.Unwrap.
func Tell(ctx context.Context, path string, unwrap bool) (t Told, err error) {
	r, _, _, closer, err := Request{Path: path, Unwrap: unwrap}.open()
	if err != nil {
		return t, err
	}
	defer closer.Close()
	if t.Descriptor, err = r.told(ctx, DescriptorName); err == nil {
		t.Lock, err = r.told(ctx, LockName)
	}
	if err != nil {
		return t, fmt.Errorf("source %s: %w", path, err)
	}
	return t, nil
}

// Files reads files in the root of the archive at path, of those names that are there, each to one byte more than most.
// unwrap is Request.Unwrap.
func Files(ctx context.Context, path string, unwrap bool, most int64, names ...string) (map[string][]byte, error) {
	r, kind, _, closer, err := Request{Path: path, Unwrap: unwrap}.open()
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	switch r := r.(type) {
	case *zipReader:
		r.most = most
	case *tarReader:
		r.names, r.most = names, most
	default:
		return nil, fmt.Errorf("source %s: it is a %s, and no archive", path, kind)
	}
	files := map[string][]byte{}
	for _, name := range names {
		text, err := r.told(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", path, err)
		}
		if text != nil {
			files[name] = text
		}
	}
	return files, nil
}

// A reader is one kind of source.
type reader interface {
	// told is the file of that name, one of toldNames or those that Files is asked for, in the source's root; nil if it has none.
	told(ctx context.Context, name string) ([]byte, error)
	// each gives every entry to w, which checks names and limits.
	each(ctx context.Context, w *writer) error
}

// filter finds the descriptor and makes the filter of it, or of the request's own patterns.
func (req Request) filter(ctx context.Context, r reader, res *Result) (*filter, error) {
	name := req.DescriptorPath
	if name == "" {
		name = DescriptorName
	}
	res.Descriptor = req.Descriptor
	if res.Descriptor == nil {
		b, err := r.told(ctx, DescriptorName)
		if err != nil {
			return nil, err
		}
		res.Descriptor = b
	}
	include, exclude := req.Include, req.Exclude
	if len(include)+len(exclude) == 0 && res.Descriptor != nil {
		p, err := ParseDescriptor(name, res.Descriptor)
		if err != nil {
			return nil, err
		}
		include, exclude = p.Include, p.Exclude
	}
	return newFilter(include, exclude)
}

// Skips says what of the directory at path is no part of the app by its project.toml, or by the text of another
// descriptor, called name. A directory is skipped only where nothing below it can be part of the app.
func Skips(ctx context.Context, path, name string, descriptor []byte) (func(entry string, isDir bool) bool, error) {
	f, err := Request{Path: path, Descriptor: descriptor, DescriptorPath: name}.filter(ctx, &dirReader{path: path}, &Result{})
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", path, err)
	}
	return func(entry string, isDir bool) bool {
		if isDir {
			return f.prunes(entry)
		}
		return !f.keeps(entry, false)
	}, nil
}

// ParseDescriptor reads a project descriptor (project.toml) of schema version 0.1, 0.2 or 0.3.
func ParseDescriptor(name string, b []byte) (*cnb.Project, error) {
	return cnb.DecodeProject(name, b)
}

package source

import (
	"archive/tar"
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

	"github.com/klauspost/compress/gzip"
)

// A PackRequest says which directory to pack.
type PackRequest struct {
	Dir string
	// Ignored packs what git ignores (.gitignore) too.
	Ignored bool
	Limits  Limits
}

// Pack writes a directory to w as a tar compressed with gzip, for a service to build: what Unpack takes of it,
// by the same filter of its project.toml, under the same limits and with the same refusals, so that what is unpacked
// from it has the digest that the directory has. Left out besides is what a push would not bring: .git, and what
// .gitignore files say. Result has the numbers of what was packed, and no digest.
func Pack(ctx context.Context, req PackRequest, w io.Writer) (*Result, error) {
	u := Request{Path: req.Dir, Limits: req.Limits}
	r, kind, limits, closer, err := u.open()
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	if kind != Dir {
		return nil, fmt.Errorf("source %s: it is packed already", req.Dir)
	}
	res := &Result{Kind: kind}
	keep, err := u.filter(ctx, r, res)
	if err == nil {
		z := gzip.NewWriter(w)
		p := &packer{ctx: ctx, tar: tar.NewWriter(z), keep: keep, limits: limits, res: res, buf: make([]byte, 256<<10)}
		err = p.pack(req, z)
	}
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", req.Dir, err)
	}
	return res, nil
}

// A packer is to Pack what a writer is to Unpack.
type packer struct {
	ctx    context.Context
	tar    *tar.Writer
	keep   *filter
	limits Limits
	res    *Result
	ignore *ignore // nil: nothing is ignored
	links  int
	count  int
	buf    []byte
}

// A folder is a directory above what is packed now. It is written before the first of its files, or, if it is kept for
// itself, at once.
type folder struct {
	name    string
	info    fs.FileInfo
	above   *folder
	written bool
}

func (p *packer) pack(req PackRequest, z io.Closer) error {
	root, err := os.OpenRoot(req.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if !req.Ignored {
		if p.ignore, err = ignoreAbove(req.Dir); err != nil {
			return err
		}
	}
	if err := p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755}); err != nil { // see unwrapped
		return err
	}
	if err := p.walk(root, &folder{written: true}); err != nil {
		return err
	}
	if p.res.Files+p.links == 0 {
		if p.keep.match != nil || !req.Ignored {
			return fmt.Errorf("no file is left after %s and .gitignore: there is nothing to build", DescriptorName)
		}
		return fmt.Errorf("it has no files: there is nothing to build")
	}
	return errors.Join(p.tar.Close(), z.Close())
}

// walk packs what is in a directory, sorted by name.
func (p *packer) walk(dir *os.Root, at *folder) error {
	f, err := dir.Open(".")
	if err != nil {
		return fmt.Errorf("read directory %q: %w", short(at.name), err)
	}
	entries, err := f.ReadDir(-1)
	f.Close()
	if err != nil {
		return fmt.Errorf("read directory %q: %w", short(at.name), err)
	}
	if p.ignore != nil {
		if err := p.ignore.add(dir, at.name); err != nil {
			return err
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		name, err := clean(path.Join(at.name, e.Name()))
		if err == nil {
			err = p.one(dir, e, name, at)
		}
		if err != nil && !errors.Is(err, errGone) {
			return err
		}
	}
	return nil
}

func (p *packer) one(dir *os.Root, e fs.DirEntry, name string, at *folder) error {
	if p.count++; p.count > p.limits.Files {
		return fmt.Errorf("more than %d entries, the limit", p.limits.Files)
	}
	if err := context.Cause(p.ctx); err != nil {
		return err
	}
	if e.Name() == ".git" || p.ignore.has(name, e.IsDir()) {
		return nil
	}
	if e.IsDir() {
		return p.dir(dir, e.Name(), name, at)
	}
	if !p.keep.keeps(name, false) {
		return nil
	}
	switch t := e.Type(); {
	case t&fs.ModeSymlink != 0:
		return p.symlink(dir, e, name, at)
	case t.IsRegular():
		return p.file(dir, e.Name(), name, at)
	case t&(fs.ModeSocket|fs.ModeNamedPipe) != 0:
		return p.skip(name)
	}
	return fmt.Errorf("%q is a device: remove it or add it to exclude in %s", short(name), DescriptorName)
}

func (p *packer) skip(name string) error {
	if len(p.res.Skipped) < 20 {
		p.res.Skipped = append(p.res.Skipped, name)
	}
	return nil
}

func (p *packer) dir(dir *os.Root, base, name string, at *folder) error {
	if p.keep.prunes(name) {
		return nil
	}
	sub, err := dir.OpenRoot(base)
	if err != nil {
		return gone("read directory", name, err)
	}
	defer sub.Close()
	fi, err := sub.Stat(".")
	if err != nil {
		return gone("read directory", name, err)
	}
	f := &folder{name: name, info: fi, above: at}
	if p.keep.keeps(name, true) {
		if err := p.open(f); err != nil {
			return err
		}
	}
	return p.walk(sub, f)
}

// open writes a directory and those above it, once.
func (p *packer) open(f *folder) error {
	if f.written {
		return nil
	}
	f.written = true
	if err := p.open(f.above); err != nil {
		return err
	}
	return p.tar.WriteHeader(header(f.name+"/", tar.TypeDir, f.info))
}

func header(name string, kind byte, fi fs.FileInfo) *tar.Header {
	return &tar.Header{Name: name, Typeflag: kind, Mode: int64(fi.Mode().Perm()), ModTime: fi.ModTime(), Format: tar.FormatPAX}
}

func (p *packer) symlink(dir *os.Root, e fs.DirEntry, name string, at *folder) error {
	target, err := dir.Readlink(e.Name())
	if err != nil {
		return gone("read link", name, err)
	}
	fi, err := dir.Lstat(e.Name())
	if err != nil {
		return gone("read link", name, err)
	}
	if strings.HasPrefix(target, "/") || !inside(name, target) {
		return leadsOut(name, target)
	}
	if err := p.open(at); err != nil {
		return err
	}
	p.links++
	h := header(name, tar.TypeSymlink, fi)
	h.Linkname = target
	return p.tar.WriteHeader(h)
}

func (p *packer) file(dir *os.Root, base, name string, at *folder) error {
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
		return p.skip(name)
	}
	if fi.Size() > p.limits.Bytes-p.res.Bytes {
		return fmt.Errorf("%q: the files have more than %d bytes together, the limit for this source", short(name), p.limits.Bytes)
	}
	if err := p.open(at); err != nil {
		return err
	}
	h := header(name, tar.TypeReg, fi)
	h.Size = fi.Size()
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{p.tar}, &ctxReader{p.ctx, io.LimitReader(f, fi.Size())}, p.buf)
	if err != nil {
		return fmt.Errorf("read %q: %w", short(name), err)
	}
	if n < fi.Size() {
		return fmt.Errorf("%q became shorter while it was read", short(name))
	}
	p.res.Files++
	p.res.Bytes += n
	return nil
}

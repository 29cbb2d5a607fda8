package source

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
)

// zipReader reads a zip file.
type zipReader struct {
	f    *os.File
	size int64
	z    *zip.Reader
}

func (z *zipReader) open() error {
	if z.z != nil {
		return nil
	}
	r, err := zip.NewReader(z.f, z.size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // names are checked one by one
		return fmt.Errorf("not a valid zip file: %w", err)
	}
	z.z = r
	return nil
}

func (z *zipReader) descriptor(context.Context) ([]byte, error) {
	if err := z.open(); err != nil {
		return nil, err
	}
	for _, f := range z.z.File {
		if name, err := clean(f.Name); err == nil && name == DescriptorName && f.Mode().IsRegular() {
			r, err := f.Open()
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", DescriptorName, err)
			}
			defer r.Close()
			return readDescriptor(r)
		}
	}
	return nil, nil
}

// readDescriptor reads one byte more than the limit at most, which the decoder then refuses.
func readDescriptor(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, cnb.MaxDescriptor+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", DescriptorName, err)
	}
	return b, nil
}

func (z *zipReader) each(_ context.Context, w *writer) error {
	if err := z.open(); err != nil {
		return err
	}
	for _, f := range z.z.File {
		name, err := clean(f.Name)
		if err != nil {
			return err
		}
		if err := z.one(w, f, name); err != nil {
			return err
		}
	}
	return nil
}

func (z *zipReader) one(w *writer, f *zip.File, name string) error {
	mode := f.Mode()
	switch {
	case mode.IsDir():
		return w.dir(name, zipMode(f, 0o755), f.Modified)
	case !w.keep.keeps(name, false):
		return w.next()
	case f.Flags&1 != 0:
		return fmt.Errorf("entry %q: is encrypted: make the zip file without a password", short(name))
	case mode&(fs.ModeSymlink) != 0:
		r, err := f.Open()
		if err != nil {
			return fmt.Errorf("entry %q: %w", short(name), err)
		}
		defer r.Close()
		target, err := io.ReadAll(io.LimitReader(r, maxName+1))
		if err != nil {
			return fmt.Errorf("entry %q: %w", short(name), err)
		}
		return w.symlink(name, string(target))
	case mode&(fs.ModeSocket|fs.ModeNamedPipe) != 0:
		return w.skip(name)
	case !mode.IsRegular():
		return fmt.Errorf("entry %q: is a device", short(name))
	}
	r, err := f.Open()
	if err != nil {
		return fmt.Errorf("entry %q: %w", short(name), err)
	}
	defer r.Close()
	return w.file(name, zipMode(f, 0o755), f.Modified, r)
}

// zipMode is an entry's mode. A zip file made on Windows has none: all may be executed then, for scripts.
func zipMode(f *zip.File, none fs.FileMode) fs.FileMode {
	if host := f.CreatorVersion >> 8; host != 3 && host != 19 { // Unix and macOS
		return none
	}
	return f.Mode().Perm()
}

// tarReader reads a tar file, compressed with gzip or not.
type tarReader struct{ f *os.File }

// open reads from the start.
func (t *tarReader) open() (*tar.Reader, error) {
	r := bufio.NewReaderSize(io.NewSectionReader(t.f, 0, 1<<62), 256<<10)
	if head, _ := r.Peek(2); string(head) != "\x1f\x8b" {
		return tar.NewReader(r), nil
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("not a valid gzip file: %w", err)
	}
	return tar.NewReader(bufio.NewReaderSize(z, 256<<10)), nil
}

// maxSkipped bounds what is decompressed in search of project.toml, in bytes.
const maxSkipped = 4 << 30

func (t *tarReader) descriptor(ctx context.Context) (b []byte, err error) {
	r, err := t.open()
	if err != nil {
		return nil, err
	}
	var passed int64
	for passed < maxSkipped {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, tarError(err)
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		passed += h.Size
		if name, err := clean(h.Name); err == nil && name == DescriptorName && h.Typeflag == tar.TypeReg {
			if b, err = readDescriptor(r); err != nil { // the last of a name counts
				return nil, err
			}
		}
	}
	return b, nil
}

// tarError explains what a tar file that is none looks like.
func tarError(err error) error {
	if errors.Is(err, tar.ErrInsecurePath) {
		return fmt.Errorf("read the archive: %w", err)
	}
	return fmt.Errorf("not a valid tar file: %w", err)
}

func (t *tarReader) each(_ context.Context, w *writer) error {
	r, err := t.open()
	if err != nil {
		return err
	}
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // names are checked one by one
			return tarError(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		name, err := clean(h.Name)
		if err != nil {
			return err
		}
		if err := t.one(w, h, name, r); err != nil {
			return err
		}
	}
}

func (t *tarReader) one(w *writer, h *tar.Header, name string, r io.Reader) error {
	mode := fs.FileMode(h.Mode) & fs.ModePerm
	switch h.Typeflag {
	case tar.TypeDir:
		return w.dir(name, mode, h.ModTime)
	case tar.TypeReg, tar.TypeGNUSparse:
		if left := w.limits.Bytes - w.res.Bytes; h.Size > left && w.keep.keeps(name, false) {
			return fmt.Errorf("%q: the files have more than %d bytes together, the limit for this source", short(name), w.limits.Bytes)
		}
		return w.file(name, mode, h.ModTime, r)
	case tar.TypeSymlink:
		return w.symlink(name, h.Linkname)
	case tar.TypeLink:
		target, err := clean(h.Linkname)
		if err != nil {
			return fmt.Errorf("hard link %q: %w", short(name), err)
		}
		return w.hardlink(name, target)
	case tar.TypeFifo:
		return w.skip(name)
	case tar.TypeChar, tar.TypeBlock:
		if !w.keep.keeps(name, false) {
			return w.next()
		}
		return fmt.Errorf("entry %q: is a device: make the archive without it", short(name))
	}
	return fmt.Errorf("entry %q: has the unknown type %s", short(name), strings.TrimSpace(fmt.Sprintf("%q", h.Typeflag)))
}

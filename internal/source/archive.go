package source

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// zipReader reads a zip file.
type zipReader struct {
	f      *os.File
	size   int64
	limits Limits
	unwrap bool
	most   int64 // bytes of a file that told has
	z      *zip.Reader
	top    string // with unwrap: the directory that is taken for the root
}

func (z *zipReader) open() error {
	if z.z != nil {
		return nil
	}
	if err := z.checkDirectory(); err != nil {
		return err
	}
	r, err := zip.NewReader(z.f, z.size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // names are checked one by one
		return fmt.Errorf("not a valid zip file%w", damage(err))
	}
	z.z = r
	if z.unwrap {
		var all unwrapped
		for _, f := range r.File {
			if err := all.add(f.Name, f.Mode().IsDir()); err != nil {
				return err
			}
		}
		z.top = all.top()
	}
	return nil
}

// checkDirectory refuses a zip file whose list of entries is too long to hold in memory. The number of
// entries that it states is not to be trusted (readers read on while there are entries), the space they take is.
func (z *zipReader) checkDirectory() error {
	tail := make([]byte, min(z.size, 22+1<<16))
	if _, err := z.f.ReadAt(tail, z.size-int64(len(tail))); err != nil && err != io.EOF {
		return fmt.Errorf("read the zip file: %w", err)
	}
	i := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if i < 0 || i+22 > len(tail) {
		return fmt.Errorf("not a valid zip file: its end is missing")
	}
	le := binary.LittleEndian
	end := z.size - int64(len(tail)) + int64(i)
	length, start := int64(le.Uint32(tail[i+12:])), int64(le.Uint32(tail[i+16:]))
	if length == 1<<32-1 || start == 1<<32-1 || le.Uint16(tail[i+10:]) == 1<<16-1 { // zip64
		var loc [20]byte
		var rec [56]byte
		if _, err := z.f.ReadAt(loc[:], end-20); err == nil && string(loc[:4]) == "PK\x06\x07" {
			if _, err := z.f.ReadAt(rec[:], int64(le.Uint64(loc[8:]))); err != nil {
				return fmt.Errorf("not a valid zip file: its zip64 end is missing")
			}
			length, start = int64(le.Uint64(rec[40:])), int64(le.Uint64(rec[48:]))
		}
	}
	if first := min(start, end-length); first < 0 || (end-first)/320 > int64(z.limits.Files) {
		return fmt.Errorf("its list of entries has %d bytes, too many for %d entries, the limit", end-max(first, 0), z.limits.Files)
	}
	return nil
}

func (z *zipReader) told(_ context.Context, name string) ([]byte, error) {
	if err := z.open(); err != nil {
		return nil, err
	}
	for _, f := range z.z.File {
		if at, err := below(z.top, f.Name); err == nil && at == name && f.Mode().IsRegular() {
			r, err := f.Open()
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", name, err)
			}
			defer r.Close()
			return readTold(r, name, z.most)
		}
	}
	return nil, nil
}

// readTold reads one byte more than the limit at most, which the decoder then refuses.
func readTold(r io.Reader, name string, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

func (z *zipReader) each(_ context.Context, w *writer) error {
	if err := z.open(); err != nil {
		return err
	}
	for _, f := range z.z.File {
		name, err := below(z.top, f.Name)
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
type tarReader struct {
	f      *os.File
	limits Limits
	unwrap bool
	names  []string // that told is asked for
	most   int64    // bytes of each
	seen   *seen    // what look found
}

// seen is what is in a tar file, as far as one has to know before it is unpacked.
type seen struct {
	top  string            // with unwrap: the directory that is taken for the root
	told map[string][]byte // by name; nil: there is none
}

// open reads from the start.
func (t *tarReader) open() (*tar.Reader, error) {
	r := bufio.NewReaderSize(io.NewSectionReader(t.f, 0, 1<<62), 256<<10)
	if head, _ := r.Peek(2); string(head) != "\x1f\x8b" {
		return tar.NewReader(r), nil
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("not a valid gzip file%w", damage(err))
	}
	return tar.NewReader(bufio.NewReaderSize(z, 256<<10)), nil
}

// A meter counts what has to be decompressed, of entries that are kept and others alike.
type meter struct {
	limits  Limits
	bytes   int64
	entries int
}

func (m *meter) add(h *tar.Header) error {
	if m.entries++; m.entries > m.limits.Files {
		return fmt.Errorf("more than %d entries, the limit", m.limits.Files)
	}
	if h.Size > m.limits.Bytes-m.bytes {
		return fmt.Errorf("%q: the files have more than %d bytes together, the limit for this source", short(h.Name), m.limits.Bytes)
	}
	m.bytes += h.Size
	return nil
}

func (t *tarReader) told(ctx context.Context, name string) ([]byte, error) {
	s, err := t.look(ctx)
	if err != nil {
		return nil, err
	}
	return s.told[name], nil
}

// look reads the file once.
func (t *tarReader) look(ctx context.Context) (*seen, error) {
	if t.seen != nil {
		return t.seen, nil
	}
	r, err := t.open()
	if err != nil {
		return nil, err
	}
	m, all := meter{limits: t.limits}, unwrapped{}
	found := map[string]map[string][]byte{"": {}} // by the directory that would be the root, at most two
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // names are checked one by one
			return nil, tarError(err)
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if err := m.add(h); err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := all.add(h.Name, h.Typeflag == tar.TypeDir); err != nil && t.unwrap {
			return nil, err
		}
		for _, top := range [...]string{"", all.first} {
			if name, err := below(top, h.Name); err == nil && slices.Contains(t.names, name) && h.Typeflag == tar.TypeReg {
				b, err := readTold(r, name, t.most)
				if err != nil {
					return nil, err
				}
				if found[top] == nil {
					found[top] = map[string][]byte{}
				}
				found[top][name] = b // the last of a name counts
				break
			}
		}
	}
	t.seen = &seen{}
	if t.unwrap {
		t.seen.top = all.top()
	}
	t.seen.told = found[t.seen.top]
	return t.seen, nil
}

func tarError(err error) error { return fmt.Errorf("not a valid tar file%w", damage(err)) }

// damage is what is wrong with an archive, to follow the name of its kind: the words of the packages that
// read archives are left out where they say no more than that.
func damage(err error) error {
	text := ": " + err.Error()
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		text = ": it ends too early"
	case errors.Is(err, zip.ErrFormat) || errors.Is(err, tar.ErrHeader) || errors.Is(err, gzip.ErrHeader):
		text = ""
	case errors.Is(err, zip.ErrChecksum) || errors.Is(err, gzip.ErrChecksum):
		text = ": a checksum in it is wrong"
	}
	return &damaged{text: text, err: err}
}

type damaged struct {
	text string
	err  error
}

func (e *damaged) Error() string { return e.text }
func (e *damaged) Unwrap() error { return e.err }

func (t *tarReader) each(ctx context.Context, w *writer) error {
	top := ""
	if t.unwrap {
		s, err := t.look(ctx)
		if err != nil {
			return err
		}
		top = s.top
	}
	r, err := t.open()
	if err != nil {
		return err
	}
	m := meter{limits: t.limits}
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // names are checked one by one
			return tarError(err)
		}
		if err := m.add(h); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		name, err := below(top, h.Name)
		if err != nil {
			return err
		}
		if err := t.one(w, h, top, name, r); err != nil {
			return err
		}
	}
}

func (t *tarReader) one(w *writer, h *tar.Header, top, name string, r io.Reader) error {
	mode := fs.FileMode(h.Mode) & fs.ModePerm
	switch h.Typeflag {
	case tar.TypeDir:
		return w.dir(name, mode, h.ModTime)
	case tar.TypeReg, tar.TypeGNUSparse:
		return w.file(name, mode, h.ModTime, r)
	case tar.TypeSymlink:
		return w.symlink(name, h.Linkname)
	case tar.TypeLink:
		target, err := below(top, h.Linkname)
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

package builder

import (
	"archive/tar"
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"time"
)

// LayerTime is the modification time of every entry of every layer, and the default time of creation of an
// image (platform, "Build Reproducibility").
func LayerTime() time.Time { return time.Date(1980, time.January, 1, 0, 0, 1, 0, time.UTC) }

// Limits caps what one layer may hold, so that a sparse file of a terabyte is an error and not a full disk.
// A zero field takes its default: 64 GiB of contents, ten million entries.
type Limits struct {
	Bytes   int64 `json:"bytes,omitempty"`
	Entries int64 `json:"entries,omitempty"`
}

// Bounds of names in a layer: what tools that unpack images can still handle.
const (
	maxPath  = 4096
	maxDepth = 1024
)

func (l Limits) orDefault() Limits {
	if l.Bytes == 0 {
		l.Bytes = 64 << 30
	}
	if l.Entries == 0 {
		l.Entries = 10_000_000
	}
	return l
}

// A Layer describes one layer of an image or of the cache before it has bytes: trees and single files below
// the directories of a build. It is made by Export; WriteTar gives its bytes.
type Layer struct {
	// ID names the layer in messages, in the reference's form: "<buildpack id>:<layer>", "slice-1",
	// "buildpacksio/lifecycle:launcher".
	ID string
	// CreatedBy is the layer's history entry.
	CreatedBy string

	parts  []layerPart
	limits Limits
	warn   func(text string)
}

// A layerPart writes some entries of a layer.
type layerPart interface {
	write(ctx context.Context, t *layerWriter) error
}

// WriteTar writes the layer as an uncompressed tar stream. The same files give the same bytes: entries are in
// a fixed order, times, user and group names are normalised. No link is followed below the directory that the
// layer describes, nothing but a regular file is ever opened, and memory does not grow with the size of files.
// A device node, a name that would be a whiteout (".wh.") and contents beyond the limits are errors that name
// the path; sockets are left out; setuid and setgid bits are taken away with a warning.
func (l Layer) WriteTar(ctx context.Context, w io.Writer) error {
	buf := bufio.NewWriterSize(w, 256<<10)
	t := &layerWriter{
		tw:     tar.NewWriter(buf),
		limits: l.limits.orDefault(),
		buf:    make([]byte, 256<<10),
		warn:   l.warn,
	}
	if t.warn == nil {
		t.warn = func(string) {}
	}
	for _, p := range l.parts {
		if err := p.write(ctx, t); err != nil {
			return fmt.Errorf("write layer %s: %w", l.ID, err)
		}
	}
	t.reportStripped()
	if err := t.tw.Close(); err != nil {
		return fmt.Errorf("write layer %s: %w", l.ID, err)
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("write layer %s: %w", l.ID, err)
	}
	return nil
}

// layerWriter is the state of one WriteTar.
type layerWriter struct {
	tw       *tar.Writer
	limits   Limits
	entries  int64
	bytes    int64
	buf      []byte
	warn     func(string)
	stripped int
}

// header writes one entry with everything normalised that must not differ between two builds.
func (t *layerWriter) header(h *tar.Header) error {
	if len(h.Name) > maxPath {
		return fmt.Errorf("%.80q...: path is longer than %d bytes", h.Name, maxPath)
	}
	t.entries++
	if t.entries > t.limits.Entries {
		return fmt.Errorf("%q: more than %d files and directories", h.Name, t.limits.Entries)
	}
	if h.Typeflag == tar.TypeReg {
		if h.Size > t.limits.Bytes-t.bytes {
			return fmt.Errorf("%q: with its %d bytes the layer is larger than the limit of %d bytes", h.Name, h.Size, t.limits.Bytes)
		}
		t.bytes += h.Size
	}
	h.ModTime = LayerTime()
	return t.tw.WriteHeader(h)
}

// maxWarnings is how many setuid files of a layer are named; the rest is only counted.
const maxWarnings = 10

// mode is the permission bits that an entry keeps: setuid and setgid never enter an image from a build.
func (t *layerWriter) mode(name string, st fileStat) int64 {
	if st.mode&(modeSetuid|modeSetgid) != 0 {
		if st.kind() == kindRegular {
			if t.stripped++; t.stripped <= maxWarnings {
				t.warn(fmt.Sprintf("%q: setuid and setgid bits are not put into the image", name))
			}
		}
	}
	return int64(st.mode & modeKept)
}

func (t *layerWriter) reportStripped() {
	if n := t.stripped - maxWarnings; n > 0 {
		t.warn(fmt.Sprintf("setuid and setgid bits of %d more files are not put into the image", n))
	}
}

// parentPart is the directory entries above a tree: owner and mode as they are on disk, as the reference
// writes them. host is trusted: it is the directory that the platform chose, or above it.
type parentPart struct {
	name, host string
	dirs       Dirs
}

func (p parentPart) write(_ context.Context, t *layerWriter) error {
	st, err := statDir(p.host)
	if err != nil {
		return err
	}
	return t.header(&tar.Header{
		Typeflag: tar.TypeDir, Name: p.name, Mode: int64(st.mode & modeKept), Uid: p.dirs.seen(st.uid), Gid: p.dirs.seen(st.gid),
	})
}

// parentsOf is the parts for every directory above name, "/" not included.
func parentsOf(d Dirs, name string) []layerPart {
	var parts []layerPart
	for dir := path.Dir(path.Clean(name)); dir != "/" && dir != "."; dir = path.Dir(dir) {
		parts = append([]layerPart{parentPart{name: dir, host: d.Host(dir), dirs: d}}, parts...)
	}
	return parts
}

// inlinePart is one entry whose contents are in memory.
type inlinePart struct {
	hdr  tar.Header
	data []byte
}

func (p inlinePart) write(_ context.Context, t *layerWriter) error {
	h := p.hdr
	h.Size = int64(len(p.data))
	if err := t.header(&h); err != nil {
		return err
	}
	_, err := t.tw.Write(p.data)
	return err
}

func rootDirPart(name string) inlinePart {
	return inlinePart{hdr: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}}
}

// filePart is one regular file of this machine that the platform chose (the launcher), owned by root.
type filePart struct{ name, host string }

func (p filePart) write(ctx context.Context, t *layerWriter) error {
	f, err := os.Open(p.host)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is a %s, not a regular file", p.host, typeName(fi.Mode()))
	}
	err = t.header(&tar.Header{Typeflag: tar.TypeReg, Name: p.name, Mode: 0o755, Size: fi.Size()})
	if err != nil {
		return err
	}
	return t.copy(ctx, f, p.host, fi.Size())
}

// copy writes exactly size bytes of r as the contents of the entry whose header was written last.
func (t *layerWriter) copy(ctx context.Context, r io.Reader, name string, size int64) error {
	for left := size; left > 0; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		b := t.buf[:min(int64(len(t.buf)), left)]
		n, err := io.ReadFull(r, b)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return fmt.Errorf("%q became shorter while it was read", name)
		}
		if err != nil {
			return fmt.Errorf("read %q: %w", name, err)
		}
		if _, err := t.tw.Write(b[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

package parcel

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Limits of what one archive may unpack to.
const (
	maxFiles = 300_000
	maxBytes = 4 << 30
)

// A Pick says where an archive's entry goes below the destination; "" leaves it out. It gets the entry's
// cleaned, slash-separated name and may change the mode.
type Pick func(name string, mode fs.FileMode) (string, fs.FileMode)

// Strip drops the first directory of every name, and keeps modes.
func Strip(name string, mode fs.FileMode) (string, fs.FileMode) {
	_, rest, _ := strings.Cut(name, "/")
	return rest, mode
}

// Untar unpacks the .tar.gz file below dst: regular files, directories and symbolic links that stay below dst.
func Untar(ctx context.Context, file, dst string, pick Pick) (err error) {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", file, err)
	}
	u, err := unpackInto(dst)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.root.Close()) }()
	tr := tar.NewReader(zr)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", file, err)
		}
		name, mode := pick(path.Clean(h.Name), h.FileInfo().Mode().Perm())
		if name == "" {
			continue
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = u.root.MkdirAll(name, 0o755)
		case tar.TypeReg:
			err = u.file(name, mode, tr)
		case tar.TypeSymlink:
			err = u.link(name, h.Linkname)
		case tar.TypeXGlobalHeader:
		default:
			err = fmt.Errorf("entry type %q", h.Typeflag)
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %s: %w", file, h.Name, err)
		}
	}
}

// Unzip unpacks the regular files of a zip file below dst.
func Unzip(ctx context.Context, file, dst string, pick Pick) (err error) {
	zr, err := zip.OpenReader(file)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", file, err)
	}
	defer zr.Close()
	u, err := unpackInto(dst)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, u.root.Close()) }()
	for _, e := range zr.File {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if !e.Mode().IsRegular() {
			continue
		}
		name, mode := pick(path.Clean(e.Name), e.Mode().Perm())
		if name == "" {
			continue
		}
		r, err := e.Open()
		if err == nil {
			err = errors.Join(u.file(name, mode, r), r.Close())
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %s: %w", file, e.Name, err)
		}
	}
	return nil
}

// unpacker writes below one root and counts what it wrote.
type unpacker struct {
	root  *os.Root
	dirs  map[string]bool
	files int
	bytes int64
}

func unpackInto(dst string) (*unpacker, error) {
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dst)
	return &unpacker{root: root, dirs: map[string]bool{".": true}}, err
}

func (u *unpacker) parent(name string) error {
	dir := path.Dir(name)
	if u.dirs[dir] {
		return nil
	}
	if u.files++; u.files > maxFiles {
		return fmt.Errorf("more than %d files", maxFiles)
	}
	u.dirs[dir] = true
	return u.root.MkdirAll(dir, 0o755)
}

func (u *unpacker) file(name string, mode fs.FileMode, r io.Reader) error {
	if err := u.parent(name); err != nil {
		return err
	}
	if u.files++; u.files > maxFiles {
		return fmt.Errorf("more than %d files", maxFiles)
	}
	// Owner may read and write, others read: some archives carry 0600 or 0444.
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode.Perm()&0o755|0o644)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(r, maxBytes-u.bytes+1))
	if u.bytes += n; err == nil && u.bytes > maxBytes {
		err = fmt.Errorf("more than %d GiB unpacked", int64(maxBytes)>>30)
	}
	return errors.Join(err, f.Close())
}

// link refuses a target outside the root; os.Root then refuses to write through one that leaves it anyway.
func (u *unpacker) link(name, target string) error {
	if err := u.parent(name); err != nil {
		return err
	}
	if path.IsAbs(target) || !fs.ValidPath(path.Join(path.Dir(name), target)) {
		return fmt.Errorf("link to %s leaves the directory", target)
	}
	return u.root.Symlink(target, name)
}

package lifecycle

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// WriteArchive writes the gzipped tarball that `[lifecycle] uri` of a builder's recipe names: lifecycle.toml, and the
// directory lifecycle. Entries are sorted and belong to root.
func (d Distribution) WriteArchive(w io.Writer) error {
	if err := d.Check(); err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	if err := d.writeTar(z, ""); err != nil {
		return fmt.Errorf("write the lifecycle's archive: %w", err)
	}
	return z.Close()
}

// writeTar writes the files below the directory prefix, "" or with a slash at its end.
func (d Distribution) writeTar(w io.Writer, prefix string) error {
	descriptor, err := d.Descriptor()
	if err != nil {
		return err
	}
	files, err := d.files()
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	if prefix != "" {
		if err := writeDir(tw, strings.TrimSuffix(prefix, "/"), 0o755); err != nil {
			return err
		}
	}
	if err := writeEntry(tw, prefix+DescriptorName, file{data: descriptor}); err != nil {
		return err
	}
	if err := writeDir(tw, prefix+DirName, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		if err := writeEntry(tw, prefix+DirName+"/"+f.name, f); err != nil {
			return err
		}
	}
	return tw.Close()
}

func writeDir(tw *tar.Writer, name string, mode int64) error {
	return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, ModTime: fileTime()})
}

func writeEntry(tw *tar.Writer, name string, f file) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(f.data)), ModTime: fileTime()}
	switch {
	case f.link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.link, 0o777
	case f.executable():
		return writeHostFile(tw, h, f.host)
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := tw.Write(f.data)
	return err
}

func writeHostFile(tw *tar.Writer, h *tar.Header, host string) error {
	in, err := os.Open(host)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	h.Mode, h.Size = 0o755, fi.Size()
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(tw, in)
	return err
}

// maxArchive bounds what Unpack writes: a lifecycle has some tens of megabytes.
const maxArchive = 1 << 30

// Unpack writes the contents of a lifecycle's tarball, ours or another's, into the directory dir, which exists. Links
// that lead out of it and anything but directories, files and symbolic links are refused.
func Unpack(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("unpack lifecycle: %w", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("unpack lifecycle %s: %w", archive, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack lifecycle: %w", err)
	}
	defer root.Close()
	for tr := tar.NewReader(io.LimitReader(z, maxArchive)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = unpackEntry(root, h, tr)
		}
		if err != nil {
			return fmt.Errorf("unpack lifecycle %s: %w", archive, err)
		}
	}
}

func unpackEntry(root *os.Root, h *tar.Header, r io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	if name == "" {
		return nil
	}
	if dir := path.Dir(name); dir != "." {
		if err := errors.Join(root.MkdirAll(dir, 0o755), root.Chmod(dir, 0o755)); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return errors.Join(root.MkdirAll(name, 0o755), root.Chmod(name, 0o755))
	case tar.TypeSymlink:
		if strings.Contains(h.Linkname, "/") {
			return fmt.Errorf("%q: a link to %q, which is not beside it", name, h.Linkname)
		}
		return root.Symlink(h.Linkname, name)
	case tar.TypeReg:
		mode := os.FileMode(h.Mode).Perm()
		f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Chmod(mode), f.Close())
	}
	return fmt.Errorf("%q is neither a directory nor a file nor a symbolic link", name)
}

package platform

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/image"
)

// readPackageFile opens a .cnb file, an OCI layout in a tar, which it unpacks below tmp.
func readPackageFile(ctx context.Context, path, tmp string, want v1.Platform) (*image.Image, error) {
	dir, err := os.MkdirTemp(tmp, "package-")
	if err != nil {
		return nil, err
	}
	if err := unpackLayout(ctx, path, dir); err != nil {
		return nil, fmt.Errorf("it is no buildpack package (a .cnb file: an OCI layout in a tar): %w", err)
	}
	ref, err := image.ParseRef("oci:" + dir)
	if err != nil {
		return nil, err
	}
	img, err := image.ReadLayout(ctx, ref, want)
	if wrong, ok := errors.AsType[*image.PlatformError](err); ok {
		wrong.Image = filepath.Base(path)
		return nil, wrong
	}
	if err != nil {
		return nil, fmt.Errorf("it is no buildpack package (a .cnb file: an OCI layout in a tar): %w", err)
	}
	return img, nil
}

// openRegular opens a file that is one, and does not wait for the other end of a FIFO.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		f.Close()
		return nil, errors.New("it is not a regular file")
	}
	return f, nil
}

// unpackLayout unpacks the tar of an OCI layout: plain files and directories only, below dir. The tar is not
// compressed, so what it holds is not larger than itself; a sparse entry that says otherwise would fill the disk.
func unpackLayout(ctx context.Context, path, dir string) error {
	f, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	tr, left := tar.NewReader(f), fi.Size()
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return errors.New("it is not a valid tar file")
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if left -= h.Size; left < 0 {
			return fmt.Errorf("%q is larger than the whole file", h.Name)
		}
		name := strings.TrimPrefix(filepath.Clean(h.Name), "/")
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeReg:
			err = unpackFile(root, name, tr)
		default:
			err = fmt.Errorf("%q is neither a file nor a directory", h.Name)
		}
		if err != nil {
			return err
		}
	}
}

func unpackFile(root *os.Root, name string, r io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

package parcel

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// CopyTree copies files, directories and links (as they are) from src to dst, which must not exist yet.
func CopyTree(src, dst string) error {
	return filepath.WalkDir(src, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, name)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(to, 0o755)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			return os.Symlink(target, to)
		case d.Type().IsRegular():
			return CopyFile(name, to)
		}
		return nil // sockets and the like mean nothing in a copy
	})
}

// CopyFile copies one regular file with its permission bits, the owner always able to write.
func CopyFile(src, dst string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, info.Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// ReadText reads a configuration file of the app: a regular file of at most 64 MiB; "" and false when there is
// none. A FIFO or a device in its place is never opened.
func ReadText(dir, name string) (string, bool, error) {
	file := filepath.Join(dir, name)
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	if !info.Mode().IsRegular() {
		return "", false, Yours("make "+name+" an ordinary file", "%s is not a regular file", name)
	}
	if info.Size() > maxText {
		return "", false, Yours("check that "+name+" is what you meant to commit", "%s has more than %d MiB", name, maxText>>20)
	}
	b, err := readCapped(file, maxText)
	return string(b), err == nil, err
}

const maxText = 64 << 20

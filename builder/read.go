package builder

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// readRegular reads name below dir, at most max bytes. Links that stay below dir are followed; anything but a
// regular file is refused without being opened for reading that could block.
func readRegular(dir, name string, max int64) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return readIn(root, name, max)
}

// readIn is readRegular for a directory that is open.
func readIn(root *os.Root, name string, max int64) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: filepath.Join(root.Name(), name), Err: fmt.Errorf("is a %s, not a regular file", typeName(fi.Mode()))}
	}
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > max {
		return nil, &fs.PathError{Op: "read", Path: filepath.Join(root.Name(), name), Err: fmt.Errorf("is larger than %d bytes", max)}
	}
	return b, nil
}

package cnb

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// ReadFile reads the file name below the directory root. Links are followed inside root only; what is not a
// regular file is refused and a FIFO never blocks; a file larger than limit is refused before it is read.
// The error is os.ErrNotExist where there is no such file.
func ReadFile(root, name string, limit int64) ([]byte, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return ReadFileIn(r, name, limit)
}

// ReadFileIn is ReadFile below a directory that is already open.
func ReadFileIn(r *os.Root, name string, limit int64) ([]byte, error) {
	f, err := r.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readRegular(f, name, limit)
}

func readRegular(f *os.File, name string, limit int64) ([]byte, error) {
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file", name)
	case fi.Size() > limit:
		return nil, fmt.Errorf("%s: the file has %d bytes, the limit is %d", name, fi.Size(), limit)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: the file has more than %d bytes, the limit", name, limit)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

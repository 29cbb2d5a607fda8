package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"syscall"
)

// A FilePair is two paths where the collector runs.
type FilePair struct {
	A string `json:"a"`
	B string `json:"b"`
}

// SameFiles is SameFiles in the collector.
func (c *Collector) SameFiles(ctx context.Context, pairs []FilePair) (bool, error) {
	var same bool
	err := c.call(ctx, "same", pairs, &same)
	return same, err
}

// SameFiles says whether both files of every pair are regular files of the same bytes. It follows no link.
func SameFiles(ctx context.Context, pairs []FilePair) (bool, error) {
	for _, p := range pairs {
		if err := context.Cause(ctx); err != nil {
			return false, err
		}
		if same, err := sameBytes(p); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

func sameBytes(p FilePair) (bool, error) {
	a, err := openRegular(p.A)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := openRegular(p.B)
	if err != nil {
		return false, err
	}
	defer b.Close()
	var bufA, bufB [16 << 10]byte
	for {
		n, errA := io.ReadFull(a, bufA[:])
		m, errB := io.ReadFull(b, bufB[:])
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return false, nil
		}
		if errA != nil || errB != nil {
			return atEnd(errA) && atEnd(errB), nil
		}
	}
}

// atEnd tells the end of a file from an error.
func atEnd(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }

func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

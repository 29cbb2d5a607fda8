package layerstore

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Builds take a blob for what its name says, without reading it: that is what makes them fast. A blob that somebody
// has written to since must not be taken for that. So blobs that we made have a time of change on the full second,
// which one has that was written to once in a billion times. Where a file system keeps no parts of seconds, blobs are
// believed.

// sealed says whether a blob is as we left it.
func sealed(info fs.FileInfo) bool { return info.ModTime().Nanosecond() == 0 }

// seal marks a blob, whose bytes are known to be right, as used at that time.
func seal(path string, used time.Time) error {
	return os.Chtimes(path, used, used.Truncate(time.Second))
}

// verify reads a blob that is not sealed, and seals it. One that is not what its digest says is removed; false says so.
func (s *Store) verify(h v1.Hash, used time.Time) bool {
	r, err := s.Blob(h.String())
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, r)
	if err := errors.Join(err, r.Close()); err != nil {
		return false
	}
	_ = seal(s.path(h), used) // else it is read again
	return true
}

// place renames a file of ours to its name in the store, over whatever is there: where that is a directory, which
// nobody but a stranger to the store makes, it is removed.
func place(from, to string) error {
	err := os.Rename(from, to)
	if err == nil {
		return nil
	}
	if info, serr := os.Lstat(to); serr != nil || !info.IsDir() {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.Rename(from, to)
}

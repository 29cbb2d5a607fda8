// Package layerstore keeps compressed layers on disk by digest, with what is known about them: which
// uncompressed layer (diffID) each is, and which of them make up the build cache of an app. Its directory
// is the blob store of an OCI image layout; the images in that layout belong to package image.
//
// Any number of processes may use one directory. Files appear by rename and are immutable from then on;
// flock orders the rest. What is broken on disk (a short blob, a garbled index) is a miss, never an error
// of a build and never wrong bytes.
package layerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// layoutVersion is the content of the oci-layout file (OCI image layout, "oci-layout file").
const layoutVersion = `{"imageLayoutVersion":"1.0.0"}`

// touchAfter bounds how often a use of a file is written down in its mtime, which Prune reads.
const touchAfter = 10 * time.Minute

// A Store is a directory of layers. It is safe for concurrent use and holds no open file between calls.
type Store struct {
	dir string
	as  Compression
}

// As is the same store to who wants layers in the given form: Known and Layer find no others. Layers that are written
// count by what they are.
func (s *Store) As(c Compression) *Store { return &Store{dir: s.dir, as: c} }

// Open makes the directory a layer store if it is not one yet. Several processes may open one directory.
func Open(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open layer store %s: %w", dir, err)
	}
	s := &Store{dir: abs}
	// Layers hold the sources and caches of the user's apps, and what the memo says is believed: the store is nobody
	// else's to read or write, whatever the umask.
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, fmt.Errorf("open layer store: %w", err)
	}
	for _, d := range []string{s.blobDir(), s.memoDir(), s.cacheDir(), s.stagingDir()} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("open layer store: %w", err)
		}
	}
	marker := filepath.Join(abs, "oci-layout")
	if _, err := os.Lstat(marker); errors.Is(err, fs.ErrNotExist) {
		if err := s.replace(marker, []byte(layoutVersion)); err != nil {
			return nil, fmt.Errorf("open layer store: %w", err)
		}
	}
	return s, nil
}

// Dir is the store's directory: an OCI image layout as soon as package image has written its index.
func (s *Store) Dir() string { return s.dir }

func (s *Store) blobDir() string    { return filepath.Join(s.dir, "blobs", "sha256") }
func (s *Store) memoDir() string    { return filepath.Join(s.dir, "memo") }
func (s *Store) cacheDir() string   { return filepath.Join(s.dir, "caches") }
func (s *Store) stagingDir() string { return filepath.Join(s.dir, "staging") }

// parseDigest accepts "sha256:" and 64 hex digits only: the result's Hex is safe as a file name.
func parseDigest(s string) (v1.Hash, error) {
	h, err := v1.NewHash(s)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("digest %q: %w", s, err)
	}
	if h.Algorithm != "sha256" || len(h.Hex) != 64 || strings.ToLower(h.Hex) != h.Hex {
		return v1.Hash{}, fmt.Errorf("digest %q: want sha256 and 64 lower-case hex digits", s)
	}
	return h, nil
}

// Replace writes a file of the store in one step: a reader sees the old bytes or the new ones, also after
// a crash. Path must lie in the store's directory; package image keeps its index there.
func (s *Store) Replace(path string, b []byte) error {
	if rel, err := filepath.Rel(s.dir, path); err != nil || !filepath.IsLocal(rel) {
		return fmt.Errorf("replace %s: not inside %s", path, s.dir)
	}
	return s.replace(path, b)
}

func (s *Store) replace(path string, b []byte) error {
	f, err := os.CreateTemp(s.stagingDir(), "file-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing to remove
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = unix.Fdatasync(int(f.Fd()))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return place(f.Name(), path)
}

// Lock takes the store's lock of the given name, shared or exclusive, and waits for it. Locks are
// advisory, end with the process, and exclude goroutines of one process from each other too.
func (s *Store) Lock(name string, exclusive bool) (unlock func(), err error) {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	return flock(filepath.Join(s.dir, name+".lock"), how)
}

func flock(path string, how int) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() {
		// Closing alone is not enough: a process that is being started has a copy of the descriptor for a moment.
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
		f.Close()
	}, nil
}

// touch notes a use of a file, for Prune. A failure costs at most a later miss.
func touch(path string, info fs.FileInfo) {
	if now := time.Now(); now.Sub(info.ModTime()) > touchAfter {
		_ = os.Chtimes(path, now, now.Truncate(time.Second)) // sealed: see seal
	}
}

package layerstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// A CorruptError says that a blob's bytes are not those of its digest. The blob is already gone from the
// store when a caller sees this, so the next look is a miss.
type CorruptError struct {
	Digest string
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("stored blob %s is corrupt and was removed: %s", e.Digest, e.Reason)
}

// A Writer receives one blob. It hashes as it writes; nothing is visible before Commit. One of Commit,
// CommitBlob and Abort must be called; Abort after a commit does nothing.
type Writer struct {
	ctx  context.Context // of this one transfer: cancelling it fails the next Write
	s    *Store
	f    *os.File
	h    hash.Hash
	size int64
	head []byte // the first bytes, which tell the form
	err  error
}

// form is what the blob is compressed with.
func (w *Writer) form() Compression {
	if bytes.HasPrefix(w.head, Zstd.encoding().magic) {
		return Zstd
	}
	return Gzip
}

// Writer starts a blob in the staging directory.
func (s *Store) Writer(ctx context.Context) (*Writer, error) {
	f, err := os.CreateTemp(s.stagingDir(), "blob-*")
	if err != nil {
		return nil, fmt.Errorf("stage blob: %w", err)
	}
	return &Writer{ctx: ctx, s: s, f: f, h: sha256.New()}, nil
}

func (w *Writer) Write(p []byte) (int, error) {
	if w.err == nil {
		w.err = context.Cause(w.ctx)
	}
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.f.Write(p)
	w.h.Write(p[:n])
	w.head = append(w.head, p[:min(n, 4-len(w.head))]...)
	w.size += int64(n)
	if err != nil {
		w.err = fmt.Errorf("stage blob: %w", err)
	}
	return n, w.err
}

// Commit makes the blob a layer made by an Encoder from the tar with that diffID, and notes so: Layer
// finds it from now on. The caller vouches for the diffID.
func (w *Writer) Commit(diffID string) (Entry, error) {
	d, err := parseDigest(diffID)
	if err != nil {
		w.Abort()
		return Entry{}, err
	}
	digest, size, err := w.commit(v1.Hash{})
	if err != nil {
		return Entry{}, err
	}
	e := Entry{DiffID: d.String(), Digest: digest.String(), Size: size, MediaType: w.form().encoding().mediaType}
	return e, w.s.remember(e, w.form())
}

// CommitBlob stores the bytes by their digest alone. A want that is not the zero Hash must be that digest,
// else nothing is stored.
func (w *Writer) CommitBlob(want v1.Hash) (v1.Hash, int64, error) { return w.commit(want) }

// Abort drops the blob.
func (w *Writer) Abort() {
	if w.f != nil {
		w.f.Close()
		os.Remove(w.f.Name())
		w.f = nil
	}
}

func (w *Writer) commit(want v1.Hash) (v1.Hash, int64, error) {
	if w.f == nil {
		return v1.Hash{}, 0, errors.New("commit blob: writer is closed")
	}
	defer w.Abort()
	if w.err != nil {
		return v1.Hash{}, 0, w.err
	}
	got := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(w.h.Sum(nil))}
	if want != (v1.Hash{}) && want != got {
		return v1.Hash{}, 0, fmt.Errorf("commit blob: content is %s, want %s", got, want)
	}
	unlock, err := w.s.Lock("blobs", false) // Prune is not at work between the look and the rename
	if err != nil {
		return v1.Hash{}, 0, err
	}
	defer unlock()
	path := w.s.path(got)
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() == w.size && sealed(info) {
		touch(path, info)
		return got, w.size, nil
	}
	// One fdatasync before the rename: a name in blobs never shows a file without its bytes after a power cut.
	if err := errors.Join(w.f.Chmod(0o644), seal(w.f.Name(), time.Now()), unix.Fdatasync(int(w.f.Fd()))); err != nil {
		return v1.Hash{}, 0, fmt.Errorf("commit blob %s: %w", got, err)
	}
	if err := place(w.f.Name(), path); err != nil {
		return v1.Hash{}, 0, fmt.Errorf("commit blob %s: %w", got, err)
	}
	return got, w.size, nil
}

func (s *Store) path(h v1.Hash) string { return filepath.Join(s.blobDir(), h.Hex) }

// PutBlob stores small bytes (a manifest, a config) and returns their digest.
func (s *Store) PutBlob(ctx context.Context, b []byte) (v1.Hash, error) {
	sum := sha256.Sum256(b)
	h := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
	if s.Has(h, int64(len(b))) {
		return h, nil
	}
	w, err := s.Writer(ctx)
	if err != nil {
		return v1.Hash{}, err
	}
	defer w.Abort()
	if _, err := w.Write(b); err != nil {
		return v1.Hash{}, err
	}
	h, _, err = w.CommitBlob(h)
	return h, err
}

// ImportBlob copies a blob in, unless it is there. It reads at most size bytes and one more.
func (s *Store) ImportBlob(ctx context.Context, h v1.Hash, size int64, open func() (io.ReadCloser, error)) error {
	if _, err := parseDigest(h.String()); err != nil {
		return err
	}
	if s.Has(h, size) {
		return nil
	}
	r, err := open()
	if err != nil {
		return fmt.Errorf("import blob %s: %w", h, err)
	}
	defer r.Close()
	w, err := s.Writer(ctx)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := io.Copy(w, io.LimitReader(r, size+1)); err != nil {
		return fmt.Errorf("import blob %s: %w", h, err)
	}
	if w.size != size {
		return fmt.Errorf("import blob %s: got %d bytes or more, want %d", h, w.size, size)
	}
	_, _, err = w.CommitBlob(h)
	return err
}

// Has says whether the blob is there with that size (any size when negative), and counts as a use of it.
// A file of another size is removed, and so is one that was written to since we made it and has other bytes now.
func (s *Store) Has(h v1.Hash, size int64) bool {
	_, ok := s.stat(h, size)
	return ok
}

func (s *Store) stat(h v1.Hash, size int64) (int64, bool) {
	if _, err := parseDigest(h.String()); err != nil {
		return 0, false
	}
	unlock, err := s.Lock("blobs", false)
	if err != nil {
		return 0, false
	}
	defer unlock()
	path := s.path(h)
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return 0, false
	}
	if size >= 0 && info.Size() != size {
		_ = os.Remove(path)
		return 0, false
	}
	if !sealed(info) && !s.verify(h, info.ModTime()) {
		return 0, false
	}
	touch(path, info)
	return info.Size(), true
}

// Path is the file of a blob. With verify its bytes are hashed first; a corrupt blob is removed and
// reported as *CorruptError. An absent one is os.ErrNotExist.
func (s *Store) Path(digest string, verify bool) (string, error) {
	h, err := parseDigest(digest)
	if err != nil {
		return "", err
	}
	if verify {
		r, err := s.Blob(digest)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(io.Discard, r)
		if err := errors.Join(err, r.Close()); err != nil {
			return "", err
		}
	}
	if _, ok := s.stat(h, -1); !ok {
		return "", fmt.Errorf("blob %s: %w", digest, os.ErrNotExist)
	}
	return s.path(h), nil
}

// Blob opens a blob for reading. The reader checks the digest as it goes: the last Read of a corrupt blob
// returns a *CorruptError instead of io.EOF, and the blob is removed.
func (s *Store) Blob(digest string) (io.ReadCloser, error) {
	h, err := parseDigest(digest)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.path(h), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("open blob %s: not a regular file", digest)
	}
	return &blobReader{s: s, f: f, want: h, h: sha256.New()}, nil
}

// Remove forgets a blob that turned out to be bad. Removing an absent one is no error.
func (s *Store) Remove(digest string) error {
	h, err := parseDigest(digest)
	if err != nil {
		return err
	}
	if err := os.Remove(s.path(h)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove blob: %w", err)
	}
	return nil
}

type blobReader struct {
	s    *Store
	f    *os.File
	want v1.Hash
	h    hash.Hash
}

func (r *blobReader) Read(p []byte) (int, error) {
	n, err := r.f.Read(p)
	r.h.Write(p[:n])
	if err == io.EOF && hex.EncodeToString(r.h.Sum(nil)) != r.want.Hex {
		_ = r.s.Remove(r.want.String())
		return n, &CorruptError{Digest: r.want.String(), Reason: "its sha256 differs"}
	}
	return n, err
}

func (r *blobReader) Close() error { return r.f.Close() }

// An Entry is what is known of one stored layer.
type Entry struct {
	DiffID    string          `json:"diffID"`
	Digest    string          `json:"digest"`
	Size      int64           `json:"size"`
	MediaType types.MediaType `json:"mediaType"`
}

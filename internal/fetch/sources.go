package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A Key names a kept source: the SHA-256 of its bytes in hexadecimal digits. Made by ParseKey and by Sources.
type Key string

// ParseKey is the only maker of Keys from text. It is safe as a file name.
func ParseKey(s string) (Key, error) {
	if b, err := hex.DecodeString(s); err != nil || len(b) != sha256.Size || hex.EncodeToString(b) != s {
		return "", fmt.Errorf("%.80q is no key of a source", s)
	}
	return Key(s), nil
}

// Kept is a source that is on disk.
type Kept struct {
	Key  Key
	Sum  Sum // of the same bytes, as people write it
	Size int64
}

// Sources keeps archives in a directory by their content. A source that Put returned is durable. Who may read which
// source is not known here: keys are handed out by the records that name them. Safe for concurrent use; one process at a
// time may have the directory open.
type Sources struct {
	dir string
	mu  sync.Mutex // of names in dir, so that Prune does not take what is just put again
}

const stagingDir = "staging"

// OpenSources opens dir, makes it where it is not there, and removes what a process that was killed left half-written.
func OpenSources(dir string) (*Sources, error) {
	staging := filepath.Join(dir, stagingDir)
	err := os.RemoveAll(staging)
	if err == nil {
		err = os.MkdirAll(staging, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("open sources: %w", err)
	}
	return &Sources{dir: dir}, nil
}

// Put keeps what r gives, at most limit bytes of it. A source that is there already is kept once.
func (s *Sources) Put(ctx context.Context, r io.Reader, limit int64) (Kept, error) {
	return s.Write(ctx, limit, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// Write keeps what fill writes, at most limit bytes of it, such as a Fetcher does. An error of fill is returned as it
// is, and nothing is kept then.
func (s *Sources) Write(ctx context.Context, limit int64, fill func(w io.Writer) error) (_ Kept, err error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, stagingDir), "source-")
	if err != nil {
		return Kept{}, fmt.Errorf("keep source: %w", err)
	}
	defer os.Remove(f.Name()) // gone already when all went well
	defer f.Close()           // its error counts below, where it was written
	w := &summer{ctx: ctx, w: f, left: limit, limit: limit}
	h := sha256.New()
	w.h = h
	if err := fill(w); err != nil {
		if w.err != nil {
			return Kept{}, w.err
		}
		return Kept{}, err
	}
	if err := errors.Join(w.err, f.Sync(), f.Close()); err != nil {
		return Kept{}, fmt.Errorf("keep source: %w", err)
	}
	digest := h.Sum(nil)
	k := Kept{Key: Key(hex.EncodeToString(digest)), Sum: sumOf(digest), Size: limit - w.left}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Also over one that is there: its time tells Prune that somebody is about to name it.
	if err := errors.Join(os.Rename(f.Name(), s.path(k.Key)), syncDir(s.dir)); err != nil {
		return Kept{}, fmt.Errorf("keep source: %w", err)
	}
	return k, nil
}

// summer writes to a file and a hash, up to a limit, until a context is done.
type summer struct {
	ctx         context.Context
	w, h        io.Writer
	left, limit int64
	err         error // of the file, the limit or the context
}

func (s *summer) Write(b []byte) (int, error) {
	if s.err == nil {
		s.err = context.Cause(s.ctx)
	}
	if s.err == nil && int64(len(b)) > s.left {
		s.err = &LimitError{Text: fmt.Sprintf("it has more than %d bytes, the limit", s.limit)}
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(b)
	s.left -= int64(n)
	if err != nil {
		s.err = fmt.Errorf("keep source: %w", err)
		return n, s.err
	}
	return s.h.Write(b)
}

func (s *Sources) path(k Key) string { return filepath.Join(s.dir, string(k)) }

// Path is the file of a source; fs.ErrNotExist tells that there is none.
func (s *Sources) Path(k Key) (string, error) {
	if _, err := os.Stat(s.path(k)); err != nil {
		return "", missing(k, err)
	}
	return s.path(k), nil
}

// Open opens a source, which stays readable when it is removed meanwhile.
func (s *Sources) Open(k Key) (*os.File, error) {
	f, err := os.Open(s.path(k))
	if err != nil {
		return nil, missing(k, err)
	}
	return f, nil
}

func missing(k Key, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("source %s is not kept any more: %w", k, fs.ErrNotExist)
	}
	return fmt.Errorf("open source %s: %w", k, err)
}

// Remove removes a source and is content with none.
func (s *Sources) Remove(k Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Remove(s.path(k)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove source: %w", err)
	}
	return nil
}

// Prune removes the sources that keep does not have and that nobody put for age. The age gives the one who put a source
// the time to record it; make it longer than that can take.
func (s *Sources) Prune(ctx context.Context, keep map[string]bool, age time.Duration) (removed int, bytes int64, err error) {
	dir, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, 0, fmt.Errorf("prune sources: %w", err)
	}
	for _, e := range dir {
		k, err := ParseKey(e.Name())
		if err != nil || keep[string(k)] {
			continue
		}
		n, err := s.prune(k, age)
		if err != nil {
			return removed, bytes, fmt.Errorf("prune sources: %w", err)
		}
		if n >= 0 {
			removed, bytes = removed+1, bytes+n
		}
		if err := context.Cause(ctx); err != nil {
			return removed, bytes, err
		}
	}
	return removed, bytes, nil
}

// prune removes one source if it is old enough; its size is -1 when it stays.
func (s *Sources) prune(k Key, age time.Duration) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fi, err := os.Stat(s.path(k))
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	if time.Since(fi.ModTime()) < age {
		return -1, nil
	}
	return fi.Size(), os.Remove(s.path(k))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

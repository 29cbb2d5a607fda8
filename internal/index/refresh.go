package index

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Stale is how old what was read of an index may become before it is read again, by somebody who waits for nothing.
const Stale = time.Hour

// Again is after how long one is claimed again that could not be synced, or is being synced still.
const Again = 10 * time.Minute

// maxSync bounds one sync of an index: of the first of a large one too.
const maxSync = 10 * time.Minute

// Claim says that an index is Stale, and that the caller is to see to a Refresh: of many who ask about the same time, in
// several processes too, one is told so. Where nothing can be written nobody is.
func (s *Set) Claim(name string) bool {
	x, err := s.Index(name)
	if err != nil || time.Since(x.Synced) < Stale {
		return false
	}
	f, err := os.OpenFile(filepath.Join(s.dirOf(name), "claim"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return false
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return false
	}
	// Its time is that of the last claim, and an empty file is none.
	if info, err := f.Stat(); err != nil || info.Size() > 0 && time.Since(info.ModTime()) < Again {
		return false
	}
	_, err = f.WriteAt([]byte("claimed\n"), 0)
	return err == nil
}

// Refresh is Sync of an index that nobody has synced for so long; ok is false where somebody has. One that never was
// synced is.
func (s *Set) Refresh(ctx context.Context, name string, older time.Duration) (done Synced, ok bool, err error) {
	x, err := s.Index(name)
	if err == nil && time.Since(x.Synced) < older {
		return Synced{}, false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // one that is damaged is made anew
		if _, known := s.source(name); !known {
			return Synced{}, false, err
		}
	}
	done, err = s.sync(ctx, name, false, older)
	if errors.Is(err, errFresh) {
		return Synced{}, false, nil
	}
	return done, err == nil, err
}

// errFresh ends a Refresh that waited for another who did its work.
var errFresh = errors.New("it was synced just now")

// A SyncError is an index that could not be brought up to its source. What was read of it before is there still.
type SyncError struct {
	Index string
	Err   error
}

func (e *SyncError) Error() string { return "sync index " + e.Index + ": " + e.Err.Error() }
func (e *SyncError) Unwrap() error { return e.Err }

package layerstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// maxTreeDepth bounds what is walked: it keeps one directory open per level.
const maxTreeDepth = 2048

// treeSum is a digest over every entry below dir: its path, type, mode, owner, size, inode and the time of its last
// change, which no process can set. No file is opened and no link followed. Directories are read side by side.
func treeSum(ctx context.Context, dir string) (string, error) {
	fd, err := unix.Open(dir, openTreeDir, 0)
	if err != nil {
		return "", fmt.Errorf("look at unpacked layer: %w", err)
	}
	s := summer{slots: make(chan struct{}, runtime.GOMAXPROCS(0)-1)}
	sum, err := s.dir(ctx, fd, dir, 0)
	if err != nil {
		return "", fmt.Errorf("look at unpacked layer: %w", err)
	}
	return hex.EncodeToString(sum[:]), nil
}

const openTreeDir = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK

type summer struct {
	slots chan struct{} // one for each further goroutine
}

// A below is a directory in a directory, and what it came to.
type below struct {
	name string
	sum  [32]byte
	err  error
}

// dir sums an open directory and closes it.
func (s summer) dir(ctx context.Context, fd int, name string, depth int) (sum [32]byte, err error) {
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if err := context.Cause(ctx); err != nil {
		return sum, err
	}
	if depth > maxTreeDepth {
		return sum, errors.New("directories are nested too deep")
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return sum, err
	}
	slices.Sort(names)
	h := sha256.New()
	var dirs []*below
	rec := make([]byte, 0, 512)
	for _, n := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(fd, n, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return sum, err
		}
		rec = binary.LittleEndian.AppendUint32(rec[:0], uint32(len(n)))
		rec = append(rec, n...)
		rec = binary.LittleEndian.AppendUint32(rec, st.Mode)
		rec = binary.LittleEndian.AppendUint32(rec, st.Uid)
		rec = binary.LittleEndian.AppendUint32(rec, st.Gid)
		rec = binary.LittleEndian.AppendUint64(rec, st.Ino)
		rec = binary.LittleEndian.AppendUint64(rec, uint64(st.Size))
		rec = binary.LittleEndian.AppendUint64(rec, uint64(st.Ctim.Sec))
		rec = binary.LittleEndian.AppendUint64(rec, uint64(st.Ctim.Nsec))
		h.Write(rec)
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			dirs = append(dirs, &below{name: n})
		}
	}
	s.all(ctx, fd, dirs, depth)
	for _, d := range dirs {
		if d.err != nil {
			return sum, d.err
		}
		h.Write(d.sum[:])
	}
	h.Sum(sum[:0])
	return sum, nil
}

// all sums the directories in fd, in goroutines of their own as far as there are slots.
func (s summer) all(ctx context.Context, fd int, dirs []*below, depth int) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, d := range dirs {
		one := func() {
			sub, err := unix.Openat(fd, d.name, openTreeDir, 0)
			if err != nil {
				d.err = err
				return
			}
			d.sum, d.err = s.dir(ctx, sub, d.name, depth+1)
		}
		select {
		case s.slots <- struct{}{}:
			wg.Go(func() {
				defer func() { <-s.slots }()
				one()
			})
		default:
			one()
		}
	}
}
